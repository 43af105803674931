"""The coded frames of a labelled set as a track store: finder, alignment and contract as in pretraining.

`mien prepare` samples a video 25 times a second, but labels belong to frames. So here each coded frame is
cropped at any frame rate, and a folder of pictures counts as a video.
"""

from __future__ import annotations

import hashlib
import shutil
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Protocol

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
from numpy.typing import NDArray

from mien.config import to_dict
from mien.data.accounts import Account, read_accounts
from mien.data.jobs import Died, Finished, Report, WorkersDieError, run_jobs
from mien.data.parts import Fingerprint, assemble, read_part
from mien.data.sources import Source
from mien.data.store_layout import (
    ACCOUNTS,
    MANIFEST,
    TEMPORARY,
    StoreHeader,
    begin_store,
    part_path,
    writing_to,
)
from mien.data.store_writer import JpegSettings, PrepareSettings, write_video
from mien.datasets.base import BY_TIME, PICTURE, DatasetError, LabelledFrames
from mien.faces.contract import CropContract
from mien.faces.tracked import UNREADABLE, SlotFaces, TrackedFace
from mien.io import naming_write_errors
from mien.video import Frame, ImageError, LostFrame, VideoError, probe, read_all_frames, read_image

NOT_CODED = "not_coded"
"""The reason for a decoded frame without a crop: it has no label."""

MAX_OFFSET_SECONDS = 0.06
"""The largest distance between the time of a label and its frame."""

_PICTURES_OF_A_JOB = 500
_DEFAULTS = PrepareSettings()

Look = Callable[[Frame], tuple[tuple[TrackedFace, ...], str]]


class Tracking(Protocol):
    """How faces are found: a `FaceTracking`. Workers get a pickled copy and load the models themselves."""

    @property
    def contract(self) -> CropContract:
        """How its crops are made."""

    def look(self, path: Path, /) -> Look:
        """Finds the faces in the frames of one file, given in order."""


@dataclass(frozen=True)
class Job:
    """The coded frames of one video, or of one folder of pictures, in the order of the search for faces.

    rows: their numbers in the labelled set. pictures: their paths; empty for a video. ordered: the pictures
    follow each other in time, and so does the face.
    """

    source: Source
    rows: tuple[int, ...]
    pictures: tuple[Path, ...]
    frames: tuple[int, ...]
    seconds: tuple[float, ...]
    ordered: bool

    @property
    def files(self) -> tuple[Path, ...]:
        """The pictures, or the one video."""
        return self.pictures or (self.source.path,)

    def fingerprint(self) -> Fingerprint:
        """Of names, sizes and coded frames: equal where the same work is to be done."""
        lines = [f"{path.name} {path.stat().st_size}" for path in self.files]
        text = "\n".join([*lines, *map(str, self.frames), *map(str, self.seconds)])
        digest = hashlib.sha256(text.encode()).hexdigest()
        return Fingerprint(str(self.source.path.absolute()), len(lines), 0, digest)


def prepare_labelled(
    frames: LabelledFrames,
    root: Path,
    store: Path,
    tracking: Tracking,
    *,
    workers: int,
    settings: PrepareSettings = _DEFAULTS,
    after_video: Callable[[Account], None] = lambda account: None,
) -> list[Account]:
    """Crop the largest face of every coded frame into `store`; the accounts of all videos.

    Continues an interrupted run; a video whose pictures or coded frames have changed is done again. Only
    reads a finished store, so several runs may use it at once. `workers` processes, 0 does everything in this
    one. DatasetError when a file is missing or no label can lie in its video; ContractMismatchError or
    StoreError when the store was begun with other settings; WorkersDieError, after all others are done, for
    videos over which a process died.
    """
    header = StoreHeader(tracking.contract, to_dict(settings) | {"frames": "coded frames of a labelled set"})
    every = jobs_of(frames, root)
    for path in (path for job in every for path in job.files):
        if not path.is_file():
            raise DatasetError(f"{path}: no such file, but it is labelled")
    if outside := labels_outside(every):
        raise DatasetError(outside)
    jobs = [job for job in every if not _is_done(store, job)]
    if not jobs and (store / MANIFEST).exists():
        StoreHeader.read(store).require_same(header, ours=str(store), theirs="this run")
        return read_accounts(pq.read_table(store / ACCOUNTS))
    with writing_to(store):
        begin_store(store, header)
        died: list[Died[Job]] = []
        for event in run_jobs(partial(_crop, store, tracking, settings.jpeg), jobs, workers=workers):
            if isinstance(event, Finished):
                after_video(event.result)
            elif isinstance(event, Died):
                died.append(event)
        shutil.rmtree(store / TEMPORARY, ignore_errors=True)
        _require_nobody_died(died, num_jobs=len(jobs))
        with naming_write_errors(store):
            return assemble(store)


