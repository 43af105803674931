"""The faces of a labelled set: its coded frames cropped into a store, and its labels joined to the crops."""

from __future__ import annotations

import argparse
import dataclasses
import hashlib
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
from numpy.typing import NDArray

from mien.data.accounts import DONE, SKIPPED, Account, read_accounts
from mien.data.prepare import PrepareSettings
from mien.data.store import TrackStore, local_store
from mien.data.store_layout import ACCOUNTS, FRAMES, MANIFEST, StoreHeader
from mien.datasets.base import BY_TIME, DATASETS, PICTURE, DatasetError, LabelledFrames, LabelledSet
from mien.datasets.published import Published, check_counts
from mien.datasets.table import Table as OwnTable
from mien.evaluate.features import StoredFaces
from mien.evaluate.labelled_store import (
    MAX_OFFSET_SECONDS,
    FaceFinding,
    jobs_of,
    labels_outside,
    late_start,
    prepare_labelled,
    reasons_without_face,
)
from mien.evaluate.protocols import Fold, Protocol, load_protocol, protocol_for
from mien.train.encoder_file import Encoder


@dataclass(frozen=True)
class FacesRequest:
    """Which faces, checked."""

    dataset: str  # its name in DATASETS
    root: Path  # its folder, or the table
    store: Path  # its cropped faces; made when not there
    occurs_at: float | None  # intensity from which an action unit of a table counts as present
    protocol: str | None  # a named list of subjects or a file; None: the set's own, or folds
    num_folds: int  # where the set has neither list nor split
    workers: int
    finder: Path | None  # folder of the face finder's weights; None: the installed ones

    @classmethod
    def of(cls, args: argparse.Namespace, *, default_store: Path) -> FacesRequest:
        """From the flags of `mien.commands.labelled_set.add_labelled_set`."""
        names = ("dataset", "root", "occurs_at", "protocol", "workers", "finder")
        store = local_store(args.store or default_store, cache=args.store_cache)
        return cls(store=store, num_folds=args.folds, **{name: getattr(args, name) for name in names})


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

    def in_words(self, coded: LabelledFrames, reasons: dict[str, int]) -> str:
        """How many of the coded frames have a face, and why others have none."""
        used = f"{self.frames.num_frames:,} of {coded.num_frames:,} coded frames have a face"
        listed = ", ".join(f"{why.replace('_', ' ')} {count:,}" for why, count in reasons.items())
        return used + (f" (without: {listed})" if listed else "")


def labelled_set(request: FacesRequest) -> LabelledSet:
    """The set at its place; DatasetError when it is laid out otherwise."""
    cls = DATASETS.get(request.dataset)
    if cls is OwnTable:
        return OwnTable(request.root, occurs_at=request.occurs_at)
    if request.occurs_at is not None:
        raise ValueError(f"--occurs-at is for the data set `table`; {request.dataset} has its own rule")
    return cls(request.root)


def told_counts(labelled: LabelledSet, frames: LabelledFrames) -> list[str]:
    """Frames and people, printed; lines on how they agree with the published counts, where there are any."""
    say(f"{frames.num_frames:,} coded frames of {len(np.unique(frames.subject_N)):,} people")
    unread = getattr(labelled, "unread_columns", ())
    if unread:
        say(f"columns that are not read: {', '.join(unread)}")
    published: Published | None = getattr(labelled, "published", None)
    if published is None:
        return []
    lines = [str(check) for check in check_counts(frames, published)]
    for line in lines:
        say(line)
    return lines


def labelled_faces(
    request: FacesRequest, frames: LabelledFrames, encoders: Sequence[Encoder]
) -> tuple[LabelledFaces, dict[str, int]]:
    """Prepared where that is not done yet; the encoders' contracts are compared before any work."""
    encoder = encoders[0]
    for other in encoders[1:]:
        encoder.contract.require_same(other.contract, ours=encoder.source, theirs=other.source)
    root = request.root.parent if request.root.is_file() else request.root
    without_face: dict[str, int] = {}
    if _is_to_be_prepared(request.store):
        finding = FaceFinding(PrepareSettings(), request.finder)
        encoder.contract.require_same(finding.contract, ours=encoder.source, theirs="this mien")
        say(f"faces of the coded frames in {request.store}; what is not there yet is cropped now")
        with _naming_labels(request.root):
            accounts = prepare_labelled(
                frames,
                root,
                request.store,
                finding,
                workers=request.workers,
                after_video=lambda account: say(f"  {account.video}: {_outcome(account)}"),
            )
        without_face = dict(reasons_without_face(accounts))
    store = TrackStore.open(request.store)
    encoder.contract.require_same(store.contract, ours=encoder.source, theirs=str(store.path))
    with _naming_labels(request.root):
        data = match_faces(frames, root, store)
        late = data.warnings
        if request.dataset == OwnTable.name:
            late += tuple(require_agreeing_times(data))
    num_without = data.num_without_face - data.num_not_in_video
    say(f"{data.frames.num_frames:,} coded frames have a face, {num_without:,} have none")
    if data.num_not_in_video:
        say(f"{data.num_not_in_video:,} labels are of frames that their video does not have")
        without_face["not_in_video"] = data.num_not_in_video
    for line in late:
        say(f"warning: {line}")
    return data, without_face


