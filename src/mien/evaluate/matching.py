"""Labels joined to the faces of a store: which picture shows which coded frame."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
from numpy.typing import NDArray

from mien.data.accounts import DONE, SKIPPED, read_accounts
from mien.data.store import TrackStore
from mien.data.store_layout import ACCOUNTS, FRAMES
from mien.datasets.base import BY_TIME, PICTURE, DatasetError, LabelledFrames
from mien.evaluate.features import StoredFaces
from mien.evaluate.labelled_store import MAX_OFFSET_SECONDS, jobs_of, labels_outside


@dataclass(frozen=True)
class LabelledFaces:
    """The coded frames that have a face, where it lies, and its pose.

    pose_N3: yaw, pitch and roll in degrees. num_without_face: coded frames left out, num_not_in_video of them
    because the video has no such frame. seconds_N: times by the file's own clock. warnings: labels that look
    misnumbered, in sentences.
    """

    frames: LabelledFrames
    faces: StoredFaces
    pose_N3: NDArray[np.float32]
    num_without_face: int
    num_not_in_video: int = 0
    seconds_N: NDArray[np.float64] | None = None
    warnings: tuple[str, ...] = ()


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
        raise DatasetError(_why_none_matches(frames, root, store))
    outside_N, warnings = _outside(frames, store, table)
    outside_N[found["row"].to_numpy()] = False
    kept = frames.rows(found["row"].to_numpy())
    shown = np.where(kept.frame_N == BY_TIME, found["source_frame_index"].to_numpy(np.int64), kept.frame_N)
    return LabelledFaces(
        dataclasses.replace(kept, frame_N=shown),
        StoredFaces(store, found["track"].to_numpy(np.int64), found["position"].to_numpy(np.int64)),
        found[["yaw_degrees", "pitch_degrees", "roll_degrees"]].to_numpy(np.float32),
        frames.num_frames - len(found),
        int(outside_N.sum()),
        found["seconds"].to_numpy(np.float64),
        tuple(warnings),
    )


def require_agreeing_times(data: LabelledFaces) -> list[str]:
    """Frame numbers and seconds of the same rows, compared with the files' clocks.

    DatasetError when they name different frames. Sentences on videos whose every label is one frame late.
    """
    frames, at_N = data.frames, data.seconds_N
    assert at_N is not None
    rows_of = pd.Series(np.flatnonzero((frames.frame_N >= 0) & np.isfinite(frames.seconds_N)))
    shifted = []
    for path, rows in rows_of.groupby(frames.path_N[rows_of]):
        off_N = frames.seconds_N[rows] - at_N[rows]
        hint = f"all {len(rows)} rows fit the frame before: {_FROM_ONE}"
        is_late = _one_frame_late(frames.frame_N[rows], at_N[rows], off_N)
        wrong = np.flatnonzero(np.abs(off_N) > MAX_OFFSET_SECONDS + _CLOCK_DRIFT * frames.seconds_N[rows])
        if len(wrong):
            row = int(rows.iloc[wrong[0]])
            raise DatasetError(
                f"{path}: a row says frame {frames.frame_N[row]} and {frames.seconds_N[row]:g} s, but that "
                f"frame lies at {at_N[row]:.3f} s by the file's clock ({len(wrong)} of {len(rows)} rows "
                "disagree). "
                + (hint if is_late else "Correct the rows, or leave out the column that is wrong.")
            )
        if is_late:
            shifted.append(f"{path}: {hint}")
    return shifted


_FROM_ONE = "are its frames counted from 1? The first frame has number 0"
_CLOCK_DRIFT = 0.002  # of the time: rates that labels round, as 30 for 29.97


def _one_frame_late(
    frame_N: NDArray[np.int64], at_N: NDArray[np.float64], off_N: NDArray[np.float64]
) -> bool:
    if np.ptp(frame_N) == 0:
        return False
    off_frames_N = off_N * np.ptp(frame_N) / np.ptp(at_N)
    return bool(np.abs(off_frames_N + 1).max() < 0.3)


def _why_none_matches(frames: LabelledFrames, root: Path, store: TrackStore) -> str:
    outside = labels_outside(jobs_of(frames, root))
    if outside:
        return outside
    sources = store.tracks["source_path"].to_pylist()
    if not sources:
        return f"{store.path}: no coded frame has a face"
    return (
        f"{store.path}: none of its frames is coded. Its videos are like {sources[0]!r}, the labels' like "
        f"{str(frames.path_N[0])!r}; expected the same paths, but for leading folders"
    )


def _outside(
    frames: LabelledFrames, store: TrackStore, table: pd.DataFrame
) -> tuple[NDArray[np.bool_], list[str]]:
    """(N,) labels beyond the end of their video, and sentences on videos whose labels look misnumbered."""
    outside_N, warnings = np.zeros(frames.num_frames, bool), []
    by_path = _rows_by_path(frames)
    rows_of = pd.Series(range(frames.num_frames)).groupby(frames.path_N).indices if by_path else {}
    source_N = np.array(store.tracks["source_path"].to_pylist(), np.str_)[table["track"]]
    stored = {source: table.iloc[rows] for source, rows in table.groupby(source_N).indices.items()}
    for account in read_accounts(pq.read_table(store.path / ACCOUNTS)):
        path = _known_path(account.source_path, by_path)
        if path not in by_path or account.status == SKIPPED:
            continue
        rows, num_frames = rows_of[path], account.num_decoded
        frame_T, end = frames.frame_N[rows], _end_seconds(stored.get(account.source_path), num_frames)
        late_T = np.where(frame_T == BY_TIME, frames.seconds_N[rows] > end, frame_T >= num_frames)
        outside_N[rows] = late_T
        lasts = f"the video has {num_frames} frames" + (f" and ends at {end:.2f} s" if end < np.inf else "")
        if frame_T.min() > 0 and frame_T.max() == num_frames and account.status == DONE:
            warnings.append(f"{path}: labels up to frame {num_frames}, none of frame 0; {lasts}: {_FROM_ONE}")
        elif 2 * late_T.sum() > len(rows):
            warnings.append(
                f"{path}: {late_T.sum()} of {len(rows)} labels lie beyond its end; {lasts}. Are they in "
                "milliseconds, or of another file?"
            )
    return outside_N, warnings


def _end_seconds(stored: pd.DataFrame | None, num_frames: int) -> float:
    """When a label comes too late, going on from the stored frames at their rate; infinity where unknown."""
    if stored is None or stored["source_frame_index"].nunique() < 2:
        return np.inf
    frames, seconds = stored["source_frame_index"], stored["seconds"]
    interval = (seconds.max() - seconds.min()) / (frames.max() - frames.min())
    return float(seconds.max() + (num_frames - 1 - frames.max()) * interval + MAX_OFFSET_SECONDS)


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
