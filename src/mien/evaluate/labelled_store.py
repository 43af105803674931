"""The coded frames of a labelled set as a track store: finder, alignment and contract as in pretraining.

`mien prepare` looks at a video 25 times a second; labels lie on the frames themselves. So here each coded
frame is cropped, whatever the frame rate, and a folder of pictures is a video.
"""

from __future__ import annotations

import hashlib
import shutil
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray

from mien.config import to_dict
from mien.data.accounts import Account, read_accounts
from mien.data.jobs import Died, Finished, Report, WorkersDieError, run_jobs
from mien.data.parts import Fingerprint, assemble, read_part
from mien.data.prepare import PrepareSettings
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
from mien.data.store_writer import write_video
from mien.datasets.base import BY_TIME, PICTURE, DatasetError, LabelledFrames
from mien.faces.align import crop_contract
from mien.faces.contract import CropContract
from mien.faces.follow import FaceFollower
from mien.faces.mediapipe_finder import MediaPipeFinder
from mien.faces.tracked import UNREADABLE, SlotFaces, TrackedFace
from mien.io import naming_write_errors
from mien.video import Frame, ImageError, LostFrame, VideoError, probe, read_all_frames, read_image

NOT_CODED = "not_coded"
"""Why a decoded frame has no crop: it has no label."""

MAX_OFFSET_SECONDS = 0.06
"""How far a frame may lie from the time that a label gives."""

_PICTURES_OF_A_JOB = 500


@dataclass(frozen=True)
class Job:
    """The coded frames of one video, or of one folder of pictures, in the order in which they are looked at.

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

    def require_files(self) -> None:
        """DatasetError naming the first file that is not there."""
        for path in self.files:
            if not path.is_file():
                raise DatasetError(f"{path}: no such file, but it is labelled")

    def fingerprint(self) -> Fingerprint:
        """Of names, sizes and coded frames: equal where the same work is to be done."""
        lines = [f"{path.name} {path.stat().st_size}" for path in self.files]
        text = "\n".join([*lines, *map(str, self.frames), *map(str, self.seconds)])
        digest = hashlib.sha256(text.encode()).hexdigest()
        return Fingerprint(str(self.source.path.absolute()), len(lines), 0, digest)


@dataclass(frozen=True)
class FaceFinding:
    """How faces are found; travels to the workers by pickle, models load there."""

    settings: PrepareSettings
    models: Path | None = None

    @property
    def contract(self) -> CropContract:
        """How the crops are made."""
        return crop_contract(self.finder)

    @cached_property
    def finder(self) -> MediaPipeFinder:
        """Detector and mesh."""
        return MediaPipeFinder(self.models)

    def start(self, _path: Path) -> Callable[[Frame], tuple[tuple[TrackedFace, ...], str]]:
        """What looks at the frames of one video, in order."""
        return FaceFollower(self.finder, self.settings.tracking).look

    def __reduce__(self) -> tuple[Any, ...]:
        return FaceFinding, (self.settings, self.models)


def prepare_labelled(
    frames: LabelledFrames,
    root: Path,
    store: Path,
    finding: FaceFinding,
    *,
    workers: int,
    after_video: Callable[[Account], None] = lambda account: None,
) -> list[Account]:
    """Crop the largest face of every coded frame into `store`; the accounts of all videos.

    Goes on where an earlier run stopped; a video whose pictures or coded frames have changed is done again. A
    store in which nothing is to be done is only read, so that several runs may use it at once.
    `workers` processes, 0 does everything in this one. DatasetError when a file is missing or no label can
    lie in its video; ContractMismatchError or StoreError when the store was begun otherwise; WorkersDieError,
    after all others are done, for videos over which a process died.
    """
    header = StoreHeader(
        finding.contract, to_dict(finding.settings) | {"frames": "coded frames of a labelled set"}
    )
    every = jobs_of(frames, root)
    for job in every:
        job.require_files()
    outside = labels_outside(every)
    if outside:
        raise DatasetError(outside)
    if _is_finished(store, header, every):
        return read_accounts(pq.read_table(store / ACCOUNTS))
    with writing_to(store):
        begin_store(store, header)
        jobs = [job for job in every if not _is_done(store, job)]
        work = _PrepareJob(store, finding)
        died: list[Died[Job]] = []
        for event in run_jobs(work, jobs, workers=workers):
            if isinstance(event, Finished):
                after_video(event.result)
            elif isinstance(event, Died):
                died.append(event)
        shutil.rmtree(store / TEMPORARY, ignore_errors=True)
        _require_nobody_died(died, num_jobs=len(jobs))
        with naming_write_errors(store):
            return assemble(store)


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
    """The coded frames by video; the same frames give the same jobs."""
    rows_of: dict[str, list[int]] = {}
    for row, video in enumerate(frames.videos().tolist()):
        rows_of.setdefault(video, []).append(row)
    jobs: list[Job] = []
    for video, rows in sorted(rows_of.items()):
        jobs += _jobs_of_video(frames, root, video, rows)
    _require_own_names(jobs)
    return jobs


def _require_own_names(jobs: Sequence[Job]) -> None:
    named: dict[str, Job] = {}
    for job in jobs:
        other = named.setdefault(job.source.video, job)
        if other is not job:
            raise DatasetError(
                f"{other.source.source_path!r} and {job.source.source_path!r} would both be called "
                f"{job.source.video!r} in the store; write the path to one file in one way"
            )


def labels_outside(jobs: Sequence[Job]) -> str:
    """Why no label can lie in its video, in sentences; empty when one may."""
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


def _jobs_of_video(frames: LabelledFrames, root: Path, video: str, rows: list[int]) -> list[Job]:
    if frames.frame_N[rows[0]] != PICTURE:
        return [_video_job(frames, root, video, rows)]
    if not np.isnan(frames.seconds_N[rows]).any():
        rows.sort(key=lambda row: frames.seconds_N[row])
        return [_picture_job(frames, root, video, rows, name=_store_name(video), ordered=True)]
    rows.sort(key=lambda row: frames.path_N[row])
    parts = [rows[first : first + _PICTURES_OF_A_JOB] for first in range(0, len(rows), _PICTURES_OF_A_JOB)]
    return [
        _picture_job(frames, root, video, part, name=f"{_store_name(video)}/part{number:05d}", ordered=False)
        for number, part in enumerate(parts)
    ]


def _video_job(frames: LabelledFrames, root: Path, video: str, rows: list[int]) -> Job:
    source = Source(root / video, _store_name(video), str(frames.subject_N[rows[0]]), video)
    numbers, seconds = frames.frame_N[rows].tolist(), frames.seconds_N[rows].tolist()
    return Job(source, tuple(rows), (), tuple(numbers), tuple(seconds), ordered=True)


def _picture_job(
    frames: LabelledFrames, root: Path, video: str, rows: list[int], *, name: str, ordered: bool
) -> Job:
    """Pictures count from 0 in the order of `rows`; pictures of unknown time count as one a second."""
    paths = tuple(root / path for path in frames.path_N[rows].tolist())
    seconds = frames.seconds_N[rows].tolist() if ordered else [float(k) for k in range(len(rows))]
    source = Source(root / video, name, str(frames.subject_N[rows[0]]), video)
    return Job(source, tuple(rows), paths, tuple(range(len(rows))), tuple(seconds), ordered=ordered)


def _store_name(video: str) -> str:
    """A path below the store's folders, a different one for each path of a labelled set."""
    escaped = [part.replace("%", "%25").replace("/", "%2F") for part in PurePosixPath(video).parts]
    return "/".join("%2E%2E" if part == ".." else part for part in escaped) or "%2E"