@contextmanager
def _naming_labels(path: Path) -> Iterator[None]:
    """A DatasetError on labels and their videos also names the table, or the folder of the set."""
    try:
        yield
    except DatasetError as error:
        raise DatasetError(f"{path}: {error}") from error


def _outcome(account: Account) -> str:
    remarks = "; ".join(filter(None, (account.message, account.notes)))
    return f"{account.num_written:,} faces" + (f" ({remarks})" if remarks else "")


def _is_to_be_prepared(store: Path) -> bool:
    """A store of `mien prepare` is taken as it is; one of our own is looked over for what has changed."""
    if not (store / MANIFEST).exists():
        return True
    return "frames" in StoreHeader.read(store).settings


def protocol_of(request: FacesRequest, frames: LabelledFrames) -> Protocol:
    """The asked one, the set's own, or folds."""
    if request.protocol is not None:
        return load_protocol(request.protocol)
    return protocol_for(request.dataset, frames, num_folds=request.num_folds)


def require_protocol(request: FacesRequest, frames: LabelledFrames) -> None:
    """Before any face is looked for: ProtocolError when the protocol does not fit the labels."""
    protocol_of(request, frames).folds(frames.subject_N)


def folds_of(request: FacesRequest, frames: LabelledFrames) -> tuple[Protocol, list[Fold]]:
    """The protocol, whose name is printed, and its folds."""
    protocol = protocol_of(request, frames)
    say(f"protocol {protocol.name}, hash {protocol.digest}: {protocol.source}")
    return protocol, protocol.folds(frames.subject_N)


def tested_people(frames: LabelledFrames, folds: Sequence[Fold]) -> set[str]:
    """Whoever is in the test part of some fold."""
    return {str(subject) for fold in folds for subject in frames.subject_N[fold.test]}


def say(line: str) -> None:
    """A line of progress, at once."""
    print(line, flush=True)


def same_pictures(data: LabelledFaces) -> NDArray[np.int64]:
    """(P, 2) rows with the same face, byte for byte, under different subjects; the earlier row first.

    A person who is two people is on both sides of a split.
    """
    first: dict[bytes, int] = {}
    pairs = []
    for row, digest in enumerate(_digests(data.faces)):
        earlier = first.setdefault(digest, row)
        if data.frames.subject_N[earlier] != data.frames.subject_N[row]:
            pairs.append((earlier, row))
    return np.array(pairs, np.int64).reshape(-1, 2)


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


def _digests(faces: StoredFaces) -> list[bytes]:
    """The hash of each row's crop."""
    digest_N = [b""] * len(faces.track_N)
    for track in np.unique(faces.track_N):  # a track's crops are read at once
        rows = np.flatnonzero(faces.track_N == track)
        jpegs = faces.store.read_jpegs(int(track), faces.position_N[rows].tolist())
        for row, jpeg in zip(rows.tolist(), jpegs, strict=True):
            digest_N[row] = hashlib.blake2b(jpeg, digest_size=16).digest()
    return digest_N


def _name(frames: LabelledFrames, row: int) -> str:
    frame = frames.frame_N[row]
    where = str(frames.path_N[row]) + (f", frame {frame}" if frame >= 0 else "")
    return f"{where} ({frames.subject_N[row]})"


