"""A table of detections in a few numbers and pictures: how often, how long, how strongly, what together.

Everything here takes the table as pandas: one row per frame and face, `success` 0 for a frame without a face.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mien.facs import action_unit

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_UNIT = re.compile(r"AU\d\d+")
_MAX_COLUMNS = 2000  # of the heat map; a longer video is averaged


@dataclass(frozen=True, eq=False)
class FaceRows:
    """The rows of one face in one file, N in number, with their times from all frames of the file."""

    input: str
    face_id: int
    num_frames: int  # of the file, with or without this face; 1: a picture, or as good as one
    place_N: NDArray[np.int64]  # among the file's frames, from 0: neighbouring frames differ by 1
    seconds_N: NDArray[np.float64]  # how long the frame was shown; 1 for the only frame of a picture
    rows: pd.DataFrame


def unit_columns(table: pd.DataFrame) -> list[str]:
    """The columns that hold probabilities, in the table's order: `AU01`, `AU02`, ..."""
    return [str(name) for name in table.columns if _UNIT.fullmatch(str(name))]


def units_with_presence(table: pd.DataFrame) -> list[str]:
    """The units whose presence is not left blank in all rows."""
    return [unit for unit in unit_columns(table) if table[f"{unit}_present"].notna().any()]


def units_left_blank(table: pd.DataFrame) -> list[str]:
    """The other units: of unproven skill, or no face was seen."""
    shown = units_with_presence(table)
    return [unit for unit in unit_columns(table) if unit not in shown]


def presence(rows: pd.DataFrame, units: Sequence[str], *, blank: float) -> NDArray[np.float64]:
    """N x A of 0 and 1, `blank` where presence is left blank."""
    present_NA = rows[[f"{unit}_present" for unit in units]]
    return np.asarray(present_NA.to_numpy(dtype=np.float64, na_value=blank))


def unit_statistics(table: pd.DataFrame) -> pd.DataFrame:
    """One row per file, face and action unit.

    Columns: `input, face_id, unit`; `seconds_seen` (of the face), `share_present` (of the time seen, 0 to 1),
    `episodes` (runs of neighbouring frames in which it is present; a frame without this face ends one),
    `mean_episode_seconds` (NaN without one), `mean_probability` (over the time seen). For a picture, and for
    a video of one frame, the times are NaN. Units whose presence is left blank have no row. Empty where no
    face was found.
    """
    columns = ["input", "face_id", "unit", "seconds_seen", "share_present", "episodes"]
    columns += ["mean_episode_seconds", "mean_probability"]
    found = [row for face in faces_of(table) for row in _rows_of_face(face)]
    return pd.DataFrame(found, columns=columns)


def co_occurrence(table: pd.DataFrame) -> pd.DataFrame:
    """Of the rows with either unit present, the share with both; NaN where neither ever is.

    Square, over the units whose presence is not left blank.
    """
    units = units_with_presence(table)
    shares = co_occurrence_of_counts(pair_counts(table, units))
    return pd.DataFrame(shares, index=units, columns=units)


def pair_counts(table: pd.DataFrame, units: Sequence[str]) -> NDArray[np.float64]:
    """A x A: in how many rows both units are present; on the diagonal, the rows with that unit."""
    present_NA = presence(table[table["success"] == 1], units, blank=0.0)
    both_AA: NDArray[np.float64] = present_NA.T @ present_NA
    return both_AA


def co_occurrence_of_counts(both_AA: NDArray[np.float64]) -> NDArray[np.float64]:
    """The shares of `co_occurrence`, from the counts of one table or the sum of many."""
    alone_A = np.diag(both_AA)
    either_AA = alone_A[:, None] + alone_A[None, :] - both_AA
    with np.errstate(invalid="ignore"):
        return np.where(either_AA > 0, both_AA / either_AA, np.nan)


def faces_of(table: pd.DataFrame) -> Iterator[FaceRows]:
    """Every face of every file, files in the table's order, faces by id."""
    for name, of_file in table.groupby("input", sort=False):
        frames = of_file[["frame", "timestamp"]].drop_duplicates("frame").sort_values("frame")
        seconds_F = frame_seconds(frames["timestamp"].to_numpy(np.float64))
        for face_id in sorted(of_file.loc[of_file["success"] == 1, "face_id"].unique()):
            is_face = (of_file["success"] == 1) & (of_file["face_id"] == face_id)
            ordered = of_file[is_face.astype(bool)].sort_values("frame")
            place_N = np.searchsorted(frames["frame"].to_numpy(), ordered["frame"].to_numpy())
            yield FaceRows(str(name), int(face_id), len(frames), place_N, seconds_F[place_N], ordered)


