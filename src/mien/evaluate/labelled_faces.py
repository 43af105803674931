"""The faces of a labelled set: its coded frames cropped into a store, and its labels joined to the crops."""

from __future__ import annotations

import dataclasses
import hashlib
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
from numpy.typing import NDArray

from mien.data.accounts import DONE, SKIPPED, Account, read_accounts
from mien.data.store import TrackStore
from mien.data.store_layout import ACCOUNTS, FRAMES, MANIFEST, StoreHeader
from mien.datasets.base import BY_TIME, DATASETS, PICTURE, DatasetError, LabelledFrames, LabelledSet
from mien.datasets.table import Table
from mien.evaluate.features import StoredFaces
from mien.evaluate.labelled_store import (
    MAX_OFFSET_SECONDS,
    NOT_CODED,
    jobs_of,
    prepare_labelled,
)
from mien.faces.track import FaceTracking
from mien.train.encoder_file import Encoder

_HOW_TO_NUMBER = "Expected `frame` counted from 0, or `seconds` (not milliseconds) by the file's own clock"
_CLOCK_DRIFT = 0.002  # of the time: rates that labels round, as 30 for 29.97


@dataclass(frozen=True)
class LabelledFaces:
    """The coded frames that have a face, where it is stored, and its pose.

    pose_N3: yaw, pitch and roll in degrees. num_without_face: coded frames left out, num_not_in_video of them
    because the video has no such frame; reasons: of all, where they are known. seconds_N: times by the file's
    own clock. warnings: labels that look misnumbered, in sentences.
    """

    frames: LabelledFrames
    faces: StoredFaces
    pose_N3: NDArray[np.float32]
    num_without_face: int
    num_not_in_video: int = 0
    seconds_N: NDArray[np.float64] | None = None
    warnings: tuple[str, ...] = ()
    reasons: Mapping[str, int] = field(default_factory=dict)

    def in_words(self) -> str:
        """How many of the coded frames have a face, and why others have none."""
        coded = self.frames.num_frames + self.num_without_face
        listed = ", ".join(f"{why.replace('_', ' ')} {count:,}" for why, count in self.reasons.items())
        used = f"{self.frames.num_frames:,} of {coded:,} coded frames have a face"
        return used + (f" (without: {listed})" if listed else "")


def labelled_set(dataset: str, root: Path, *, occurs_at: float | None = None) -> LabelledSet:
    """The set at its place; DatasetError when its layout is another."""
    cls = DATASETS.get(dataset)
    if cls is Table:
        return Table(root, occurs_at=occurs_at)
    if occurs_at is not None:
        raise ValueError(f"--occurs-at is for the data set `table`; {dataset} has its own rule")
    return cls(root)


def labelled_faces(
    frames: LabelledFrames,
    root: Path,
    store: Path,
    encoders: Sequence[Encoder],
    *,
    workers: int,
    finder: Path | None,
    say: Callable[[str], None],
) -> LabelledFaces:
    """The faces of the coded frames of the set at `root`, cropped into `store` unless they are there already.

    A store of `mien prepare` is used as it is. The encoders' crop contracts are compared before any work:
    ContractMismatchError. `finder` is the folder of the face finder's weights, None for the installed ones.
    """
    encoder, *others = encoders
    for other in others:
        encoder.contract.require_same(other.contract, ours=encoder.source, theirs=other.source)
    folder = root.parent if root.is_file() else root

    def after_video(account: Account) -> None:
        remarks = "; ".join(filter(None, (account.message, account.notes)))
        say(f"  {account.video}: {account.num_written:,} faces" + (f" ({remarks})" if remarks else ""))

    try:
        if not (store / MANIFEST).exists() or _is_of_coded_frames(store):
            tracking = FaceTracking(models=finder)
            encoder.contract.require_same(tracking.contract, ours=encoder.source, theirs="this mien")
            say(f"faces of the coded frames in {store}; what is not there yet is cropped now")
            prepare_labelled(frames, folder, store, tracking, workers=workers, after_video=after_video)
        opened = TrackStore.open(store)
        encoder.contract.require_same(opened.contract, ours=encoder.source, theirs=str(opened.path))
        data = match_faces(frames, folder, opened)
        shifted = require_agreeing_times(data) if root.is_file() else []
    except DatasetError as error:
        raise DatasetError(f"{root}: {error}") from error
    data = dataclasses.replace(data, warnings=(*data.warnings, *shifted))
    num_without = data.num_without_face - data.num_not_in_video
    say(f"{data.frames.num_frames:,} coded frames have a face, {num_without:,} have none")
    if data.num_not_in_video:
        say(f"{data.num_not_in_video:,} labels are of frames that their video does not have")
    for line in data.warnings:
        say(f"warning: {line}")
    return data


