"""Detection over many media: worker processes, one account of them all."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, fields
from functools import cached_property
from pathlib import Path

from mien.data.jobs import Finished, FrameProgress, Progress, run_jobs
from mien.data.jobs import Report as ReportAny
from mien.detect.detector import Detector
from mien.detect.media import Medium
from mien.detect.recording import DIED, NOT_WRITTEN, WHOLE, Account, record_medium
from mien.io import WriteError, write_bytes

_NAMED = 10  # files in a summary


def _as_it_is(account: Account, _medium: Medium, _out: Path) -> Account:
    return account


@dataclass(frozen=True)
class DetectWork:
    """One medium into its tables, in this process or in a worker; it travels by pickle.

    `make_detector` is called once per process. `finish` writes what goes beside a table, and adds to its
    account.
    """

    make_detector: Callable[[], Detector]
    out: Path
    csv_format: str
    finish: Callable[[Account, Medium, Path], Account] = _as_it_is

    @cached_property
    def detector(self) -> Detector:
        """The detector of this process."""
        return self.make_detector()

    def __call__(self, medium: Medium, report: ReportAny, /) -> Account:
        """The account of the medium; a file that cannot be written costs that medium alone."""
        try:
            account = record_medium(
                medium, self.detector, self.out, csv_format=self.csv_format, report=report
            )
        except WriteError as error:
            return Account(medium.name, NOT_WRITTEN, message=str(error))
        return self.finish(account, medium, self.out) if account.num_frames else account

    def __reduce__(self) -> tuple[object, ...]:
        return DetectWork, (self.make_detector, self.out, self.csv_format, self.finish)


def detect_each(
    work: DetectWork,
    media: Sequence[Medium],
    *,
    workers: int,
    report: Callable[[Medium, FrameProgress], None],
) -> Iterator[Account]:
    """The account of each medium as it ends; `report` is called within a medium.

    Several media are read in processes of their own, so that a decoder that crashes costs its file alone.
    """
    if len(media) == 1:
        yield work(media[0], lambda progress: report(media[0], progress))
        return
    for event in run_jobs(work, media, workers=min(workers, len(media))):
        if isinstance(event, Progress):
            report(event.job, event.report)
        elif isinstance(event, Finished):
            yield event.result
        else:
            yield Account(event.job.name, DIED, message=f"the process died over it: {event.how}")


def write_accounts(path: Path, accounts: Sequence[Account]) -> None:
    """A CSV with one line per medium."""
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, [field.name for field in fields(Account)])
    writer.writeheader()
    writer.writerows(asdict(account) for account in accounts)
    content = text.getvalue().encode("utf-8", "backslashreplace")
    write_bytes(path, content, temporary_folder=path.parent)


def summary_of(accounts: Sequence[Account], out: Path) -> str:
    """Counts, then the first few media that were not read or shown as asked."""
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
