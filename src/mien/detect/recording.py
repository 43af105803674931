"""One medium into its files: a CSV and a Parquet table that grow as it is read, and what became of it.

NAME.json is written first and says `under way`; a journal beside holds the rows (mien.detect.journal). A run
that goes on takes the rows from there through baseline and smoothing again, tracks from the beginning, and
shows the network only what lies behind: what comes out is what one run would have written, bit for bit.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import asdict, dataclass
from functools import cached_property
from itertools import groupby, islice
from pathlib import Path
from typing import Any

from mien.data.parts import Fingerprint
from mien.data.prepare import FrameProgress
from mien.detect.detector import Detector
from mien.detect.journal import Journal
from mien.detect.media import Medium
from mien.detect.rows import FaceRow
from mien.detect.table_formats import FORMATS
from mien.detect.table_writers import CsvTable, ParquetTable
from mien.faces.tracked import UNREADABLE as UNREADABLE_FRAME
from mien.io import naming_write_errors, only_one, require_usable_name, write_bytes
from mien.video import VideoError, VideoInfo, probe

UNDER_WAY, WHOLE, DAMAGED, UNREADABLE, DIED = "under way", "whole", "damaged", "unreadable", "died"
NOT_WRITTEN = "not written"

_ROWS_AT_ONCE = 64
_SECONDS_BETWEEN_REPORTS = 0.3

Report = Callable[[FrameProgress], None]


class RecordingError(ValueError):
    """Results are there already, or were begun with other settings; names the file and the way out."""


@dataclass(frozen=True)
class Account:
    """What became of one medium."""

    name: str
    status: str  # under way, whole, damaged (rows up to there), unreadable (no rows), died, not written
    num_frames: int = 0
    num_rows: int = 0
    num_with_face: int = 0
    num_faces: int = 0  # different ids
    message: str = ""  # what is wrong, where something is
    not_shown: str = ""  # why its page or annotated copy is not there, where these were asked for
    notes: str = ""  # what was assumed or left out in reading it: other streams, times, HDR

    @property
    def is_well(self) -> bool:
        """Whether it was read whole, and is shown as far as that was asked for."""
        return self.status == WHOLE and not self.not_shown

    @property
    def is_finished(self) -> bool:
        """Whether a run that goes on has nothing left to do here."""
        return self.status != UNDER_WAY


def record_medium(
    medium: Medium,
    detector: Detector,
    out: Path,
    *,
    csv_format: str = "mien",
    resume: bool = False,
    report: Report = lambda _progress: None,
) -> Account:
    """Write `out/NAME.csv`, `out/NAME.parquet` and `out/NAME.json`.

    RecordingError where these are there and `resume` is false, were begun with other settings, or are being
    written by another process. WriteError where they cannot be written.
    """
    files = _files(medium, detector, out, csv_format)
    with naming_write_errors(out / f"{medium.name}.*"):
        files.require_usable_names()
        files.refuse_conflict(resume=resume)
        with files.held():
            files.refuse_conflict(resume=resume)  # another process may have begun, or ended, in between
            before = files.begin()
            return _record(files, medium, detector, csv_format, report) if before is None else before


def _record(files: _Files, medium: Medium, detector: Detector, csv_format: str, report: Report) -> Account:
    try:
        info = probe(medium.files[0].path) if medium.kind == "video" else None
    except (VideoError, OSError) as error:
        return files.end(Account(medium.name, UNREADABLE, message=str(error)))
    files.metadata |= {"notes": list(info.notes)} if info and info.notes else {}
    problems: list[str] = []
    tally = _Tally(report, info, num_files=len(medium.files))
    with Journal(files.journal, num_values=detector.layout.num_values) as journal:
        raw = _raw_rows(journal, detector, medium, problems, tally)
        cut_short: dict[int, float] = {}
        finished = _finished_rows(raw, journal, detector, medium, cut_short)
        csv = CsvTable(files.csv, FORMATS[csv_format](detector.layout))
        parquet = ParquetTable(files.parquet, detector.layout)
        with closing(csv), closing(parquet):
            for rows in _some(finished):
                csv.write(rows)
                parquet.write(rows)
            files.metadata |= what_was_cut_short(cut_short)
            parquet.finish(files.metadata)
    return files.end(tally.account(medium, problems))


def what_was_cut_short(seconds_of_face: Mapping[int, float]) -> dict[str, Any]:
    """What a table's metadata say of neutrals of less than the seconds asked for; {} where none is."""
    named = {str(face_id): seconds for face_id, seconds in sorted(seconds_of_face.items())}
    return {"baseline_cut_short": named} if named else {}