def _is_done(store: Path, job: Job) -> bool:
    path = store / part_path(job.source.video)
    return path.exists() and read_part(path).fingerprint.sha256 == job.fingerprint().sha256


def _require_nobody_died(died: Sequence[Died[Job]], *, num_jobs: int) -> None:
    """An evaluation without the coded frames of a video would be another test than the one asked for."""
    if died:
        first = died[0]
        raise WorkersDieError(
            f"{first.job.source.path}: the process that cropped its coded frames died, {first.how}"
            + (f"; so did those of {len(died) - 1} others" if len(died) > 1 else "")
            + f". The other {num_jobs - len(died)} of {num_jobs} are kept, and the same command tries again; "
            "with fewer workers (--workers 1) it needs less memory. Leave a file that cannot be read out of "
            "the labels."
        )


def jobs_of(frames: LabelledFrames, root: Path) -> list[Job]:
    """The coded frames by video; the same frames give the same jobs. DatasetError for names that collide."""
    jobs: dict[str, Job] = {}
    for video, rows in pd.Series(np.arange(frames.num_frames)).groupby(frames.videos()):
        for job in _jobs_of_video(frames, root, str(video), rows.to_numpy()):
            other = jobs.setdefault(job.source.video, job)
            if other is not job:
                raise DatasetError(
                    f"{other.source.source_path!r} and {job.source.source_path!r} would both be called "
                    f"{job.source.video!r} in the store; write the path to one file in one way"
                )
    return list(jobs.values())


def _jobs_of_video(frames: LabelledFrames, root: Path, video: str, rows: NDArray[np.int64]) -> Iterator[Job]:
    """Pictures are numbered in the order of time; without times, in the order of names, one per second."""
    is_video = frames.frame_N[rows[0]] != PICTURE
    ordered = is_video or not np.isnan(frames.seconds_N[rows]).any()
    name = _store_name(video)
    if is_video:
        parts = {name: rows}
    elif ordered:
        parts = {name: rows[np.argsort(frames.seconds_N[rows], kind="stable")]}
    else:
        rows = rows[np.argsort(frames.path_N[rows], kind="stable")]
        firsts = range(0, len(rows), _PICTURES_OF_A_JOB)
        parts = {
            f"{name}/part{n:05d}": rows[first : first + _PICTURES_OF_A_JOB] for n, first in enumerate(firsts)
        }
    for part, chosen in parts.items():
        numbers = np.arange(len(chosen))
        yield Job(
            Source(root / video, part, str(frames.subject_N[chosen[0]]), video),
            tuple(chosen.tolist()),
            () if is_video else tuple(root / path for path in frames.path_N[chosen].tolist()),
            tuple((frames.frame_N[chosen] if is_video else numbers).tolist()),
            tuple((frames.seconds_N[chosen] if ordered else numbers.astype(float)).tolist()),
            ordered,
        )


def _store_name(video: str) -> str:
    """A path below the store's folders, a different one for each path of a labelled set."""
    escaped = [part.replace("%", "%25").replace("/", "%2F") for part in PurePosixPath(video).parts]
    return "/".join("%2E%2E" if part == ".." else part for part in escaped) or "%2E"


def labels_outside(jobs: Sequence[Job]) -> str:
    """Sentences on why no label is inside its video; empty when one may be."""
    found = ""
    for job in jobs:
        outside = "" if job.pictures else _labels_outside(job)
        if not outside:
            return ""
        found = found or outside
    return found