def match_faces(frames: LabelledFrames, root: Path, store: TrackStore) -> LabelledFaces:
    """Join by video and frame; of several faces in a frame the one with the larger box.

    Works for stores that `mien evaluate` or `mien prepare` made of the set. DatasetError when none matches.
    """
    columns = ["track", "source_frame_index", "seconds", "yaw_degrees", "pitch_degrees", "roll_degrees"]
    box = ["box_left_px", "box_top_px", "box_right_px", "box_bottom_px"]
    table = pq.read_table(store.path / FRAMES, columns=columns + box).to_pandas()
    table["position"] = table.groupby("track").cumcount()
    left, top, right, bottom = (table[name] for name in box)
    table["area"] = (right - left) * (bottom - top)
    table["row"] = _rows_of(frames, root, store, table)
    found = table[table["row"] >= 0]
    row = found["row"].to_numpy()
    late = np.abs(frames.seconds_N[row] - found["seconds"])
    found = found.assign(late=late.where(frames.frame_N[row] == BY_TIME, 0.0))
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
    """(N,) labels before or beyond their video, and sentences on videos whose labels look misnumbered."""
    outside_N, warnings = np.zeros(frames.num_frames, bool), []
    rows_of = _rows_by_path(frames)
    source_N = np.array(store.tracks["source_path"].to_pylist(), np.str_)[table["track"]]
    stored = {source: table.iloc[rows] for source, rows in table.groupby(source_N).indices.items()}
    for account in read_accounts(pq.read_table(store.path / ACCOUNTS)):
        path = _known_path(account.source_path, rows_of)
        if path not in rows_of or account.status == SKIPPED:
            continue
        rows, num_frames = rows_of[path], account.num_decoded
        start, end = _span_seconds(stored.get(account.source_path), num_frames)
        frame_T, seconds_T = frames.frame_N[rows], frames.seconds_N[rows]
        late_T = np.where(frame_T == BY_TIME, seconds_T > end, frame_T >= num_frames)
        early_T = (frame_T == BY_TIME) & (seconds_T < start - MAX_OFFSET_SECONDS)
        outside_N[rows] = late_T | early_T
        lasts = f"the video has {num_frames} frames" + (f" and ends at {end:.2f} s" if end < np.inf else "")
        if frame_T.min() > 0 and frame_T.max() == num_frames and account.status == DONE:
            warnings.append(f"{path}: labels up to frame {num_frames}, none of frame 0; {lasts}: {_FROM_ONE}")
        elif 2 * late_T.sum() > len(rows):
            warnings.append(
                f"{path}: {late_T.sum()} of {len(rows)} labels lie beyond its end; {lasts}. Are they in "
                "milliseconds, or of another file?"
            )
        if early_T.any():
            warnings.append(
                f"{path}: {early_T.sum()} of {len(rows)} labels lie before its first frame. "
                + late_start(start)
            )
    return outside_N, warnings


def _span_seconds(stored: pd.DataFrame | None, num_frames: int) -> tuple[float, float]:
    """The first frame's time, and when a label comes too late, going on from the stored frames at their rate;
    infinite where unknown.
    """
    if stored is None or stored["source_frame_index"].nunique() < 2:
        return -np.inf, np.inf
    frames, seconds = stored["source_frame_index"], stored["seconds"]
    interval = (seconds.max() - seconds.min()) / (frames.max() - frames.min())
    start = seconds.min() - frames.min() * interval
    return float(start), float(
        seconds.max() + (num_frames - 1 - frames.max()) * interval + MAX_OFFSET_SECONDS
    )


def _rows_of(frames: LabelledFrames, root: Path, store: TrackStore, table: pd.DataFrame) -> NDArray[np.int64]:
    """(rows of the store,) the coded frame that each shows; -1 for none."""
    rows_of, frame_N, seconds_N = _rows_by_path(frames), frames.frame_N, frames.seconds_N
    own = {job.source.video: dict(zip(job.frames, job.rows, strict=True)) for job in jobs_of(frames, root)}
    by_number: list[dict[int, int]] = []
    by_time: list[NDArray[np.int64]] = []
    for track in store.tracks.select(["video", "source_path"]).to_pylist():
        rows = rows_of.get(_known_path(track["source_path"], rows_of), np.zeros(0, np.int64))
        numbered = dict(zip(frame_N[rows].tolist(), rows.tolist(), strict=True))
        by_number.append(own.get(track["video"], numbered))
        rows = rows[frame_N[rows] == BY_TIME]
        by_time.append(rows[np.argsort(seconds_N[rows], kind="stable")])

    def nearest(track: int, seconds: float) -> int:
        offsets = np.abs(seconds_N[by_time[track]] - seconds)
        found = len(offsets) and offsets.min() <= MAX_OFFSET_SECONDS
        return int(by_time[track][offsets.argmin()]) if found else -1

    columns = zip(table["track"], table["source_frame_index"], table["seconds"], strict=True)
    return np.array([by_number[t].get(index, nearest(t, at)) for t, index, at in columns], np.int64)


def _rows_by_path(frames: LabelledFrames) -> dict[str, NDArray[np.int64]]:
    """The rows of each video."""
    rows = np.flatnonzero(frames.frame_N != PICTURE)
    groups = pd.Series(rows).groupby(frames.path_N[rows]).indices
    return {str(path): rows[positions] for path, positions in groups.items()}


def _known_path(path: str, known: Collection[str]) -> str:
    """The labels' name of a store's file: the same, or with more or fewer folders before it."""
    if path in known:
        return path
    alike = [name for name in known if name.endswith("/" + path) or path.endswith("/" + name)]
    return alike[0] if len(alike) == 1 else path
