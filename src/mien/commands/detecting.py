"""What `mien detect` does: media over processes into tables, an account of all, pages and videos."""

from __future__ import annotations

import csv
import io
import json
import math
import sys
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass, fields, replace
from functools import cached_property
from itertools import chain
from pathlib import Path
from typing import Literal

from tqdm import tqdm

from mien.commands.detect_show import show, show_overview
from mien.commands.file_progress import FileProgress
from mien.data.jobs import Died, Finished, Progress, Report, run_jobs
from mien.detect.camera import CameraError, camera_frames
from mien.detect.detector import Detector
from mien.detect.media import Medium, list_media
from mien.detect.recording import (
    DIED,
    NOT_WRITTEN,
    WHOLE,
    Account,
    num_finished,
    record_medium,
    what_was_cut_short,
)
from mien.detect.signals import Baseline, Smoothing
from mien.detect.writing import CsvTable, ParquetTable
from mien.io import WriteError, naming_write_errors, write_bytes
from mien.train.stop import StopRequest
from mien.video import Frame

_NAMED = 10  # files at the end


@dataclass(frozen=True)
class DetectPlan:
    """All that is asked for. It travels to the processes by pickle."""

    model: Path
    out: Path
    engine: str = "torch"
    device: str = "cpu"
    csv_format: str = "mien"
    baseline: Baseline | None = None
    smooth_seconds: float | None = None
    faces: Literal["all", "largest"] = "all"
    batch_size: int = 32
    landmarks: str = "detect"
    face_models: Path | None = None
    threads: int | None = None
    page: bool = False
    video: bool = False

    def detector(self, *, smoothing_kind: Literal["centred", "causal"] = "centred") -> Detector:
        """The detector that the plan asks for."""
        smooth = self.smooth_seconds
        return Detector(
            self.model,
            engine=self.engine,
            device=self.device,
            batch_size=self.batch_size,
            baseline=self.baseline,
            smoothing=None if smooth is None else Smoothing(smooth, smoothing_kind),
            faces=self.faces,
            landmarks=self.landmarks,
            face_models=self.face_models,
            threads=self.threads,
        )


@dataclass(frozen=True)
class _DetectMedium:
    """The work of one process; its detector is made once, where it is used."""

    plan: DetectPlan

    def __call__(self, medium: Medium, report: Report, /) -> Account:
        plan = self.plan
        detector = self._detector
        try:
            account = record_medium(
                medium,
                detector,
                plan.out,
                csv_format=plan.csv_format,
                report=report,
            )
        except WriteError as error:
            return Account(medium.name, NOT_WRITTEN, message=str(error))
        if not account.num_frames:
            return account
        return replace(account, not_shown=show(medium, plan.out, page=plan.page, annotated=plan.video))

    @cached_property
    def _detector(self) -> Detector:
        return self.plan.detector()

    def __reduce__(self) -> tuple[object, ...]:
        return _DetectMedium, (self.plan,)


def detect_media(plan: DetectPlan, given: Sequence[Path], *, processes: int) -> int:
    """Detect in every file; 0 where every one was read whole and is shown as was asked for.

    Several files are read in processes of their own, so that a decoder that crashes costs its file alone.
    """
    if processes < 1:
        raise ValueError(f"--processes {processes}: expected 1 or more")
    listing = list_media(given, leave_out=plan.out)
    print(_what_is_given(listing.media, listing.num_other_files))
    detector = plan.detector()  # what is wrong with model or settings is told once, before any file
    num_finished(listing.media, detector, plan.out, csv_format=plan.csv_format)  # conflicts are raised
    with FileProgress() as progress:
        accounts = sorted(
            _accounts(plan, listing.media, processes, progress), key=lambda account: account.name
        )
    problem = show_overview(listing.media, plan.out) if plan.page and len(listing.media) > 1 else ""
    print(_in_words(accounts, plan.out))
    if problem:
        print(problem)
    _write_accounts(plan.out / "account.csv", accounts)
    return 0 if not problem and all(account.is_well for account in accounts) else 1


