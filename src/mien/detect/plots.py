"""Pictures of a table of detections."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from numpy.typing import NDArray

from mien.detect.statistics import rising_times
from mien.facs import action_unit

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from mien.detect.table import Detections

_MAX_COLUMNS = 2000  # of the heat map; a longer video is shown in means
_MAX_GROUPS = 6  # of bars


def plot_timeline(detections: Detections, face_id: int | None) -> Figure:
    """A face's probabilities over time, a row a unit; a line above where the unit is present."""
    from mien.detect.table import DetectionsError

    _require_faces(detections)
    if len(detections.inputs) > 1:
        raise DetectionsError(f"rows of several files: choose one with of_input, as {detections.inputs[0]!r}")
    chosen = _seen_longest(detections) if face_id is None else face_id
    frame = detections.face(chosen).to_pandas()
    names = detections.columns
    seconds_N = _seconds_of(detections)[frame["frame"]].to_numpy()
    edges, values_AC = _binned(seconds_N, frame[list(names)].to_numpy(np.float64).T)
    _, present_AC = _binned(seconds_N, frame[[f"{n}_present" for n in names]].to_numpy(np.float64).T)
    figure = Figure(figsize=(10, 1.2 + 0.35 * len(names)), layout="constrained")
    axes = figure.subplots()
    mesh = axes.pcolormesh(edges, np.arange(len(names) + 1), values_AC, vmin=0, vmax=1, cmap="magma")
    _mark_present(axes, edges, present_AC)
    _name_units(axes, names, at=np.arange(len(names)) + 0.5)
    axes.set_xlabel("seconds")
    axes.set_title(f"face {chosen}; a line: above the unit's threshold", loc="left", fontsize="medium")
    figure.colorbar(mesh, ax=axes, label="probability")
    return figure


def plot_summary(detections: Detections) -> Figure:
    """The share of frames in which each unit is present, of the 6 faces (or files) with the most rows."""
    _require_faces(detections)
    names = detections.columns
    frame = detections.to_pandas().dropna(subset=["face_id"])
    by = "input" if len(detections.inputs) > 1 else "face_id"
    counts = frame[by].value_counts()
    groups = sorted(counts.index[:_MAX_GROUPS])
    figure = Figure(figsize=(8, 1.6 + (0.2 + 0.14 * len(groups)) * len(names)), layout="constrained")
    axes = figure.subplots()
    height = 0.8 / len(groups)
    for at, group in enumerate(groups):
        present_NA = frame.loc[frame[by] == group, [f"{name}_present" for name in names]]
        places_A = np.arange(len(names)) - 0.4 + (at + 0.5) * height
        label = f"{'' if by == 'input' else 'face '}{group}, {counts[group]:,} rows"
        axes.barh(places_A, present_NA.to_numpy(np.float64).mean(axis=0), height, label=label)
    _name_units(axes, names, at=np.arange(len(names)))
    axes.set_xlim(0, 1)
    axes.set_xlabel("share of rows in which the unit is present")
    figure.legend(loc="outside upper left", frameon=False, ncols=2)
    return figure


def _require_faces(detections: Detections) -> None:
    from mien.detect.table import DetectionsError

    if not detections.faces:
        raise DetectionsError("no face in the table: nothing to draw")


def _name_units(axes: Axes, names: tuple[str, ...], *, at: NDArray[Any]) -> None:
    axes.set_yticks(at, [_label(name) for name in names])
    axes.invert_yaxis()


def _seen_longest(detections: Detections) -> int:
    return int(detections.to_pandas()["face_id"].value_counts().index[0])


def _seconds_of(detections: Detections) -> pd.Series[float]:
    """The rising times of the file's frames, by frame."""
    frames = detections.table.select(["frame", "timestamp"]).to_pandas().drop_duplicates("frame")
    return pd.Series(rising_times(frames["timestamp"].to_numpy(np.float64)), index=frames["frame"])


def _binned(
    seconds_N: NDArray[np.float64], values_AN: NDArray[np.float64]
) -> tuple[NDArray[np.float64], ...]:
    """Edges in seconds, and the mean of what lies between them; NaN where the face was away."""
    step = float(np.median(np.diff(seconds_N))) if len(seconds_N) > 1 else 0.04
    span = float(seconds_N[-1] - seconds_N[0]) + max(step, 1e-3)
    count = int(np.clip(round(span / max(step, 1e-3)), 1, _MAX_COLUMNS))
    bins_N = np.minimum(((seconds_N - seconds_N[0]) / span * count + 1e-6).astype(int), count - 1)
    sums_AC = np.stack([np.bincount(bins_N, values_N, minlength=count) for values_N in values_AN])
    numbers_C = np.bincount(bins_N, minlength=count)
    with np.errstate(invalid="ignore"):
        means_AC = sums_AC / np.where(numbers_C, numbers_C, np.nan)
    return seconds_N[0] + np.linspace(0, span, count + 1), means_AC


def _mark_present(axes: Axes, edges: NDArray[np.float64], present_AC: NDArray[np.float64]) -> None:
    for unit, present_C in enumerate(present_AC):
        on = np.concatenate([[0], np.nan_to_num(present_C) >= 0.5, [0]]).astype(int)
        begins, ends = np.flatnonzero(np.diff(on) == 1), np.flatnonzero(np.diff(on) == -1)
        lines = np.full(len(begins), unit + 0.15)
        axes.hlines(lines, edges[begins], edges[ends], colors="deepskyblue", linewidth=2.5)


def _label(column: str) -> str:
    unit = action_unit(int(column.removeprefix("AU")))
    return f"{column} {unit.name}"