def _is_of_coded_frames(store: Path) -> bool:
    """Whether `prepare_labelled` made the store; `mien prepare` otherwise."""
    return "frames" in StoreHeader.read(store).settings


def match_faces(frames: LabelledFrames, root: Path, store: TrackStore) -> LabelledFaces:
    """Join by video and frame, or by the nearest time; of several faces in a frame the largest.

    Works for stores that `mien evaluate` or `mien prepare` made of the set. DatasetError when none matches.
    """
    columns = ["track", "source_frame_index", "seconds", "yaw_degrees", "pitch_degrees", "roll_degrees"]
    box = ["box_left_px", "box_top_px", "box_right_px", "box_bottom_px"]
    table = pq.read_table(store.path / FRAMES, columns=columns + box).to_pandas()
    if table.empty:
        frame, seconds = frames.frame_N[0], frames.seconds_N[0]
        at = f", {seconds:g} s" if frame == BY_TIME else f", frame {frame}" if frame >= 0 else ""
        raise DatasetError(
            f"no coded frame has a face; the first is {frames.path_N[0]}{at}. {_HOW_TO_NUMBER}"
        )
    table["position"] = table.groupby("track").cumcount()
    left, top, right, bottom = (table[name] for name in box)
    table["area"] = (right - left) * (bottom - top)
    labels = _labels_table(frames, root)
    table["key"] = _keys_of_tracks(labels, store)[table["track"]]
    table["row"] = _rows_of(labels, table)
    found = table[table["row"] >= 0]
    row = found["row"].to_numpy()
    late = np.abs(frames.seconds_N[row] - found["seconds"])
    found = found.assign(late=late.where(frames.frame_N[row] == BY_TIME, 0.0))
    found = found.sort_values(["row", "late", "area"], ascending=[True, True, False], kind="stable")
    found = found.drop_duplicates("row")
    if found.empty:
        raise DatasetError(
            f"{store.path}: none of its frames is coded. Its videos are like "
            f"{store.tracks['source_path'][0]}, the labels' like {frames.path_N[0]}; expected the same paths "
            "but for leading folders"
        )
    accounts = read_accounts(pq.read_table(store.path / ACCOUNTS))
    outside_N, warnings = _outside(labels, table, accounts)
    outside_N[found["row"].to_numpy()] = False
    num_outside = int(outside_N.sum())
    reasons = reasons_without_face(accounts) if _is_of_coded_frames(store.path) else {}
    kept = frames.rows(found["row"].to_numpy())
    shown = np.where(kept.frame_N == BY_TIME, found["source_frame_index"].to_numpy(np.int64), kept.frame_N)
    return LabelledFaces(
        dataclasses.replace(kept, frame_N=shown),
        StoredFaces(store, found["track"].to_numpy(np.int64), found["position"].to_numpy(np.int64)),
        found[["yaw_degrees", "pitch_degrees", "roll_degrees"]].to_numpy(np.float32),
        frames.num_frames - len(found),
        num_outside,
        found["seconds"].to_numpy(np.float64),
        tuple(warnings),
        dict(reasons) | ({"not_in_video": num_outside} if num_outside else {}),
    )


