"""Many videos into a store: several processes, goes on where it was stopped, accounts for every frame."""

from __future__ import annotations

import math
import shutil
import time
from collections.abc import Generator, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, Protocol

from mien.config import to_dict
from mien.data.accounts import DONE, WORKER_DIED, Account
from mien.data.jobs import Event, Finished, FrameProgress, Progress, Report, run_jobs
from mien.data.parts import Fingerprint, Part, assemble, read_part, read_rows, unfinish, write_part
from mien.data.remote import RemoteError, copied, hash_remote, is_url, look_at
from mien.data.sources import WHOLE, Shard, Source, other_name
from mien.data.spelling import path_exists
from mien.data.store_layout import (
    TEMPORARY,
    StoreError,
    StoreHeader,
    begin_store,
    crops_path,
    part_path,
    writing_to,
)
from mien.data.store_writer import (
    JpegSettings,
    identities_of_tracks,
    skip_for_now,
    skip_unrecorded,
    skip_video,
    write_video,
)
from mien.faces.contract import CropContract
from mien.faces.tracked import SlotFaces, TrackSettings
from mien.io import WriteError, naming_write_errors, require_usable_name
from mien.video import VideoError, probe

_SECONDS_BETWEEN_REPORTS = 0.3


class StrictError(ValueError):
    """A file that could not be prepared whole, where --strict asks that every one is."""


class Tracking(Protocol):
    """How the faces of a video are found. It travels to the workers by pickle; models load there."""

    @property
    def contract(self) -> CropContract:
        """How its crops are made."""

    def __call__(self, path: Path, /) -> Iterator[SlotFaces]:
        """What became of each decoded frame, as a stream."""


@dataclass(frozen=True)
class PrepareSettings:
    """What the store depends on besides sources and models."""

    min_run_frames: int = 17  # shorter runs hold no clip of 9 frames, stride 2; they are counted apart
    tracking: TrackSettings = field(default_factory=TrackSettings)
    jpeg: JpegSettings = field(default_factory=JpegSettings)

    def __post_init__(self) -> None:
        if self.min_run_frames < 1:
            raise ValueError(f"min_run_frames = {self.min_run_frames}: at least 1")


@dataclass(frozen=True)
class Plan:
    """What is left to do of a list of sources."""

    pending: tuple[Source, ...]
    num_done: int  # prepared by an earlier run
    num_changed: int  # of the pending ones: prepared before, but the file is another now
    num_died: int = 0  # the last of the pending ones: an earlier run's processes died over them
    num_unreadable: int = 0  # of the done ones: their files cannot be read now, their crops are kept


class Watcher(Protocol):
    """Called as a run goes on."""

    def begins(self, plan: Plan) -> None:
        """The work is known."""

    def is_at(self, source: Source, progress: FrameProgress) -> None:
        """A file is under way."""

    def has(self, source: Source, account: Account) -> None:
        """A file is finished or skipped."""


def prepare(
    sources: Sequence[Source],
    store: Path,
    tracking: Tracking,
    *,
    settings: PrepareSettings,
    workers: int,
    watcher: Watcher | None = None,
    shard: Shard = WHOLE,
    strict: bool = False,
    cluster: str = "",
) -> list[Account]:
    """Bring `sources` (already those of the shard) into the store at `store`; the accounts of all it holds.

    Videos that the store holds already are left as they are; a file that has changed since is done again.
    `workers` processes; 0 does everything in this one; with `cluster`, the address of a Ray cluster or
    `local`, its workers do instead, and all of them must see `store` and the sources. StoreError if the store
    was begun with another contract or other settings; WriteError when it takes no more; StrictError if
    `strict` and a file is broken, empty or without a face. Files whose names the store cannot take
    are skipped.
    """
    if workers < 0:
        raise ValueError(f"--workers {workers}: expected 0 or more")
    header = StoreHeader(tracking.contract, to_dict(settings), str(shard))
    with writing_to(store):
        begun = begin_store(store, header).shard
        if begun != header.shard:
            raise StoreError(
                f"{store} holds shard {begun}, this run is shard {shard}: give each its own store"
            )
        plan = plan_work(store, sources)
        if strict:
            _refuse_recorded_trouble(store, sources, plan)
        if plan.num_changed:
            unfinish(store)
        if watcher:
            watcher.begins(plan)
        work = _PrepareVideo(store, tracking, settings.jpeg)
        unrecorded: list[Account] = []
        try:
            events = _events(work, plan, workers=workers, cluster=cluster)
            with closing(_work_off(work, events, watcher=watcher)) as accounts:
                for account in accounts:
                    if strict:
                        _refuse_trouble(account)
                    if not path_exists(store / part_path(account.video)):
                        unrecorded.append(account)
            with naming_write_errors(store):
                return assemble(store, unrecorded)
        finally:
            shutil.rmtree(store / TEMPORARY, ignore_errors=True)


