"""Pages, annotated copies and the overview beside the tables of a detection."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import pandas as pd
from av.error import FFmpegError
from matplotlib.figure import Figure
from numpy.typing import NDArray

from mien.detect.media import Medium
from mien.detect.statistics import co_occurrence, co_occurrence_of_counts, pair_counts, unit_statistics
from mien.detect.table import Detections
from mien.faces.tracked import UNREADABLE
from mien.io import WriteError, write_bytes
from mien.video import VideoError
from mien.visualise.annotated_video import write_annotated_picture, write_annotated_video
from mien.visualise.charts import heat_map
from mien.visualise.detection_data import units_of
from mien.visualise.detection_page import write_detection_page
from mien.visualise.page_parts import hash_of, link_to, part, printable, template

_NAMED = 3  # problems
_MOST_ROWS = 2000
_SHADES = 10


@dataclass(frozen=True)
class _Row:
    """One face of one file."""

    name: str
    link: str  # "" where there is no page
    face_id: int
    seconds: float  # NaN for a picture
    share_A: NDArray[np.float64]


@dataclass
class _Sum:
    """What the page shows, gathered file by file: tables are not held."""

    units: tuple[str, ...] = ()
    rows: list[_Row] = field(default_factory=list)
    both_AA: NDArray[np.float64] | None = None


def show_medium(medium: Medium, out: Path, *, page: bool, annotated: bool) -> str:
    """`NAME.html` and `NAME.annotated.mp4` (`.annotated.jpg` for pictures), where older than the table.

    A damaged video is shown as far as it can be decoded. What cannot be written is skipped; returns why.
    """
    problems: list[str] = []
    table = out / f"{medium.name}.parquet"
    for html, copy, write_page, write_copy in _views(medium, table):
        for wanted, path, write in ((page, html, write_page), (annotated, copy, write_copy)):
            if wanted and not _is_of(path, table):
                problems += _problem_of(write, path, table)
    more = f" and {len(problems) - _NAMED} more" if len(problems) > _NAMED else ""
    return "; ".join(problems[:_NAMED]) + more


def show_overview(media: Sequence[Medium], out: Path) -> str:
    """`overview.html`: every file's faces side by side, with links to their pages. Returns why not, or ""."""
    tables = [table for medium in media if (table := out / f"{medium.name}.parquet").is_file()]
    path = out / "overview.html"
    return "".join(_problem_of(partial(write_overview_page, tables), path, path) if tables else ())


def write_overview_page(tables: Iterable[Path], out: Path) -> Path:
    """`out`, a page of the Parquet tables of many files: a row a face, a link to each file's own page.

    Tables are read one at a time. ValueError where there is none, or where their action units differ.
    """
    found = _Sum()
    for path in tables:
        _add(found, path, out)
    if not found.units:
        raise ValueError(f"{out}: no table to make an overview of")
    assert found.both_AA is not None
    html = template("overview.html").render(
        units=units_of(found.units, {}),
        rows=found.rows[:_MOST_ROWS],
        num_rows=len(found.rows),
        together=co_occurrence_of_counts(found.both_AA),
        shade=_shade,
        policy=f"default-src 'none'; style-src '{hash_of(part('overview.css'))}'; img-src data:",
        style=part("overview.css"),
    )
    write_bytes(out, html.encode(), temporary_folder=out.parent)
    return out


def rates_figure(table: pd.DataFrame) -> Figure:
    """Share of the time seen in which each action unit is present: one row per file and face.

    ValueError without a face.
    """
    shares = unit_statistics(table).pivot(index=["input", "face_id"], columns="unit", values="share_present")
    if shares.empty:
        raise ValueError("no face in the table: nothing to draw")
    labels = [f"{name}, face {face_id}" for name, face_id in shares.index]
    return _heat_map_figure(shares, labels, title="present, % of the time seen")


def co_occurrence_figure(table: pd.DataFrame) -> Figure:
    """A x A: of the rows with either action unit, the share with both."""
    found = co_occurrence(table)
    return _heat_map_figure(found, list(found.index), title="both, % of rows with either")


_Write = Callable[[Path], object]


def _views(medium: Medium, table: Path) -> Iterator[tuple[Path, Path, _Write, _Write]]:
    """The page and the annotated copy of each file of a medium: their paths, and how to write them."""
    if medium.kind == "video":
        video, stem = medium.files[0].path, table.with_suffix("")
        yield (
            stem.with_name(f"{stem.name}.html"),
            stem.with_name(f"{stem.name}.annotated.mp4"),
            lambda html: write_detection_page(Detections.load(table), video, html),
            partial(write_annotated_video, video, table),
        )
        return
    detections = Detections.load(table)
    for file in medium.files:
        rows = detections.of_input(file.shown)
        if rows.table["reason"][0].as_py() != UNREADABLE:
            stem = table.parent / PurePosixPath(file.shown)
            yield (
                stem.with_name(f"{stem.name}.html"),
                stem.with_name(f"{stem.name}.annotated.jpg"),
                partial(write_detection_page, rows, file.path),
                partial(_annotate_picture, file.path, rows),
            )


def _annotate_picture(picture: Path, detections: Detections, jpg: Path) -> None:
    jpg.parent.mkdir(parents=True, exist_ok=True)
    write_annotated_picture(picture, detections, jpg)


def _problem_of(write: _Write, path: Path, table: Path) -> list[str]:
    """What kept `path` from being written, a full disk for example."""
    try:
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


def _add(found: _Sum, path: Path, page: Path) -> None:
    detections = Detections.load(path)
    if found.units and found.units != detections.columns:
        raise ValueError(f"{path}: other action units than the tables before it; make one overview a model")
    table = detections.to_pandas()
    both_AA = pair_counts(table)
    found.units = detections.columns
    found.both_AA = both_AA if found.both_AA is None else found.both_AA + both_AA
    statistics = unit_statistics(table)
    for (name, face_id), rows in statistics.groupby(["input", "face_id"], sort=False):
        share_A = rows.set_index("unit")["share_present"].reindex(list(found.units)).to_numpy()
        link = _link(path, str(name), page, alone=len(detections.inputs) == 1)
        seconds = float(rows["seconds_seen"].iloc[0])
        found.rows.append(_Row(printable(str(name)), link, int(face_id), seconds, share_A))


def _link(table: Path, name: str, page: Path, *, alone: bool) -> str:
    """To the file's own page, if that is there: beside its table, or (pictures) under the picture's name."""
    beside = table.with_suffix("") if alone and table.stem != "pictures" else table.parent / name
    own = beside.with_name(f"{beside.name}.html")
    if not own.is_file():
        return ""
    return link_to(own, page)


def _shade(share: float) -> int:
    """0 to 10; 0 for NaN."""
    return round(_SHADES * share) if math.isfinite(share) else 0


def _heat_map_figure(shares: pd.DataFrame, rows: Sequence[str], *, title: str) -> Figure:
    height, width = shares.shape
    figure = Figure(figsize=(2.6 + 0.5 * width, 1.2 + 0.34 * height), layout="constrained")
    axes: Any = figure.subplots()
    heat_map(axes, 100 * shares.to_numpy(), rows, list(shares.columns))
    axes.tick_params(axis="x", rotation=90)
    axes.set_title(title, loc="left", fontsize="medium")
    return figure