def detect_camera(plan: DetectPlan, index: int, *, seconds: float | None) -> int:
    """Detect in a camera's frames until Ctrl-C, for so many seconds, or until it is pulled out.

    `camera0.csv`, `.parquet` and `.json`. However it ends, the rows that wait for a neutral or to be smoothed
    are written too. CameraError where the camera failed, then behind the last row.
    """
    detector = plan.detector(smoothing_kind="causal")
    name = f"camera{index}"
    frames = camera_frames(index, seconds=math.inf if seconds is None else seconds)
    first = next(frames)  # an error of the camera comes before any file
    plan.out.mkdir(parents=True, exist_ok=True)
    paths = [plan.out / f"{name}.{end}" for end in ("csv", "parquet", "json")]
    if any(path.exists() for path in paths):
        raise ValueError(f"{paths[0]} is there already; give another --out")
    table = CsvTable(paths[0], detector.layout, plan.csv_format)
    parquet = ParquetTable(paths[1], detector.layout)
    problems: list[CameraError] = []
    cut_short: dict[int, float] = {}
    bar = tqdm(unit="row", file=sys.stderr)
    naming = naming_write_errors(plan.out / f"{name}.*")
    with naming, closing(table), closing(parquet), closing(frames), bar, StopRequest() as stop:
        told = _until_end(chain([first], frames), stop, problems)
        try:
            for row in detector.stream(told, cut_short=cut_short):
                table.write([row])
                parquet.write([row])
                bar.update()
        except KeyboardInterrupt:  # the second: what waits is given up
            pass
        finally:
            metadata = detector.metadata | what_was_cut_short(cut_short)
            parquet.finish(metadata)
    write_bytes(paths[2], (json.dumps({"table": metadata}, indent=2) + "\n").encode())
    print(f"{paths[0]}: {bar.n:,} rows")
    for problem in problems:
        raise problem
    return 0


def _until_end(frames: Iterator[Frame], stop: StopRequest, problems: list[CameraError]) -> Iterator[Frame]:
    """The frames until a signal, or until the camera fails, which is told in `problems`."""
    try:
        for frame in frames:
            if stop.requested():
                return
            yield frame
    except CameraError as error:
        problems.append(error)


def _accounts(
    plan: DetectPlan, media: Sequence[Medium], processes: int, progress: FileProgress
) -> Iterator[Account]:
    progress.begins({medium.name: medium.num_bytes for medium in media})
    work = _DetectMedium(plan)
    if len(media) == 1:
        account = work(media[0], lambda at: progress.is_at(media[0].name, at))
        progress.has(account.name, num_frames=account.num_frames, troubled=not account.is_well)
        yield account
        return
    for event in run_jobs(work, media, workers=processes):
        if isinstance(event, Progress):
            progress.is_at(event.job.name, event.report)
            continue
        account = event.result if isinstance(event, Finished) else _died(event)
        progress.has(account.name, num_frames=account.num_frames, troubled=not account.is_well)
        yield account


def _died(event: Died[Medium]) -> Account:
    return Account(event.job.name, DIED, message=f"the process died over it: {event.how}")


def _what_is_given(media: Sequence[Medium], num_other_files: int) -> str:
    num_videos = sum(medium.kind == "video" for medium in media)
    num_pictures = sum(len(medium.files) for medium in media if medium.kind == "pictures")
    words = f"{num_videos:,} videos, {num_pictures:,} pictures"
    return words + (f"; {num_other_files:,} other files left aside" if num_other_files else "")


def _write_accounts(path: Path, accounts: Sequence[Account]) -> None:
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, [field.name for field in fields(Account)])
    writer.writeheader()
    writer.writerows(asdict(account) for account in accounts)
    content = text.getvalue().encode("utf-8", "backslashreplace")
    write_bytes(path, content, temporary_folder=path.parent)


def _in_words(accounts: Sequence[Account], out: Path) -> str:
    frames, rows, with_face = (
        sum(getattr(account, name) for account in accounts)
        for name in ("num_frames", "num_rows", "num_with_face")
    )
    words = [f"{out}: {frames:,} frames, {rows:,} rows, {with_face:,} of them with a face"]
    without = [account.name for account in accounts if account.status == WHOLE and not account.num_with_face]
    if without:
        words.append(f"no face in {len(without):,}: {', '.join(without[:_NAMED])}")
    troubled = [account for account in accounts if account.status != WHOLE]
    lines = [f"{account.status}: {account.name}: {account.message}" for account in troubled]
    lines += [f"not shown: {account.name}: {account.not_shown}" for account in accounts if account.not_shown]
    lines += [f"note: {account.name}: {account.notes}" for account in accounts if account.notes]
    words += lines[:_NAMED]
    if len(lines) > _NAMED:
        words.append(f"and {len(lines) - _NAMED:,} more, in {out / 'account.csv'}")
    return "\n".join(words)
