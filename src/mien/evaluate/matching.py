"""Labels joined to the faces of a store: which picture shows which coded frame."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
from numpy.typing import NDArray

from mien.data.store import TrackStore
from mien.data.store_layout import FRAMES
from mien.datasets.base import BY_TIME, PICTURE, DatasetError, LabelledFrames
from mien.evaluate.labelled_store import MAX_OFFSET_SECONDS, jobs_of
from mien.evaluate.tune import StoredFaces


@dataclass(frozen=True)
class LabelledFaces:
    """The coded frames that have a face, where it lies, and its pose.

    pose_N3: yaw, pitch and roll in degrees. num_without_face: coded frames left out.
    """

    frames: LabelledFrames
    faces: StoredFaces
    pose_N3: NDArray[np.float32]
    num_without_face: int


def match_faces(frames: LabelledFrames, root: Path, store: TrackStore) -> LabelledFaces:
    """Join by video and frame; of several faces in a frame the one with the larger box.

    Works for stores that `mien evaluate` or `mien prepare` made of the set. DatasetError when none matches.
    """
    columns = ["track", "source_frame_index", "seconds", "yaw_degrees", "pitch_degrees", "roll_degrees"]
    box = ["box_left_px", "box_top_px", "box_right_px", "box_bottom_px"]
    table = pq.read_table(store.path / FRAMES, columns=columns + box).to_pandas()
    table["position"] = table.groupby("track").cumcount()
    table["area"] = (table["box_right_px"] - table["box_left_px"]) * (
        table["box_bottom_px"] - table["box_top_px"]
    )
    table["row"] = _rows_of(frames, root, store, table)
    found = table[table["row"] >= 0]
    found = found.assign(late=_seconds_off(frames, found["row"], found["seconds"]))
    found = found.sort_values(["row", "late", "area"], ascending=[True, True, False], kind="stable")
    found = found.drop_duplicates("row")
    if found.empty:
        raise DatasetError(
            f"{store.path}: none of its frames is coded. Its videos are like "
            f"{store.tracks['source_path'][0].as_py()!r}, the labels' like {str(frames.path_N[0])!r}"
        )
    kept = frames.rows(found["row"].to_numpy())
    shown = np.where(kept.frame_N == BY_TIME, found["source_frame_index"].to_numpy(np.int64), kept.frame_N)
    return LabelledFaces(
        dataclasses.replace(kept, frame_N=shown),
        StoredFaces(store, found["track"].to_numpy(np.int64), found["position"].to_numpy(np.int64)),
        found[["yaw_degrees", "pitch_degrees", "roll_degrees"]].to_numpy(np.float32),
        frames.num_frames - len(found),
    )


def _rows_of(
    frames: LabelledFrames,
    root: Path,
    store: TrackStore,
    table: pd.DataFrame,
) -> NDArray[np.int64]:
    """(rows of the store,) the coded frame that each shows; -1 for none."""
    own = {job.source.video: dict(zip(job.frames, job.rows, strict=True)) for job in jobs_of(frames, root)}
    by_path = _rows_by_path(frames)
    videos = store.tracks["video"].to_pylist()
    sources = [_known_path(path, by_path) for path in store.tracks["source_path"].to_pylist()]
    index_of = [own.get(v, by_path.get(s, {})) for v, s in zip(videos, sources, strict=True)]
    times_of = _rows_by_time(frames)
    rows = [
        index_of[t].get(index, _nearest(times_of.get(sources[t]), at))
        for t, index, at in zip(table["track"], table["source_frame_index"], table["seconds"], strict=True)
    ]
    return np.array(rows, np.int64)


def _seconds_off(frames: LabelledFrames, row: pd.Series, seconds: pd.Series) -> NDArray[np.float64]:
    """How far a stored frame lies from the time of its label; 0 where the label has a frame number."""
    rows = row.to_numpy()
    off = np.abs(frames.seconds_N[rows] - seconds.to_numpy())
    return np.where(frames.frame_N[rows] == BY_TIME, off, 0.0)


def _rows_by_path(frames: LabelledFrames) -> dict[str, dict[int, int]]:
    rows: dict[str, dict[int, int]] = {}
    for row, (path, frame) in enumerate(zip(frames.path_N.tolist(), frames.frame_N.tolist(), strict=True)):
        if frame not in (PICTURE, BY_TIME):
            rows.setdefault(path, {})[frame] = row
        elif frame == BY_TIME:
            rows.setdefault(path, {})
    return rows


def _rows_by_time(frames: LabelledFrames) -> dict[str, tuple[NDArray[np.float64], NDArray[np.int64]]]:
    """Sorted times and their rows, by path, of the frames known by time only."""
    found = {}
    by_time = np.flatnonzero(frames.frame_N == BY_TIME)
    for path in np.unique(frames.path_N[by_time]):
        rows = by_time[frames.path_N[by_time] == path]
        rows = rows[np.argsort(frames.seconds_N[rows], kind="stable")]
        found[str(path)] = (frames.seconds_N[rows], rows)
    return found


def _nearest(times: tuple[NDArray[np.float64], NDArray[np.int64]] | None, seconds: float) -> int:
    if times is None:
        return -1
    offsets = np.abs(times[0] - seconds)
    nearest = int(offsets.argmin())
    return int(times[1][nearest]) if offsets[nearest] <= MAX_OFFSET_SECONDS else -1


def _known_path(path: str, known: dict[str, dict[int, int]]) -> str:
    """The labels' name of a store's file: the same, or with more or fewer folders before it."""
    if path in known:
        return path
    alike = [name for name in known if name.endswith("/" + path) or path.endswith("/" + name)]
    return alike[0] if len(alike) == 1 else path