def reasons_without_face(accounts: Sequence[Account]) -> Counter[str]:
    """Coded frames by the reason for which they have no face, over all videos."""
    reasons: Counter[str] = Counter()
    for account in accounts:
        reasons.update({why: n for why, n in account.not_written.items() if why != NOT_CODED})
    return reasons


def _labels_table(frames: LabelledFrames, root: Path) -> pd.DataFrame:
    """One row per label: key, frame and seconds. A picture has the key and number of its job in the store."""
    key_N, frame_N = frames.path_N.astype(object), frames.frame_N.copy()
    for job in jobs_of(frames, root):
        if job.pictures:
            rows = list(job.rows)
            key_N[rows], frame_N[rows] = job.source.video, job.frames
    is_video_N = frames.frame_N != PICTURE
    return pd.DataFrame({"key": key_N, "frame": frame_N, "seconds": frames.seconds_N, "is_video": is_video_N})


def _keys_of_tracks(labels: pd.DataFrame, store: TrackStore) -> NDArray[np.object_]:
    """The key of the labels of each track's video; its source path where nothing labels it."""
    videos, pictures = (set(labels["key"][labels["is_video"] == is_video]) for is_video in (True, False))
    tracks = store.tracks.select(["video", "source_path"]).to_pylist()
    keys = [
        track["video"] if track["video"] in pictures else _known_path(track["source_path"], videos)
        for track in tracks
    ]
    return np.array(keys, object)


def _rows_of(labels: pd.DataFrame, table: pd.DataFrame) -> NDArray[np.int64]:
    """(rows of the store,) the label that each shows, by number, else by time; -1 for none."""
    numbered = labels[labels["frame"] >= 0]
    row_of = pd.Series(numbered.index, pd.MultiIndex.from_frame(numbered[["key", "frame"]]))
    places = pd.MultiIndex.from_frame(table[["key", "source_frame_index"]])
    row_T: NDArray[np.int64] = row_of.reindex(places, fill_value=-1).to_numpy(np.int64)
    timed = labels[labels["frame"] == BY_TIME].sort_values("seconds", kind="stable")
    if len(timed):
        near = pd.merge_asof(
            table[["key", "seconds"]].reset_index().sort_values("seconds", kind="stable"),
            timed[["key", "seconds"]].assign(row=timed.index),
            on="seconds",
            by="key",
            direction="nearest",
            tolerance=MAX_OFFSET_SECONDS,
        ).set_index("index")["row"]
        row_T = np.where(row_T < 0, near.sort_index().fillna(-1).to_numpy(np.int64), row_T)
    return row_T


def _known_path(path: str, known: Collection[str]) -> str:
    """The labels' name of a store's file: the same, or with more or fewer folders before it."""
    if path in known:
        return path
    alike = [name for name in known if name.endswith("/" + path) or path.endswith("/" + name)]
    return alike[0] if len(alike) == 1 else path


def _outside(
    labels: pd.DataFrame, table: pd.DataFrame, accounts: Sequence[Account]
) -> tuple[NDArray[np.bool_], list[str]]:
    """(N,) labels before or beyond their video, and sentences on videos whose labels look misnumbered."""
    outside_N, warnings = np.zeros(len(labels), bool), []
    labels_of, stored_of = (dict(iter(of.groupby("key"))) for of in (labels[labels["is_video"]], table))
    for account in accounts:
        path = _known_path(account.source_path, labels_of)
        if path not in labels_of or account.status == SKIPPED:
            continue
        coded, num_frames = labels_of[path], account.num_decoded
        start, end = _span_seconds(stored_of.get(path), num_frames)
        frame_T, seconds_T = coded["frame"], coded["seconds"]
        late_T = np.where(frame_T == BY_TIME, seconds_T > end + MAX_OFFSET_SECONDS, frame_T >= num_frames)
        early_T = (frame_T == BY_TIME) & (seconds_T < start - MAX_OFFSET_SECONDS)
        outside_N[coded.index] = late_T | early_T
        from_one = frame_T.min() > 0 and frame_T.max() == num_frames and account.status == DONE
        if from_one or 2 * late_T.sum() > len(coded) or early_T.any():
            runs = f", from {start:.2f} s to {end:.2f} s" if np.isfinite(end) else ""
            warnings.append(
                f"{path}: {(late_T | early_T).sum()} of {len(coded)} labels lie outside the video, which has "
                f"{num_frames} frames{runs}. {_HOW_TO_NUMBER}."
            )
    return outside_N, warnings