def plan_work(store: Path, sources: Sequence[Source]) -> Plan:
    """Which sources are still to be done; parts whose identity alone has changed are mended here."""
    pending: list[Source] = []
    died: list[Source] = []  # they go last, so that they keep no other file from being done
    num_changed, num_unreadable = 0, 0
    for source in sources:
        path = store / part_path(source.video)
        if not path_exists(path):
            _refuse_second_name(store, source)
            pending.append(source)
            continue
        part = read_part(path)
        state = _state_of(part, source)
        num_unreadable += state == "unreadable"
        if state == "changed":
            num_changed += 1
            (died if part.account.message.startswith(WORKER_DIED) else pending).append(source)
        elif part.account.identity != source.identity:
            unfinish(store)
            _relabel(store, part, read_rows(path), identity=source.identity)
    pending += died
    return Plan(tuple(pending), len(sources) - len(pending), num_changed, len(died), num_unreadable)


@dataclass(frozen=True)
class _PrepareVideo:
    """The work of one process."""

    store: Path
    tracking: Tracking
    jpeg: JpegSettings

    def __call__(self, source: Source, report: Report, /) -> Account:
        try:
            with at_hand(source, store=self.store) as here:
                return self._of_file(here, report)
        except RemoteError as error:
            return skip_for_now(self.store, source, str(error))
        except WriteError as error:
            if error.is_of_one_name:
                return skip_unrecorded(source, str(error))
            raise

    def _of_file(self, source: Source, report: Report) -> Account:
        for name in (crops_path(source.video), part_path(source.video)):
            require_usable_name(self.store / name)
        try:
            fingerprint = fingerprint_of(source)
        except OSError as error:
            return skip_for_now(self.store, source, f"cannot be read: {error.strerror}")
        try:
            info = probe(source.path)
        except VideoError as error:
            return skip_video(self.store, source, str(error), fingerprint=fingerprint)
        frames = _reported(self.tracking(source.path), report, seconds_in_all=info.duration_seconds)
        return write_video(
            self.store,
            source,
            frames,
            fingerprint=fingerprint,
            frames_per_second=info.frames_per_second,
            notes="; ".join(info.notes),
            jpeg=self.jpeg,
        )


def _reported(frames: Iterator[SlotFaces], report: Report, *, seconds_in_all: float) -> Iterator[SlotFaces]:
    last_report, first_seconds = time.monotonic(), math.nan
    for num_frames, looked in enumerate(frames, start=1):
        first_seconds = looked.seconds if num_frames == 1 else first_seconds
        if time.monotonic() - last_report > _SECONDS_BETWEEN_REPORTS:
            last_report = time.monotonic()
            share = min(1.0, (looked.seconds - first_seconds) / seconds_in_all) if seconds_in_all > 0 else 0.0
            report(FrameProgress(num_frames, share))
        yield looked


def _work_off(
    work: _PrepareVideo,
    events: Iterator[Event[Source, Account]],
    *,
    watcher: Watcher | None,
) -> Generator[Account]:
    for event in events:
        if isinstance(event, Progress):
            if watcher:
                watcher.is_at(event.job, event.report)
            continue
        if isinstance(event, Finished):
            account = event.result
        else:
            account = skip_for_now(work.store, event.job, f"{WORKER_DIED}: {event.how}")
        if watcher:
            watcher.has(event.job, account)
        yield account


