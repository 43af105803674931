"""One video (or all pictures) into NAME.csv, NAME.parquet and NAME.json, resumable at any point.

NAME.json is written first and says `under way`; `.NAME.rows` keeps the raw rows, before baseline and
smoothing. A run that goes on takes those rows through baseline and smoothing again, tracks from the beginning
and gives the network only the frames after them: its tables are those of one run, bit for bit.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing, suppress
from dataclasses import asdict, dataclass
from functools import cached_property
from itertools import chain, islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mien.data.accounts import note_on_refused
from mien.data.jobs import FrameProgress
from mien.data.parts import Fingerprint
from mien.detect.detector import Detector
from mien.detect.media import Medium
from mien.detect.table import FaceRow
from mien.detect.writing import TableWriter
from mien.faces.tracked import UNREADABLE as UNREADABLE_FRAME
from mien.io import naming_write_errors, only_one, write_bytes
from mien.video import VideoError, VideoInfo, probe

UNDER_WAY, WHOLE, DAMAGED, UNREADABLE, DIED = "under way", "whole", "damaged", "unreadable", "died"
NOT_WRITTEN = "not written"

_ROWS_AT_ONCE = 64
_NAMED = 10  # files in a summary

Report = Callable[[FrameProgress], object]


class RecordingError(ValueError):
    """Tables that this run may not touch: of other settings, another file or another process."""


@dataclass(frozen=True)
class Account:
    """The outcome of one medium."""

    name: str
    status: str  # under way, whole, damaged (rows up to there), unreadable (no rows), died, not written
    num_frames: int = 0
    num_rows: int = 0
    num_with_face: int = 0
    num_faces: int = 0  # different ids
    message: str = ""  # what is wrong, where something is
    not_shown: str = ""  # why its page or annotated copy is missing, where these were asked for
    usable_share: float | None = None  # of the rows with a face
    quality: str = ""  # of each face: how much is usable, why the rest is not, the longest gap
    notes: str = ""  # what was assumed or left out in reading it: other streams, times, HDR

    @property
    def is_well(self) -> bool:
        """Whether it was read completely, and all pages and copies were written."""
        return self.status == WHOLE and not self.not_shown


def record_medium(
    medium: Medium,
    detector: Detector,
    out: Path,
    *,
    csv_format: str = "mien",
    report: Report = lambda _progress: None,
) -> Account:
    """Write `out/NAME.csv`, `out/NAME.parquet` and `out/NAME.json`, going on where an earlier call stopped.

    RecordingError where these were begun with other settings, are not from this function, or are being
    written by another process. WriteError where they cannot be written.
    """
    files = _Files(medium, detector, out, csv_format)
    lock = files.hidden("lock")
    busy = RecordingError(
        f"{files.csv}: another process is writing to it: wait for it, or give another --out"
    )
    with naming_write_errors(out / f"{medium.name}.*"):
        lock.parent.mkdir(parents=True, exist_ok=True)
        with only_one(lock, refusal=busy):
            try:
                account = files.earlier()
                if account is None:  # rows of files that have changed since are dropped
                    files.journal.unlink(missing_ok=True)
                    files.write(Account(medium.name, UNDER_WAY))
                if account is None or account.status == UNDER_WAY:
                    account = _record(files, medium, detector, csv_format, report)
                    files.write(account)
                    files.journal.unlink(missing_ok=True)
            finally:
                with suppress(OSError):  # Windows removes it by itself
                    lock.unlink()
    return account


def num_finished(media: Iterable[Medium], detector: Detector, out: Path, *, csv_format: str) -> int:
    """How many media an earlier run finished. RecordingError where `record_medium` would raise it for one."""
    finished = 0
    for medium in media:
        with suppress(OSError):  # that medium alone cannot be written: `record_medium` says why
            account = _Files(medium, detector, out, csv_format).earlier()
            finished += account is not None and account.status != UNDER_WAY
    return finished


def summary_of(accounts: Sequence[Account], out: Path) -> str:
    """Counts, then the first few media that were not read or shown as asked."""
    counts = ("num_frames", "num_rows", "num_with_face")
    frames, rows, with_face = (sum(getattr(account, name) for account in accounts) for name in counts)
    words = [f"{out}: {frames:,} frames, {rows:,} rows, {with_face:,} of them with a face"]
    without = [account.name for account in accounts if account.status == WHOLE and not account.num_with_face]
    if without:
        words.append(f"no face in {len(without):,}: {', '.join(without[:_NAMED])}")
    lines = [f"{one.status}: {one.name}: {one.message}" for one in accounts if one.status != WHOLE]
    lines += [f"not shown: {one.name}: {one.not_shown}" for one in accounts if one.not_shown]
    lines += [f"note: {one.name}: {one.notes}" for one in accounts if one.notes]
    if len(lines) > _NAMED:
        lines[_NAMED:] = [f"and {len(lines) - _NAMED:,} more, in {out / 'account.csv'}"]
    return "\n".join([*words, *lines])


def _record(files: _Files, medium: Medium, detector: Detector, csv_format: str, report: Report) -> Account:
    try:
        info = probe(medium.files[0].path) if medium.kind == "video" else None
    except (VideoError, OSError) as error:
        return Account(medium.name, UNREADABLE, message=str(error))
    cut_short: dict[int, float] = {}
    with (
        closing(Journal(files.journal)) as journal,
        closing(TableWriter(files.csv, files.parquet, detector.layout, csv_format)) as table,
    ):
        reading = _Reading(medium, info, detector, journal, report)
        finished = detector.finish(reading, journal.rows, is_video=info is not None, cut_short=cut_short)
        while rows := list(islice(finished, _ROWS_AT_ONCE)):
            table.write(rows)
        more = {"baseline_cut_short": cut_short, "notes": reading.notes}
        files.table |= {name: found for name, found in more.items() if found}
        table.finish(files.table)
    return reading.account()


class _Reading:
    """The raw rows of a medium: those of the journal, then the frames after them, kept there as they pass."""

    def __init__(
        self, medium: Medium, info: VideoInfo | None, detector: Detector, journal: Journal, report: Report
    ) -> None:
        self._medium, self._info, self._detector = medium, info, detector
        self._journal, self._report = journal, report
        self._problems: list[str] = []
        self._refused: Counter[str] = Counter()
        self._num_frames = self._num_rows = self._num_with_face = 0
        self._ids: set[tuple[str, int]] = set()

    def __iter__(self) -> Iterator[FaceRow]:
        for block in self._journal.blocks():
            yield from self._counted(block)
            if self._info is None:
                lost = [row.input for row in block if row.reason == UNREADABLE_FRAME]
                self._problems += [f"{name}: cannot be read" for name in lost]
        more = self._detector.blocks(
            self._medium, problems=self._problems, skip_frames=self._num_frames, refused=self._refused
        )
        with closing(more):
            for block in more:
                self._journal.write(block)
                yield from self._counted(block)

    @property
    def notes(self) -> list[str]:
        """What was assumed or left out in reading it."""
        of_file = () if self._info is None else self._info.notes
        return [*of_file, *filter(None, [note_on_refused(self._refused)])]

    def account(self) -> Account:
        """How it ended."""
        problems = self._problems
        readable = self._num_frames - (len(problems) if self._info is None else 0)
        return Account(
            self._medium.name,
            WHOLE if not problems else DAMAGED if readable else UNREADABLE,
            num_frames=self._num_frames,
            num_rows=self._num_rows,
            num_with_face=self._num_with_face,
            num_faces=len(self._ids),
            message="; ".join(problems[:3]) + (f" and {len(problems) - 3} more" if len(problems) > 3 else ""),
            notes="; ".join(self.notes),
        )

    def _counted(self, block: Sequence[FaceRow]) -> Sequence[FaceRow]:
        """The rows of whole frames."""
        with_face = [(row.input, row.face_id) for row in block if row.face_id is not None]
        self._num_frames += len({(row.input, row.frame) for row in block})
        self._num_rows += len(block)
        self._num_with_face += len(with_face)
        self._ids.update(with_face)
        info = self._info
        expected = info.duration_seconds * info.frames_per_second if info else len(self._medium.files)
        share = min(1.0, self._num_frames / expected) if expected > 0 else 0.0  # also of NaN
        self._report(FrameProgress(self._num_frames, share))
        return block


class _Files:
    """The files of one medium, and the contents of NAME.json."""

    def __init__(self, medium: Medium, detector: Detector, out: Path, csv_format: str) -> None:
        self._stem = out / medium.name
        self.csv, self.parquet, self.json = (
            self._stem.with_name(f"{self._stem.name}.{end}") for end in ("csv", "parquet", "json")
        )
        self.journal = self.hidden("rows")
        self.table: dict[str, Any] = {"csv_format": csv_format, **detector.metadata}
        self._paths = [file.path for file in medium.files]

    def hidden(self, end: str) -> Path:
        """`.NAME.end`."""
        return self._stem.with_name(f".{self._stem.name}.{end}")

    def write(self, account: Account) -> None:
        """NAME.json."""
        plain = {"account": asdict(account), "table": self.table, "inputs": self._inputs}
        write_bytes(self.json, (json.dumps(plain, indent=2) + "\n").encode())

    @cached_property
    def _inputs(self) -> list[dict[str, Any]]:
        """Of the files as they are at the beginning."""
        return [asdict(_fingerprint(path)) for path in self._paths]

    def earlier(self) -> Account | None:
        """The account of an earlier run on these very files; None without one, or where they have changed.

        RecordingError where there are files that this run may not touch.
        """
        of_another = RecordingError(
            f"{self.csv} (or {self.json.name}) is there already, and is not known to be of {self._paths[0]}: "
            "move it away, or give another --out."
        )
        try:
            plain = json.loads(self.json.read_text(encoding="utf-8"))
            account, begun = Account(**plain["account"]), plain["table"]
            inputs = [Fingerprint(**one) for one in plain["inputs"]]
        except (OSError, ValueError, KeyError, TypeError):
            if any(path.exists() for path in (self.json, self.csv, self.parquet)):
                raise of_another from None
            return None
        now = json.loads(json.dumps(self.table))
        same = {key for key in now if json.dumps(begun.get(key)) == json.dumps(now[key])} | {"mien_version"}
        differing = [key for key in now if key not in same]
        if differing:
            lines = "".join(f"\n  {key}: {begun.get(key)!r} there, {now[key]!r} now" for key in differing)
            raise RecordingError(
                f"{self.json} was begun with other settings:{lines}\nGive these, or another --out."
            )
        if _are_of(inputs, self._paths):
            return account
        if {one.path for one in inputs} & {str(path.absolute()) for path in self._paths}:
            return None
        raise of_another


class Journal:
    """Raw rows on disk: one line of JSON per block of whole frames, out of this process when `write` returns.

    JSON keeps every bit of a float. A line that a killed process left unfinished is cut off.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file = path.open("ab")
        self._file.truncate(_whole_bytes(path))

    def write(self, block: Sequence[FaceRow]) -> None:
        """Append the rows of whole frames."""
        plain = [[*vars(row).values()] for row in block]
        self._file.write(json.dumps(plain, default=np.ndarray.tolist).encode() + b"\n")
        self._file.flush()

    def blocks(self) -> Iterator[list[FaceRow]]:
        """All blocks, from the first; memory holds one."""
        with self._path.open("rb") as file:
            for line in file:
                yield [FaceRow(*row[:6], *map(_array, row[6:])) for row in json.loads(line)]

    def rows(self) -> Iterator[FaceRow]:
        """The rows of all blocks."""
        return chain.from_iterable(self.blocks())

    def close(self) -> None:
        """No more rows. The file stays."""
        self._file.close()


def _whole_bytes(path: Path) -> int:
    whole = 0
    with path.open("rb") as file, suppress(ValueError):
        for line in file:
            if not line.endswith(b"\n") or not isinstance(json.loads(line), list):
                break
            whole += len(line)
    return whole


def _array(plain: list[float] | None) -> NDArray[np.float32] | None:
    return None if plain is None else np.array(plain, np.float32)


def _fingerprint(path: Path) -> Fingerprint:
    try:
        return Fingerprint.take(path)
    except OSError:
        return Fingerprint(str(path.absolute()), -1, -1, "")


def _are_of(inputs: Sequence[Fingerprint], paths: Sequence[Path]) -> bool:
    """Whether the files are still those of the earlier run."""
    try:
        return all(one.matches(path) for one, path in zip(inputs, paths, strict=True))
    except (OSError, ValueError):
        return False
