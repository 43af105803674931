"""What `mien detect` writes beside each table, NAME.events.csv, and what it adds to the account: quality."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from mien.detect.quality import QualitySettings
from mien.detect.recording import Account
from mien.detect.table import Detections
from mien.findings.events import EventSettings, find_events, record_of, write_events
from mien.findings.quality import quality_in_words, quality_report, unit_quality


@dataclass(frozen=True)
class FindingsSettings:
    """What counts as an event, and which faces are usable."""

    events: EventSettings = field(default_factory=EventSettings)
    quality: QualitySettings = field(default_factory=QualitySettings)


def with_findings(
    account: Account, table: Path, *, combinations: Sequence[str], settings: EventSettings
) -> Account:
    """Write the events of a Parquet table beside it; its account with what is usable. WriteError.

    Pictures have no events.
    """
    detections = Detections.load(table)
    rows = detections.to_pandas()
    report = quality_report(rows)
    if len(detections.inputs) == 1 and detections.num_frames > 1:
        events = find_events(
            rows,
            detections.metadata.get("thresholds", {}),
            combinations=combinations,
            settings=settings,
            narrower=unit_quality(detections.metadata),
        )
        write_events(events, table.with_suffix(".events.csv"), record_of(rows, combinations, settings))
    seen = rows["success"] == 1
    share = float(np.mean(rows.loc[seen, "usable"] == 1)) if seen.any() else None
    return replace(account, usable_share=share, quality=quality_in_words(report))