def frame_seconds(timestamp_F: NDArray[np.float64]) -> NDArray[np.float64]:
    """How long each frame is shown: until the next; a frame alone: 1.

    The last one, and where the next time is no later, the median of the others.
    """
    steps = np.diff(timestamp_F)
    rising = steps > 0
    if not rising.any():
        return np.ones(len(timestamp_F))
    usual = np.median(steps[rising])
    return np.append(np.where(rising, steps, usual), usual)


def episodes_of(present_N: NDArray[np.bool_], place_N: NDArray[np.int64]) -> list[tuple[int, int]]:
    """(first, last) of each run of rows that are present and whose places follow one another."""
    number_N = np.cumsum(np.diff(place_N, prepend=place_N[:1]) != 1)  # rises where a place is left out
    number_N = np.where(present_N, number_N, -1)
    changes = np.flatnonzero(np.diff(number_N)) + 1
    runs = np.split(np.arange(len(present_N)), changes)
    return [(int(run[0]), int(run[-1])) for run in runs if len(run) and present_N[run[0]]]


def plot_timeline(of_face: pd.DataFrame) -> Figure:
    """A face's probabilities over time, one line per unit; marked where the unit is present."""
    from matplotlib.figure import Figure

    names, blank = unit_columns(of_face), units_left_blank(of_face)
    edges, bins_N = _bins(of_face["timestamp"].to_numpy(np.float64))
    both_N = np.concatenate(
        [of_face[names].to_numpy(np.float64), presence(of_face, names, blank=0.0)], axis=1
    )
    means = pd.DataFrame(both_N).groupby(bins_N).mean().reindex(range(len(edges) - 1))
    values_AC, present_AC = np.split(means.to_numpy().T, 2)
    figure = Figure(figsize=(10, 1.2 + 0.35 * len(names)), layout="constrained")
    axes = figure.subplots()
    mesh = axes.pcolormesh(edges, np.arange(len(names) + 1), values_AC, vmin=0, vmax=1, cmap="magma")
    for unit, present_C in enumerate(present_AC):
        shown = [(edge, edges[1] - edges[0]) for edge in edges[:-1][present_C >= 0.5]]
        axes.broken_barh(shown, (unit + 0.1, 0.1), color="deepskyblue")
    labels = [f"{name} {action_unit(int(name.removeprefix('AU'))).name}" for name in names]
    axes.set_yticks(np.arange(len(names)) + 0.5, labels)
    axes.invert_yaxis()
    axes.set_xlabel("seconds")
    left_out = f"\npresence is left blank: {', '.join(blank)}" if blank else ""
    title = f"face {of_face['face_id'].iloc[0]}; a line: above the unit's threshold{left_out}"
    axes.set_title(title, loc="left", fontsize="medium")
    figure.colorbar(mesh, ax=axes, label="probability")
    return figure


def _rows_of_face(face: FaceRows) -> Iterator[tuple[Any, ...]]:
    seconds_seen = float(face.seconds_N.sum())
    is_picture = face.num_frames == 1
    for unit in units_with_presence(face.rows):
        present_N = presence(face.rows, [unit], blank=0.0)[:, 0] == 1
        probability = float(np.average(face.rows[unit].to_numpy(np.float64), weights=face.seconds_N))
        seconds_present = float(face.seconds_N[present_N].sum())
        num_episodes = len(episodes_of(present_N, face.place_N))
        mean_episode = seconds_present / num_episodes if num_episodes and not is_picture else np.nan
        seen = np.nan if is_picture else seconds_seen
        share = seconds_present / seconds_seen
        yield face.input, face.face_id, unit, seen, share, num_episodes, mean_episode, probability


def _bins(seconds_N: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Edges in seconds of the heat map's columns, and the column of each time."""
    step = max(1e-3, float(np.median(np.diff(seconds_N)))) if len(seconds_N) > 1 else 0.04
    span = float(seconds_N[-1] - seconds_N[0]) + step
    edges = seconds_N[0] + np.linspace(0, span, int(np.clip(round(span / step), 1, _MAX_COLUMNS)) + 1)
    return edges, np.searchsorted(edges[1:-1], seconds_N + 1e-6, side="right")
