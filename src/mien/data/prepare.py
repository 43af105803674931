"""Prepare many videos into a store: several processes, resumable, an account of every frame."""

from __future__ import annotations

import math
import shutil
import time
from collections.abc import Generator, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from mien.config import to_dict
from mien.data.accounts import DONE, WORKER_DIED, Account
from mien.data.jobs import Died, Event, Finished, FrameProgress, Progress, Report, run_jobs
from mien.data.parts import Fingerprint, Part, assemble, read_part, read_rows, unfinish, write_part
from mien.data.progress import FileProgress, with_bar
from mien.data.remote import RemoteError, copy_here, hash_remote, is_url, look_at
from mien.data.sources import WHOLE, Shard, Source
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
    PrepareSettings,
    identities_of_tracks,
    skip_for_now,
    skip_unrecorded,
    skip_video,
    write_video,
)
from mien.faces.tracked import FrameFaces
from mien.io import WriteError, naming_write_errors, require_usable_name
from mien.video import VideoError, probe

if TYPE_CHECKING:
    from mien.faces.track import FaceTracking

_SECONDS_BETWEEN_REPORTS = 0.3


class StrictError(ValueError):
    """A file that could not be prepared completely, with --strict."""


@dataclass(frozen=True)
class Plan:
    """The work that remains for a list of sources."""

    pending: tuple[Source, ...]
    num_changed: int  # pending ones that were prepared before, but whose file has changed
    num_died: int  # the last of the pending ones: processes of an earlier run died while preparing them
    done: tuple[Account, ...]  # of those prepared by an earlier run

    def in_words(self) -> str:
        """What an earlier run did, as a line of text; empty if nothing."""
        if not self.done and not self.num_changed:
            return ""
        changed = f", {self.num_changed:,} of them changed or cut short since" if self.num_changed else ""
        return f"{len(self.done):,} videos are done already, {len(self.pending):,} to go{changed}\n"


