"""What a table of detections says in a few numbers: how often, how long, how strongly, what together.

Everything here takes the table itself: one row a frame and face, `success` 0 for a frame without a face.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mien.decoding import rising_seconds

_UNIT = re.compile(r"AU\d\d+")


@dataclass(frozen=True, eq=False)
class FaceRows:
    """The rows of one face in one file, N in number, with what the whole file says of their times."""

    input: str
    face_id: int
    num_frames: int  # of the file, with or without this face; 1: a picture, or as good as one
    place_N: NDArray[np.int64]  # among the file's frames, from 0: neighbouring frames differ by 1
    seconds_N: NDArray[np.float64]  # how long the frame was shown; 1 for the only frame of a picture
    rows: pd.DataFrame


def unit_columns(table: pd.DataFrame) -> list[str]:
    """The columns that hold probabilities, in the table's order: `AU01`, `AU02`, ..."""
    return [str(name) for name in table.columns if _UNIT.fullmatch(str(name))]


def unit_statistics(table: pd.DataFrame) -> pd.DataFrame:
    """One row a file, face and action unit.

    Columns: `input, face_id, unit`; `seconds_seen` (of the face), `share_present` (of the time seen, 0 to 1),
    `episodes` (runs of neighbouring frames in which it is present; a frame without this face ends one),
    `mean_episode_seconds` (NaN without one), `mean_probability` (over the time seen). For a picture, and for
    a video of one frame, the times are NaN. Empty where no face was found.
    """
    columns = [
        "input",
        "face_id",
        "unit",
        "seconds_seen",
        "share_present",
        "episodes",
        "mean_episode_seconds",
        "mean_probability",
    ]
    found = [row for face in faces_of(table) for row in _rows_of_face(face, unit_columns(table))]
    return pd.DataFrame(found, columns=columns)


def co_occurrence(table: pd.DataFrame) -> pd.DataFrame:
    """A x A: of the rows with either unit present, the share with both; NaN where neither ever is."""
    units = unit_columns(table)
    return pd.DataFrame(co_occurrence_of_counts(pair_counts(table)), index=units, columns=units)


def pair_counts(table: pd.DataFrame) -> NDArray[np.float64]:
    """A x A: in how many rows both units are present; on the diagonal, in how many the one is."""
    seen = table[table["success"] == 1]
    present_NA = seen[[f"{unit}_present" for unit in unit_columns(table)]].to_numpy(dtype=np.float64)
    both_AA: NDArray[np.float64] = present_NA.T @ present_NA
    return both_AA


def co_occurrence_of_counts(both_AA: NDArray[np.float64]) -> NDArray[np.float64]:
    """The shares that `co_occurrence` gives, of the counts of one table or of many added up."""
    alone_A = np.diag(both_AA)
    either_AA = alone_A[:, None] + alone_A[None, :] - both_AA
    with np.errstate(invalid="ignore"):
        return np.where(either_AA > 0, both_AA / either_AA, np.nan)


def faces_of(table: pd.DataFrame) -> Iterator[FaceRows]:
    """Every face of every file, files in the table's order, faces by id."""
    for name, of_file in table.groupby("input", sort=False):
        frames = of_file.drop_duplicates("frame").sort_values("frame")
        seconds_F = frame_seconds(frames["timestamp"].to_numpy(np.float64))
        seen = of_file[of_file["success"] == 1]
        for face_id, rows in seen.groupby(seen["face_id"].astype(np.int64)):
            ordered = rows.sort_values("frame")
            place_N = np.searchsorted(frames["frame"].to_numpy(), ordered["frame"].to_numpy())
            yield FaceRows(str(name), int(face_id), len(frames), place_N, seconds_F[place_N], ordered)


def frame_seconds(timestamp_F: NDArray[np.float64]) -> NDArray[np.float64]:
    """How long each frame is shown: until the next; one alone: 1.

    The last one, and where the next time is no later, the median of the others.
    """
    steps = np.diff(timestamp_F)
    rising = steps > 0
    if not rising.any():
        return np.ones(len(timestamp_F))
    usual = np.median(steps[rising])
    return np.append(np.where(rising, steps, usual), usual)


def rising_times(timestamp_F: NDArray[np.float64]) -> NDArray[np.float64]:
    """The frames' times as they are where they rise; else seconds after the first: `Frame.seconds`."""
    steps = np.diff(timestamp_F)
    if (steps > 0).all():
        return timestamp_F
    return rising_seconds(timestamp_F, period_seconds=float(frame_seconds(timestamp_F)[-1]))


def episodes_of(present_N: NDArray[np.bool_], place_N: NDArray[np.int64]) -> list[tuple[int, int]]:
    """(first, last) of each run of rows that are present and whose places follow one another."""
    starts = present_N & ~_joined(present_N, place_N)
    ends = present_N & ~np.append(_joined(present_N, place_N)[1:], False)
    return list(zip(np.flatnonzero(starts).tolist(), np.flatnonzero(ends).tolist(), strict=True))


def _joined(present_N: NDArray[np.bool_], place_N: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Whether a row goes on the run of the row before it."""
    joined = np.zeros(len(present_N), bool)
    joined[1:] = present_N[1:] & present_N[:-1] & (np.diff(place_N) == 1)
    return joined


def _rows_of_face(face: FaceRows, units: list[str]) -> Iterator[tuple[Any, ...]]:
    seconds_seen = float(face.seconds_N.sum())
    is_picture = face.num_frames == 1
    for unit in units:
        present_N = face.rows[f"{unit}_present"].to_numpy() == 1
        probability = float(np.average(face.rows[unit].to_numpy(np.float64), weights=face.seconds_N))
        seconds_present = float(face.seconds_N[present_N].sum())
        num_episodes = len(episodes_of(present_N, face.place_N))
        mean_episode = seconds_present / num_episodes if num_episodes else np.nan
        yield (
            face.input,
            face.face_id,
            unit,
            np.nan if is_picture else seconds_seen,
            seconds_present / seconds_seen,
            num_episodes,
            np.nan if is_picture else mean_episode,
            probability,
        )