def refuse_conflicts(
    media: Iterable[Medium], detector: Detector, out: Path, *, csv_format: str, resume: bool
) -> None:
    """RecordingError where `record_medium` would raise it for one of them."""
    for medium in media:
        with suppress(OSError):  # that medium alone cannot be written: `record_medium` says why
            _files(medium, detector, out, csv_format).refuse_conflict(resume=resume)


def read_account(path: Path) -> tuple[Account, dict[str, Any]] | None:
    """The account and the whole of NAME.json; None where there is none that can be read."""
    try:
        plain = json.loads(path.read_text(encoding="utf-8"))
        return Account(**plain["account"]), plain
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _files(medium: Medium, detector: Detector, out: Path, csv_format: str) -> _Files:
    return _Files(out, medium, {"csv_format": csv_format, **detector.metadata})


class _Files:
    """The files of one medium, and what NAME.json says of them."""

    def __init__(self, out: Path, medium: Medium, metadata: Mapping[str, Any]) -> None:
        stem = out / medium.name
        self.csv, self.parquet = (stem.with_name(f"{stem.name}.{end}") for end in ("csv", "parquet"))
        self.json = stem.with_name(f"{stem.name}.json")
        self.journal = stem.with_name(f".{stem.name}.rows")
        self.lock = stem.with_name(f".{stem.name}.lock")
        self.metadata = dict(metadata)
        self._name = medium.name
        self._paths = [file.path for file in medium.files]

    def require_usable_names(self) -> None:
        """WriteError where the disk cannot take one of the names."""
        for path in (self.csv, self.journal, self.lock, self.json, self.parquet):
            require_usable_name(path)
            require_usable_name(path.with_name(f".{path.name}.part"))

    def refuse_conflict(self, *, resume: bool) -> None:
        """RecordingError where files are there that this run may not touch."""
        there = [path for path in (self.json, self.csv, self.parquet, self.journal) if path.exists()]
        if there and not resume:
            raise RecordingError(
                f"{there[0]} is there already. Add --resume to go on with an earlier run, or give another "
                "--out."
            )
        found = read_account(self.json)
        if found is not None:
            self._require_same(found[1].get("table", {}))

    @contextmanager
    def held(self) -> Iterator[None]:
        """Keep other processes from these files; RecordingError where one is at them."""
        self.lock.parent.mkdir(parents=True, exist_ok=True)
        refusal = RecordingError(
            f"{self.csv}: another process is writing to it: wait for it, or give another --out"
        )
        with only_one(self.lock, refusal=refusal):
            yield
            with suppress(OSError):  # on Windows it goes by itself
                self.lock.unlink()

    def begin(self) -> Account | None:
        """Make ready, within `held`; the account where all is done already."""
        found = read_account(self.json)
        if found is not None and _are_same(self._paths, found[1].get("inputs", [])):
            return found[0] if found[0].is_finished else None
        self.journal.unlink(missing_ok=True)
        self._write(Account(self._name, UNDER_WAY))
        return None

    def end(self, account: Account) -> Account:
        """Say what became of it; the journal is no longer needed."""
        self._write(account)
        self.journal.unlink(missing_ok=True)
        return account

    @cached_property
    def _inputs(self) -> list[dict[str, Any]]:
        return [asdict(_fingerprint(path)) for path in self._paths]

    def _write(self, account: Account) -> None:
        plain = {"account": asdict(account), "table": self.metadata, "inputs": self._inputs}
        write_bytes(self.json, (json.dumps(plain, indent=2) + "\n").encode())

    def _require_same(self, begun: Mapping[str, Any]) -> None:
        now = json.loads(json.dumps(self.metadata))
        differing = [
            key for key in now if key != "mien_version" and json.dumps(begun.get(key)) != json.dumps(now[key])
        ]
        if differing:
            lines = "".join(f"\n  {key}: {begun.get(key)!r} there, {now[key]!r} now" for key in differing)
            raise RecordingError(
                f"{self.json} was begun with other settings:{lines}\nGive the same ones, or another --out."
            )


