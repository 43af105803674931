"""What `mien detect` writes beside each table, NAME.events.csv, and what it adds to the account: quality."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

from mien.detect.quality import QualitySettings
from mien.detect.recording import Account
from mien.detect.table import PLACE, Detections
from mien.findings.events import EventSettings, find_events, write_events
from mien.findings.quality import quality_in_words, quality_report, unit_quality

_FRAMES = ("input", "frame", "timestamp", "face_id", "success", "confidence", "reason", "usable")


@dataclass(frozen=True)
class FindingsSettings:
    """What counts as an event, and which faces are usable."""

    events: EventSettings = field(default_factory=EventSettings)
    quality: QualitySettings = field(default_factory=QualitySettings)


def with_findings(
    account: Account, table: Path, *, combinations: Sequence[str], settings: EventSettings
) -> Account:
    """Write the events of a Parquet table beside it; its account with what is usable. WriteError.

    Pictures have no events. Only the columns that are needed are read, for tables of long videos.
    """
    header = Detections.load_header(table)
    narrower = unit_quality(header.metadata)
    needed = (*_FRAMES, *(PLACE if narrower else ()), *header.columns)
    names = [name for name in header.table.column_names if name.startswith(needed)]  # also AU01_present, ...
    rows = pq.read_table(table, columns=names).to_pandas(split_blocks=True, self_destruct=True)
    report = quality_report(rows)
    if rows["input"].nunique() == 1 and rows["frame"].nunique() > 1:
        events = find_events(
            rows,
            header.metadata.get("thresholds", {}),
            combinations=combinations,
            settings=settings,
            narrower=narrower,
        )
        path = table.with_suffix(".events.csv")
        write_events(events, path, rows, combinations=combinations, settings=settings)
    seen = rows["success"] == 1
    share = float(np.mean(rows.loc[seen, "usable"] == 1)) if seen.any() else None
    return replace(account, usable_share=share, quality=quality_in_words(report))
