"""The coded frames of a labelled set as a track store: finder, alignment and contract as in pretraining.

`mien prepare` samples a video 25 times a second, but labels belong to frames. So here each coded frame is
cropped at any frame rate, and a folder of pictures counts as a video.
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path, PurePosixPath

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
from mien.faces.track import FaceTracking
from mien.faces.tracked import UNREADABLE, FrameFaces, TrackedFace
from mien.io import naming_write_errors
from mien.video import Frame, ImageError, LostFrame, VideoError, probe, read_all_frames, read_image

NOT_CODED = "not_coded"
"""The reason for a decoded frame without a crop: it has no label."""

MAX_OFFSET_SECONDS = 0.06
"""The largest distance between the time of a label and its frame."""

_PICTURES_OF_A_JOB = 500
_DEFAULTS = PrepareSettings()

Look = Callable[[Frame], FrameFaces]


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
    tracking: FaceTracking,
    *,
    workers: int,
    settings: PrepareSettings = _DEFAULTS,
    after_video: Callable[[Account], None] = lambda account: None,
) -> list[Account]:
    """Crop the largest face of every coded frame into `store`; the accounts of all videos.

    Continues an interrupted run; a video whose pictures or coded frames have changed is done again. Only
    reads a finished store, so several runs may use it at once. `workers` processes, 0 does everything in this
    one. DatasetError when a file is missing; ContractMismatchError or StoreError when the store was begun
    with other settings; WorkersDieError, after all others are done, for videos over which a process died: an
    evaluation without them would be another one.
    """
    header = StoreHeader(tracking.contract, to_dict(settings) | {"frames": "coded frames of a labelled set"})
    every = jobs_of(frames, root)
    for path in (path for job in every for path in job.files):
        if not path.is_file():
            raise DatasetError(f"{path}: no such file, but it is labelled")
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
        if died:
            raise WorkersDieError(
                f"{died[0].job.source.path}: the process that cropped its coded frames died, {died[0].how}. "
                f"The other {len(jobs) - len(died)} of {len(jobs)} are kept, and the same command tries "
                "again, with --workers 1 in less memory. Leave a file that cannot be read out of the labels."
            )
        with naming_write_errors(store):
            return assemble(store)


def _is_done(store: Path, job: Job) -> bool:
    path = store / part_path(job.source.video)
    return path.exists() and read_part(path).fingerprint.sha256 == job.fingerprint().sha256


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
    if not is_video:
        order_N = frames.seconds_N if ordered else frames.path_N
        rows = rows[np.argsort(order_N[rows], kind="stable")]
    name, size = _store_name(video), len(rows) if ordered else _PICTURES_OF_A_JOB
    for number, first in enumerate(range(0, len(rows), size)):
        chosen = rows[first : first + size]
        numbers = np.arange(len(chosen))
        yield Job(
            Source(
                root / video,
                name if ordered else f"{name}/part{number:05d}",
                str(frames.subject_N[chosen[0]]),
                video,
            ),
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


def _crop(store: Path, tracking: FaceTracking, jpeg: JpegSettings, job: Job, _report: Report, /) -> Account:
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


def _pictures(job: Job, tracking: FaceTracking) -> Iterator[FrameFaces]:
    """One FrameFaces per picture; ImageError after the last one where some could not be read."""
    problems: list[str] = []
    look = tracking.look(job.source.path)
    for number, (path, seconds) in enumerate(zip(job.pictures, job.seconds, strict=True)):
        try:
            image_HWC = read_image(path)
        except (ImageError, OSError) as error:
            problems.append(str(error))
            yield FrameFaces(number, seconds, (), UNREADABLE)
            continue
        if not job.ordered:
            look = tracking.look(job.source.path)
        yield _largest(Frame(seconds, number, lambda image_HWC=image_HWC: image_HWC), look)  # type: ignore[misc]
    if problems:
        raise ImageError(f"{len(problems)} of {len(job.pictures)} pictures cannot be read: {problems[0]}")


def _video_frames(job: Job, tracking: FaceTracking) -> Iterator[FrameFaces]:
    look = tracking.look(job.source.path)
    coded = {frame for frame in job.frames if frame != BY_TIME}
    times = np.array([t for t, frame in zip(job.seconds, job.frames, strict=True) if frame == BY_TIME])
    times = np.concatenate([[-np.inf], np.sort(times), [np.inf]])
    for frame in read_all_frames(job.source.path):
        place = int(np.searchsorted(times[1:], frame.seconds))
        is_near = np.abs(times[place : place + 2] - frame.seconds).min() <= MAX_OFFSET_SECONDS
        if isinstance(frame, LostFrame):
            yield FrameFaces(frame.source_frame_index, frame.seconds, (), UNREADABLE)
        elif frame.source_frame_index in coded or is_near:
            yield _largest(frame, look)
        else:
            yield FrameFaces(frame.source_frame_index, frame.seconds, (), NOT_CODED)


def _largest(frame: Frame, look: Look) -> FrameFaces:
    """The largest face of a frame; its slot is the frame itself, so that every coded frame has a row."""
    looked = look(frame)
    if not looked.faces:
        return looked
    largest = max(looked.faces, key=_box_area)
    return replace(looked, faces=(largest,), refused=(), slots=(frame.source_frame_index,))


def _box_area(face: TrackedFace) -> float:
    left, top, right, bottom = face.box_xyxy_px
    return (right - left) * (bottom - top)