class _Tally:
    """Counts frames, rows and faces on their way to the journal, and reports progress."""

    def __init__(self, report: Report, info: VideoInfo | None, *, num_files: int) -> None:
        self.num_frames = 0
        self._num_rows = 0
        self._num_with_face = 0
        self._ids: set[tuple[str, int]] = set()
        self._report, self._num_files = report, num_files
        self._seconds = info.duration_seconds if info else 0.0
        self._notes = "; ".join(info.notes) if info else ""
        self._reported_at = 0.0
        self._first_seconds: float | None = None

    def add(self, rows: Iterable[FaceRow]) -> None:
        """Rows of whole frames."""
        last = None
        for (_name, _frame), of_frame in groupby(rows, key=lambda row: (row.input, row.frame)):
            self.num_frames += 1
            for row in of_frame:
                last = row
                self._first_seconds = row.seconds if self._first_seconds is None else self._first_seconds
                self._num_rows += 1
                if row.face_id is not None:
                    self._num_with_face += 1
                    self._ids.add((row.input, row.face_id))
        if last is not None and time.monotonic() - self._reported_at > _SECONDS_BETWEEN_REPORTS:
            self._reported_at = time.monotonic()
            self._report(FrameProgress(self.num_frames, self._share(last)))

    def account(self, medium: Medium, problems: list[str]) -> Account:
        """How it ended."""
        readable = self.num_frames - (len(problems) if medium.kind == "pictures" else 0)
        status: Any = WHOLE if not problems else DAMAGED if readable else UNREADABLE
        message = "; ".join(problems[:3]) + (f" and {len(problems) - 3} more" if len(problems) > 3 else "")
        return Account(
            medium.name,
            status,
            num_frames=self.num_frames,
            num_rows=self._num_rows,
            num_with_face=self._num_with_face,
            num_faces=len(self._ids),
            message=message,
            notes=self._notes,
        )

    def _share(self, row: FaceRow) -> float:
        if self._num_files > 1:
            return self.num_frames / self._num_files
        passed = row.seconds - (self._first_seconds or 0.0)
        return min(1.0, passed / self._seconds) if self._seconds > 0 else 0.0


def _raw_rows(
    journal: Journal, detector: Detector, medium: Medium, problems: list[str], tally: _Tally
) -> Iterator[FaceRow]:
    """The journal's rows, then those of the frames behind them, which are kept there before they go on."""
    for _frame, group in groupby(journal.rows(), key=lambda row: (row.input, row.frame)):
        rows = list(group)
        tally.add(rows)
        if medium.kind == "pictures":
            problems += [f"{row.input}: cannot be read" for row in rows if row.reason == UNREADABLE_FRAME]
        yield from rows
    done = tally.num_frames
    with closing(detector.blocks(medium, problems=problems, skip_frames=done)) as blocks:
        for block in blocks:
            journal.write(block)
            tally.add(block)
            yield from block


def _finished_rows(
    raw: Iterator[FaceRow], journal: Journal, detector: Detector, medium: Medium, cut_short: dict[int, float]
) -> Iterator[FaceRow]:
    is_video = medium.kind == "video"
    baseline = detector.baseline
    if not is_video or baseline is None or baseline.kind == "first":
        return detector.finish(raw, is_video=is_video, cut_short=cut_short)
    return detector.finish_file(raw, journal.rows(), is_video=is_video)


def _some(rows: Iterator[FaceRow]) -> Iterator[list[FaceRow]]:
    while some := list(islice(rows, _ROWS_AT_ONCE)):
        yield some


def _fingerprint(path: Path) -> Fingerprint:
    try:
        return Fingerprint.take(path)
    except OSError:
        return Fingerprint.of_unreadable(path)


def _are_same(paths: Sequence[Path], begun: Sequence[Mapping[str, Any]]) -> bool:
    """Whether the files are still those of the earlier run."""
    if len(paths) != len(begun):
        return False
    try:
        return all(Fingerprint(**before).matches(path) for path, before in zip(paths, begun, strict=True))
    except (OSError, TypeError):
        return False