def prepare(
    sources: Sequence[Source],
    store: Path,
    tracking: FaceTracking,
    *,
    settings: PrepareSettings,
    workers: int,
    shard: Shard = WHOLE,
    strict: bool = False,
    cluster: str = "",
) -> list[Account]:
    """Prepare `sources` (already those of the shard) into `store`; return the accounts of all its videos.

    Videos that the store has already are skipped, unless their file has changed. `workers`: number of
    processes; 0: do everything in this one. `cluster`: address of a Ray cluster, or `local`; its workers are
    used instead, and all of them must see `store` and the sources. Files whose names the disk does not allow
    are skipped. StoreError if the store was begun with another contract or other settings; WriteError if the
    disk is full; StrictError if `strict` and a file is broken, empty or without a face.
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
        for account in plan.done if strict else ():
            _refuse_trouble(account)
        if plan.num_changed:
            unfinish(store)
        work = _PrepareVideo(store, tracking, settings.jpeg)
        unrecorded: list[Account] = []
        try:
            with (
                FileProgress() as bar,
                closing(_events(work, plan, workers=workers, cluster=cluster)) as events,
            ):
                bar.begins({source.video: source.num_bytes for source in plan.pending}, note=plan.in_words())
                for event in events:
                    if isinstance(event, Progress):
                        bar.is_at(event.job.video, event.report)
                        continue
                    account = _account_of(event, store)
                    troubled = account.status != DONE
                    bar.has(account.video, num_frames=account.num_decoded, troubled=troubled)
                    if strict:
                        _refuse_trouble(account)
                    if not path_exists(store / part_path(account.video)):
                        unrecorded.append(account)
            with naming_write_errors(store):
                return assemble(store, unrecorded)
        finally:
            shutil.rmtree(store / TEMPORARY, ignore_errors=True)


def plan_work(store: Path, sources: Sequence[Source]) -> Plan:
    """The sources that are still to be prepared. Parts whose identity has changed are updated here."""
    pending: list[Source] = []
    died: list[Source] = []  # they come last, so that they do not hold up other files
    done: list[Account] = []
    num_changed = 0
    for source in with_bar(sources, total=len(sources), unit="videos", desc="earlier work "):
        path = store / part_path(source.video)
        if not path_exists(path):
            pending.append(source)
            continue
        part = read_part(path)
        if not _is_done(part, source):
            num_changed += 1
            (died if part.account.message.startswith(WORKER_DIED) else pending).append(source)
            continue
        done.append(part.account)
        if part.account.identity != source.identity:
            unfinish(store)
            _relabel(store, part, read_rows(path), identity=source.identity)
    return Plan(tuple(pending + died), num_changed, len(died), tuple(done))


@dataclass(frozen=True)
class _PrepareVideo:
    """The work of one process."""

    store: Path
    tracking: FaceTracking
    jpeg: JpegSettings

    def __call__(self, source: Source, report: Report, /) -> Account:
        try:
            with _at_hand(source, store=self.store) as here:
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
            fingerprint = _fingerprint_of(source)
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


def _reported(frames: Iterator[FrameFaces], report: Report, *, seconds_in_all: float) -> Iterator[FrameFaces]:
    last_report, first_seconds = time.monotonic(), math.nan
    for num_frames, looked in enumerate(frames, start=1):
        first_seconds = looked.seconds if num_frames == 1 else first_seconds
        if time.monotonic() - last_report > _SECONDS_BETWEEN_REPORTS:
            last_report = time.monotonic()
            share = min(1.0, (looked.seconds - first_seconds) / seconds_in_all) if seconds_in_all > 0 else 0.0
            report(FrameProgress(num_frames, share))
        yield looked


def _account_of(event: Finished[Source, Account] | Died[Source], store: Path) -> Account:
    if isinstance(event, Finished):
        return event.result
    return skip_for_now(store, event.job, f"{WORKER_DIED}: {event.how}")


def _events(
    work: _PrepareVideo, plan: Plan, *, workers: int, cluster: str
) -> Generator[Event[Source, Account]]:
    """Sources that killed a worker in an earlier run come last and may kill any number of workers."""
    num_fresh = len(plan.pending) if cluster else len(plan.pending) - plan.num_died
    yield from run_jobs(work, plan.pending[:num_fresh], workers=workers, cluster=cluster)
    yield from run_jobs(work, plan.pending[num_fresh:], workers=workers, max_deaths_in_a_row=math.inf)


def _is_done(part: Part, source: Source) -> bool:
    """Whether the file is the one that was prepared; the crops of one that cannot be read now are kept."""
    try:
        if _is_same(source, part.fingerprint):
            return True
    except (OSError, RemoteError):
        return part.account.num_crops > 0
    prepared, here = part.fingerprint.path, source.where
    if prepared != here and _is_there(prepared):
        raise StoreError(
            f"{here} would be called {source.video!r} in the store, where another file, {prepared}, is "
            "called so already. Give the folder above both, or prepare them into two stores."
        )
    return False


def _relabel(store: Path, part: Part, rows: Any, *, identity: str) -> None:
    account = replace(part.account, identity=identity)
    identities = identities_of_tracks(rows, video=account.video, identity=identity)
    write_part(store, replace(part, account=account, identity_of_track=identities), rows)


def _refuse_trouble(account: Account) -> None:
    if account.status != DONE:
        raise StrictError(
            f"{account.video}: {account.message} ({account.status}). Repair or remove the file, or "
            "run without --strict to record the problem and continue."
        )


@contextmanager
def _at_hand(source: Source, *, store: Path) -> Iterator[Source]:
    """The source with a local path: its own, or that of a copy in the store's temporary folder.

    The copy is removed at the end. RemoteError if the file cannot be read; WriteError if there is no room for
    the copy.
    """
    if not source.url:
        yield source
        return
    file = source.now()
    with ExitStack() as stack:
        with naming_write_errors(store):
            (store / TEMPORARY).mkdir(parents=True, exist_ok=True)
            folder = stack.enter_context(TemporaryDirectory(dir=store / TEMPORARY))
            path = Path(folder).absolute() / source.url.rpartition("/")[2]
            copy_here(source.url, path, size_bytes=file.size_bytes)
        yield replace(source, path=path, listed=file)


def _fingerprint_of(source: Source) -> Fingerprint:
    """The fingerprint of a local file; a copy gets its URL and the remote version. OSError."""
    taken = Fingerprint.take(source.path)
    return replace(taken, path=source.url, modified_ns=source.now().version) if source.url else taken


def _is_same(source: Source, prepared: Fingerprint) -> bool:
    """Whether it is unchanged; its content is read only if the version differs. OSError, RemoteError."""
    if not source.url:
        return prepared.matches(source.path)
    file = source.now()
    if (file.size_bytes, file.version) == (prepared.size_bytes, prepared.modified_ns):
        return True
    return file.size_bytes in (-1, prepared.size_bytes) and hash_remote(source.url) == prepared.sha256


def _is_there(where: str) -> bool:
    """Whether a file exists at a path or a URL."""
    if not is_url(where):
        return Path(where).exists()
    with suppress(RemoteError):
        return bool(look_at(where))
    return False
