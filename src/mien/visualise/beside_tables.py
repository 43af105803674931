"""Pages, annotated copies and the overview beside the tables of a detection."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from itertools import pairwise
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import pyarrow.compute as pc
from av.error import FFmpegError

from mien.detect.media import Medium
from mien.detect.statistics import (
    co_occurrence_of_counts,
    faces_of,
    pair_counts,
    unit_statistics,
    units_with_presence,
)
from mien.detect.table import Detections
from mien.faces.tracked import UNREADABLE
from mien.io import WriteError, write_bytes
from mien.video import VideoError
from mien.visualise.annotated_video import write_annotated_picture, write_annotated_video
from mien.visualise.detection_page import write_detection_page
from mien.visualise.page_parts import link_to, printable, template
from mien.visualise.redaction import Redaction

_NAMED = 3  # problems
_MOST_ROWS = 2000

_Write = Callable[[Path], object]
_WriteCopy = Callable[..., object]  # also with redaction=


def show_medium(
    medium: Medium, out: Path, *, page: bool, annotated: bool, redaction: Redaction | None = None
) -> str:
    """`NAME.html` and `NAME.annotated.mp4` (`.annotated.jpg` for pictures), where older than the table.

    With `redaction` also `NAME.redacted.mp4` (`.jpg`), always anew: it may be of other faces than before.
    A damaged video is shown as far as it can be decoded. What cannot be written is skipped; returns why.
    """
    problems: list[str] = []
    table = out / f"{medium.name}.parquet"
    for stem, write_page, suffix, write_copy in _views(medium, table):
        for wanted, end, write in ((page, ".html", write_page), (annotated, suffix, write_copy)):
            path = stem.with_name(f"{stem.name}{end}")
            if wanted and not _is_of(path, table):
                problems += _problem_of(write, path, table)
        if redaction is not None:
            path = stem.with_name(f"{stem.name}{suffix.replace('annotated', 'redacted')}")
            problems += _problem_of(partial(write_copy, redaction=redaction), path, table)
    more = f" and {len(problems) - _NAMED} more" if len(problems) > _NAMED else ""
    return "; ".join(problems[:_NAMED]) + more


def show_overview(media: Sequence[Medium], out: Path) -> str:
    """`overview.html`: every file's faces side by side, with links to their pages. Returns why not, or ""."""
    tables = [table for medium in media if (table := out / f"{medium.name}.parquet").is_file()]
    path = out / "overview.html"
    return "".join(_problem_of(partial(write_overview_page, tables), path, path) if tables else ())


def write_overview_page(tables: Iterable[Path], out: Path) -> Path:
    """`out`, a page of the Parquet tables of many files: one row per face, with a link to the file's page.

    Tables are read one at a time. ValueError where there is none, or where their action units differ.
    """
    units: tuple[str, ...] = ()
    rows: list[dict[str, Any]] = []
    warnings: dict[str, None] = {}
    with_presence: set[str] = set()
    both_AA: Any = 0.0
    for path in tables:
        detections = Detections.load(path)
        if units and units != detections.columns:
            raise ValueError(
                f"{path}: other action units than the tables before it; make one overview per model"
            )
        units, table = detections.columns, detections.to_pandas()
        both_AA = both_AA + pair_counts(table, units)
        with_presence.update(units_with_presence(table))
        warnings |= {detections.warning: None}
        shares = unit_statistics(table).set_index(["input", "face_id", "unit"])["share_present"].to_dict()
        alone = len(detections.inputs) == 1
        for face in faces_of(table):
            rows.append(
                {
                    "name": printable(face.input),
                    "link": _link(path, face.input, out, alone=alone),
                    "face_id": face.face_id,
                    "seconds": face.seconds_N.sum() if face.num_frames > 1 else math.nan,
                    "shares": {unit: shares.get((face.input, face.face_id, unit)) for unit in units},
                }
            )
    if not units:
        raise ValueError(f"{out}: no table to make an overview of")
    shown = [unit for unit in units if unit in with_presence]
    at = [units.index(unit) for unit in shown]
    html = template("overview.html").render(
        warning=printable(" ".join(filter(None, warnings))),
        units=shown,
        rows=rows[:_MOST_ROWS],
        num_rows=len(rows),
        together=co_occurrence_of_counts(both_AA)[np.ix_(at, at)].tolist(),
    )
    write_bytes(out, html.encode(), temporary_folder=out.parent)
    return out


def _views(medium: Medium, table: Path) -> Iterator[tuple[Path, _Write, str, _WriteCopy]]:
    """For each file of a medium: stem of page and copy, writer of the page, suffix and writer of the copy."""
    if medium.kind == "video":
        video = medium.files[0].path
        yield (
            table.with_suffix(""),
            lambda html: write_detection_page(Detections.load(table), video, html),
            ".annotated.mp4",
            partial(write_annotated_video, video, table),
        )
        return
    rows_of = dict(_each_input(Detections.load(table)))
    for file in medium.files:
        rows = rows_of[file.shown]
        if rows.table["reason"][0].as_py() != UNREADABLE:
            yield (
                table.parent / PurePosixPath(file.shown),
                partial(write_detection_page, rows, file.path),
                ".annotated.jpg",
                partial(write_annotated_picture, file.path, rows),
            )


def _each_input(detections: Detections) -> Iterator[tuple[str, Detections]]:
    """The rows of each file; they lie together, so that the table is read once."""
    runs = pc.run_end_encode(detections.table["input"].combine_chunks())
    ends = [0, *runs.run_ends.to_pylist()]
    for name, (start, end) in zip(runs.values.to_pylist(), pairwise(ends), strict=True):
        yield name, Detections(detections.table.slice(start, end - start), detections.metadata)


def _problem_of(write: _Write, path: Path, table: Path) -> list[str]:
    """What kept `path` from being written, a full disk for example."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write(path)
    except WriteError as error:
        return [str(error)]
    except (OSError, ValueError, FFmpegError) as error:
        if not (isinstance(error, VideoError) and _is_of(path, table)):  # else written up to the damage
            return [f"{path.name} could not be written: {error}"]
    return []


def _is_of(shown: Path, table: Path) -> bool:
    """Whether it was made from this table: a media file that changed between two runs has a newer one."""
    return shown.exists() and shown.stat().st_mtime_ns >= table.stat().st_mtime_ns


def _link(table: Path, name: str, page: Path, *, alone: bool) -> str:
    """To the file's own page, if that is there: beside its table, or (pictures) under the picture's name."""
    beside = table.with_suffix("") if alone and table.stem != "pictures" else table.parent / name
    own = beside.with_name(f"{beside.name}.html")
    return link_to(own, page) if own.is_file() else ""