def _span_seconds(stored: pd.DataFrame | None, num_frames: int) -> tuple[float, float]:
    """Times of the first and last frame, from the stored ones and their rate; infinite where unknown."""
    if stored is None or stored["source_frame_index"].nunique() < 2:
        return -np.inf, np.inf
    frames, seconds = stored["source_frame_index"], stored["seconds"]
    interval = (seconds.max() - seconds.min()) / (frames.max() - frames.min())
    start = seconds.min() - frames.min() * interval
    return float(start), float(seconds.max() + (num_frames - 1 - frames.max()) * interval)


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
        wrong = np.flatnonzero(np.abs(off_N) > MAX_OFFSET_SECONDS + _CLOCK_DRIFT * frames.seconds_N[rows])
        if len(wrong):
            row = int(rows.iloc[wrong[0]])
            raise DatasetError(
                f"{path}: a row says frame {frames.frame_N[row]} and {frames.seconds_N[row]:g} s, but that "
                f"frame lies at {at_N[row]:.3f} s by the file's clock ({len(wrong)} of {len(rows)} rows "
                f"disagree). {_HOW_TO_NUMBER}; or leave out the column that is wrong."
            )
        frames_apart = np.ptp(frames.frame_N[rows])
        if frames_apart and (np.abs(off_N * frames_apart / np.ptp(at_N[rows]) + 1) < 0.3).all():
            shifted.append(f"{path}: all {len(rows)} rows fit the frame before. {_HOW_TO_NUMBER}.")
    return shifted


def warning_of_same_pictures(data: LabelledFaces) -> str:
    """A sentence that names the first few pairs of `same_pictures`; "" when there is none."""
    rows_P2 = same_pictures(data)
    if not len(rows_P2):
        return ""
    named = "; ".join(" and ".join(_name(data.frames, row) for row in pair) for pair in rows_P2[:3].tolist())
    return (
        f"{len(rows_P2):,} faces of one person are, byte for byte, faces of another ({named}): if "
        "these are one person under two names, models are tested on people that they were fitted on."
    )


def same_pictures(data: LabelledFaces) -> NDArray[np.int64]:
    """(P, 2) rows with the same face, byte for byte, under different subjects; the earlier row first.

    A person with two names is on both sides of a split.
    """
    faces, subject_N = data.faces, data.frames.subject_N
    digest_N = np.empty(len(subject_N), object)
    for track in np.unique(faces.track_N):  # a track's crops are read at once
        rows = np.flatnonzero(faces.track_N == track)
        jpegs = faces.store.read_jpegs(int(track), faces.position_N[rows].tolist())
        digest_N[rows] = [hashlib.blake2b(jpeg, digest_size=16).hexdigest() for jpeg in jpegs]
    row_N = pd.Series(np.arange(len(subject_N)))
    first_N = row_N.groupby(digest_N).transform("first").to_numpy()
    row_P = np.flatnonzero(subject_N[first_N] != subject_N)
    return np.stack([first_N[row_P], row_P], axis=1)


def _name(frames: LabelledFrames, row: int) -> str:
    frame = frames.frame_N[row]
    where = str(frames.path_N[row]) + (f", frame {frame}" if frame >= 0 else "")
    return f"{where} ({frames.subject_N[row]})"