def _events(
    work: _PrepareVideo, plan: Plan, *, workers: int, cluster: str
) -> Iterator[Event[Source, Account]]:
    """Sources that killed a worker in an earlier run come last, and may kill any number of workers again."""
    num_fresh = len(plan.pending) if cluster else len(plan.pending) - plan.num_died
    yield from run_jobs(work, plan.pending[:num_fresh], workers=workers, cluster=cluster)
    yield from run_jobs(work, plan.pending[num_fresh:], workers=workers, max_deaths_in_a_row=math.inf)


def _state_of(part: Part, source: Source) -> Literal["same", "changed", "unreadable"]:
    try:
        if is_same(source, part.fingerprint):
            return "same"
    except (OSError, RemoteError):
        return "unreadable" if part.account.num_crops else "changed"
    prepared, here = part.fingerprint.path, source.where
    if prepared != here and is_there(prepared):
        raise StoreError(
            f"{here} would be called {source.video!r} in the store, where another file, {prepared}, is "
            "called so already. Give the folder above both, or prepare them into two stores."
        )
    return "changed"


def _refuse_second_name(store: Path, source: Source) -> None:
    """StoreError where an earlier run, given other files beside it, gave this one another name."""
    name = other_name(source)
    path = store / part_path(name)
    if name and path_exists(path) and read_part(path).fingerprint.path == source.where:
        raise StoreError(
            f"{source.where} is in {store} already, as {name!r}; now it would be called {source.video!r}. "
            "Give the same files as then, or prepare them into another store."
        )


def _relabel(store: Path, part: Part, rows: Any, *, identity: str) -> None:
    account = replace(part.account, identity=identity)
    identities = identities_of_tracks(rows, video=account.video, identity=identity)
    write_part(store, replace(part, account=account, identity_of_track=identities), rows)


def _refuse_recorded_trouble(store: Path, sources: Sequence[Source], plan: Plan) -> None:
    pending = set(plan.pending)
    for source in sources:
        if source not in pending:
            _refuse_trouble(read_part(store / part_path(source.video)).account)


def _refuse_trouble(account: Account) -> None:
    if account.status != DONE:
        raise StrictError(
            f"{account.video}: {account.message} ({account.status}). Mend or leave out the file, or "
            "run without --strict, which records it and goes on."
        )


@contextmanager
def at_hand(source: Source, *, store: Path) -> Iterator[Source]:
    """The source with a path that can be read now: its own, or a copy's in the store's temporary folder.

    The copy is removed at the end. RemoteError if the file cannot be read; WriteError if there is no room for
    the copy.
    """
    if not source.url:
        yield source
        return
    file = source.now()
    copy = copied(source.url, folder=store / TEMPORARY, size_bytes=file.size_bytes)
    with ExitStack() as stack:
        with naming_write_errors(store):
            path = stack.enter_context(copy)
        yield replace(source, path=path, listed=file)


def fingerprint_of(source: Source) -> Fingerprint:
    """Of a file at hand; a copy's goes by its URL and by the version it has there. OSError."""
    taken = Fingerprint.take(source.path)
    return replace(taken, path=source.url, modified_ns=source.now().version) if source.url else taken


def is_same(source: Source, prepared: Fingerprint) -> bool:
    """Whether it is what was prepared; read through only where its version differs. OSError, RemoteError."""
    if not source.url:
        return prepared.matches(source.path)
    file = source.now()
    if (file.size_bytes, file.version) == (prepared.size_bytes, prepared.modified_ns):
        return True
    return file.size_bytes in (-1, prepared.size_bytes) and hash_remote(source.url) == prepared.sha256


def is_there(where: str) -> bool:
    """Whether a file is at a path or a URL now."""
    if not is_url(where):
        return Path(where).exists()
    try:
        return bool(look_at(where))
    except RemoteError:
        return False
