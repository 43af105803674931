"""Several files' detections side by side: how often each action unit is present, and which come together."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from numpy.typing import NDArray

from mien.detect.statistics import co_occurrence, co_occurrence_of_counts, pair_counts, unit_statistics
from mien.detect.table import Detections
from mien.io import write_bytes
from mien.visualise.detection_data import units_of
from mien.visualise.page_parts import hash_of, part, printable, template

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
    """A row a file and face, a column an action unit: the share of the time seen in which it is present.

    ValueError where no face was found.
    """
    shares = unit_statistics(table).pivot(index=["input", "face_id"], columns="unit", values="share_present")
    if shares.empty:
        raise ValueError("no face in the table: nothing to draw")
    labels = [f"{name}, face {face_id}" for name, face_id in shares.index]
    return _heat_map(
        100 * shares.to_numpy(), labels, list(shares.columns), title="present, % of the time seen"
    )


def co_occurrence_figure(table: pd.DataFrame) -> Figure:
    """A x A: of the rows with either action unit, the share with both."""
    found = co_occurrence(table)
    return _heat_map(
        100 * found.to_numpy(), list(found.index), list(found.columns), title="both, % of rows with either"
    )


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
    return "/".join(quote(os.fsencode(p), safe="") for p in Path(os.path.relpath(own, page.parent)).parts)


def _shade(share: float) -> int:
    """0 to 10; 0 for NaN."""
    return round(_SHADES * share) if math.isfinite(share) else 0


def _heat_map(
    values: NDArray[np.float64], rows: Sequence[str], columns: Sequence[str], *, title: str
) -> Figure:
    figure = Figure(figsize=(2.6 + 0.5 * len(columns), 1.2 + 0.34 * len(rows)), layout="constrained")
    axes: Any = figure.subplots()
    axes.imshow(values, vmin=0, vmax=100, cmap="Blues", aspect="auto")
    axes.set_xticks(range(len(columns)), columns, rotation=90)
    axes.set_yticks(range(len(rows)), [row if len(row) <= 40 else f"…{row[-39:]}" for row in rows])
    axes.set_title(title, loc="left", fontsize="medium")
    for (row, column), value in np.ndenumerate(values):
        if np.isfinite(value):
            colour = "white" if value > 55 else "black"
            axes.text(column, row, f"{value:.0f}", ha="center", va="center", fontsize=8, color=colour)
    return figure