def _labels_outside(job: Job) -> str:
    try:
        info, start = probe(job.source.path), next(read_all_frames(job.source.path)).seconds
    except (OSError, VideoError):
        return ""
    end, num_frames = start + info.duration_seconds, info.duration_seconds * info.frames_per_second
    if not np.isfinite([end, num_frames]).all():  # the file does not say
        return ""
    labels = [
        (seconds if frame == BY_TIME else frame, frame == BY_TIME)
        for frame, seconds in zip(job.frames, job.seconds, strict=True)
    ]
    if any(start - 1 <= at <= end + 1 if by_time else at <= 1.1 * num_frames + 1 for at, by_time in labels):
        return ""
    at, by_time = min(labels)
    hint = "The labels seem to belong to another file."
    if all(by_time and at <= info.duration_seconds for at, by_time in labels):
        hint = late_start(start)
    elif all(by_time and at <= num_frames and at == round(at) for at, by_time in labels):
        hint = "The seconds seem to be frame numbers: call their column `frame`."
    elif all(start <= at / 1000 <= end for at, _ in labels):
        hint = "The labels seem to be in milliseconds: give them as seconds, in the column `seconds`."
    label = f"{at:g} s" if by_time else f"frame {at}"
    return (
        f"no label lies in its video. Row {min(job.rows) + 1} and those below it label "
        f"{job.source.source_path} from {label} on, but it runs from {start:.2f} s to {end:.2f} s (about "
        f"{num_frames:.0f} frames). {hint}"
    )


def late_start(start: float) -> str:
    """What to do about seconds that come before the first frame of a file, which is at `start`."""
    return (
        f"The file's own clock starts at {start:.2f} s: add {start:.2f} to seconds that count from the first "
        "frame."
    )


def _crop(store: Path, tracking: Tracking, jpeg: JpegSettings, job: Job, _report: Report, /) -> Account:
    """The work of one process."""
    notes = ""
    if not job.pictures:
        with suppress(OSError, VideoError):  # the account says why a file cannot be read
            notes = "; ".join(probe(job.source.path).notes)
    steps = np.diff(job.seconds)
    timed = job.ordered and len(steps) and np.median(steps) > 0
    return write_video(
        store,
        job.source,
        _pictures(job, tracking) if job.pictures else _video_frames(job, tracking),
        fingerprint=job.fingerprint(),
        frames_per_second=float(1 / np.median(steps)) if timed else float("nan"),
        jpeg=jpeg,
        notes=notes,
    )


def _pictures(job: Job, tracking: Tracking) -> Iterator[SlotFaces]:
    """One SlotFaces per picture; ImageError after the last one where some could not be read."""
    problems: list[str] = []
    look = tracking.look(job.source.path)
    for number, (path, seconds) in enumerate(zip(job.pictures, job.seconds, strict=True)):
        try:
            image_HWC = read_image(path)
        except (ImageError, OSError) as error:
            problems.append(str(error))
            yield SlotFaces(number, seconds, (), (), UNREADABLE)
            continue
        if not job.ordered:
            look = tracking.look(job.source.path)
        yield _largest(Frame(seconds, number, lambda image_HWC=image_HWC: image_HWC), look)  # type: ignore[misc]
    if problems:
        raise ImageError(f"{len(problems)} of {len(job.pictures)} pictures cannot be read: {problems[0]}")


def _video_frames(job: Job, tracking: Tracking) -> Iterator[SlotFaces]:
    look = tracking.look(job.source.path)
    coded = {frame for frame in job.frames if frame != BY_TIME}
    times = np.sort([t for t, frame in zip(job.seconds, job.frames, strict=True) if frame == BY_TIME])
    for frame in read_all_frames(job.source.path):
        if isinstance(frame, LostFrame):
            yield SlotFaces(frame.source_frame_index, frame.seconds, (), (), UNREADABLE)
        elif frame.source_frame_index in coded or _is_near(frame.seconds, times):
            yield _largest(frame, look)
        else:
            yield SlotFaces(frame.source_frame_index, frame.seconds, (), (), NOT_CODED)


def _largest(frame: Frame, look: Look) -> SlotFaces:
    """The largest face of a frame; its slot is the frame itself, so that every coded frame has a row."""
    faces, reason = look(frame)
    if not faces:
        return SlotFaces(frame.source_frame_index, frame.seconds, (), (), reason)
    face = max(faces, key=_box_area)
    return SlotFaces(frame.source_frame_index, frame.seconds, (frame.source_frame_index,), (face,), "")


def _box_area(face: TrackedFace) -> float:
    left, top, right, bottom = face.box_xyxy_px
    return (right - left) * (bottom - top)


def _is_near(seconds: float, times: NDArray[np.float64]) -> bool:
    place = int(np.searchsorted(times, seconds))
    near = times[max(0, place - 1) : place + 1]
    return bool(len(near) and np.abs(near - seconds).min() <= MAX_OFFSET_SECONDS)


def reasons_without_face(accounts: Sequence[Account]) -> Counter[str]:
    """Coded frames by the reason for which they have no face, over all videos."""
    reasons: Counter[str] = Counter()
    for account in accounts:
        reasons.update({why: n for why, n in account.not_written.items() if why != NOT_CODED})
    return reasons