@dataclass(frozen=True)
class _PrepareJob:
    """The work of one process."""

    store: Path
    finding: FaceFinding

    def __call__(self, job: Job, report: Report, /) -> Account:
        fingerprint = job.fingerprint()
        look = self.finding.start(job.source.path)
        return write_video(
            self.store,
            job.source,
            _pictures(job, look, self.finding) if job.pictures else _video_frames(job, look),
            fingerprint=fingerprint,
            frames_per_second=_frames_per_second(job),
            jpeg=self.finding.settings.jpeg,
            notes="" if job.pictures else _notes_on(job.source.path),
        )


def _notes_on(video: Path) -> str:
    try:
        return "; ".join(probe(video).notes)
    except (OSError, VideoError):
        return ""  # its account says why it cannot be read


def _pictures(
    job: Job, look: Callable[[Frame], tuple[tuple[TrackedFace, ...], str]], finding: FaceFinding
) -> Iterator[SlotFaces]:
    """One SlotFaces per picture; ImageError after the last one where some could not be read."""
    problems: list[str] = []
    for number, (path, seconds) in enumerate(zip(job.pictures, job.seconds, strict=True)):
        try:
            image_HWC = read_image(path)
        except (ImageError, OSError) as error:
            problems.append(str(error))
            yield SlotFaces(number, seconds, (), (), UNREADABLE)
            continue
        looking = look if job.ordered else finding.start(job.source.path)
        yield _largest(Frame(seconds, number, lambda image_HWC=image_HWC: image_HWC), looking)  # type: ignore[misc]
    if problems:
        raise ImageError(f"{len(problems)} of {len(job.pictures)} pictures cannot be read: {problems[0]}")


def _video_frames(
    job: Job, look: Callable[[Frame], tuple[tuple[TrackedFace, ...], str]]
) -> Iterator[SlotFaces]:
    coded = {frame for frame in job.frames if frame != BY_TIME}
    times = np.sort([t for t, frame in zip(job.seconds, job.frames, strict=True) if frame == BY_TIME])
    for frame in read_all_frames(job.source.path):
        if isinstance(frame, LostFrame):
            yield SlotFaces(frame.source_frame_index, frame.seconds, (), (), UNREADABLE)
        elif frame.source_frame_index in coded or _is_near(frame.seconds, times):
            yield _largest(frame, look)
        else:
            yield SlotFaces(frame.source_frame_index, frame.seconds, (), (), NOT_CODED)


def _largest(frame: Frame, look: Callable[[Frame], tuple[tuple[TrackedFace, ...], str]]) -> SlotFaces:
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


def _frames_per_second(job: Job) -> float:
    """NaN for pictures whose times are not known, and for a single one."""
    steps = np.diff(job.seconds)
    return (
        float(1 / np.median(steps)) if job.ordered and len(steps) and np.median(steps) > 0 else float("nan")
    )


def _is_done(store: Path, job: Job) -> bool:
    path = store / part_path(job.source.video)
    return path.exists() and read_part(path).fingerprint.sha256 == job.fingerprint().sha256


def _is_finished(store: Path, header: StoreHeader, jobs: Sequence[Job]) -> bool:
    if not (store / MANIFEST).exists():
        return False
    StoreHeader.read(store).require_same(header, ours=str(store), theirs="this run")
    return all(_is_done(store, job) for job in jobs)


def reasons_without_face(accounts: Sequence[Account]) -> Counter[str]:
    """Coded frames by the reason for which they have no face, over all videos."""
    reasons: Counter[str] = Counter()
    for account in accounts:
        reasons.update({why: n for why, n in account.not_written.items() if why != NOT_CODED})
    return reasons
