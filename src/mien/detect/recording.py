"""One video (or all pictures) into NAME.csv, NAME.parquet and NAME.json, resumable at any point.

NAME.json is written first and says `under way`; `.NAME.rows` keeps the raw rows, before baseline and
smoothing. A run that goes on takes those rows through baseline and smoothing again, tracks from the beginning
and gives the network only the frames after them: its tables are those of one run, bit for bit.
"""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import asdict, dataclass
from functools import cached_property
from itertools import groupby, islice
from pathlib import Path
from typing import Any

from mien.data.accounts import note_on_refused
from mien.data.jobs import FrameProgress
from mien.data.parts import Fingerprint
from mien.detect.detector import Detector
from mien.detect.journal import Journal
from mien.detect.media import Medium
from mien.detect.table import FaceRow
from mien.detect.writing import CsvTable, ParquetTable
from mien.faces.tracked import UNREADABLE as UNREADABLE_FRAME
from mien.io import naming_write_errors, only_one, require_usable_name, write_bytes
from mien.video import VideoError, VideoInfo, probe

UNDER_WAY, WHOLE, DAMAGED, UNREADABLE, DIED = "under way", "whole", "damaged", "unreadable", "died"
NOT_WRITTEN = "not written"

_ROWS_AT_ONCE = 64
_SECONDS_BETWEEN_REPORTS = 0.3

Report = Callable[[FrameProgress], None]


class RecordingError(ValueError):
    """Tables that this run may not touch: of other settings, another file or another process."""


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
    not_shown: str = ""  # why its page or annotated copy is missing, where these were asked for
    usable_share: float | None = None  # of the rows with a face
    quality: str = ""  # of each face: how much is usable, why the rest is not, the longest gap
    notes: str = ""  # what was assumed or left out in reading it: other streams, times, HDR

    @property
    def is_well(self) -> bool:
        """Whether it was read whole, and shown as asked."""
        return self.status == WHOLE and not self.not_shown

    @property
    def is_finished(self) -> bool:
        """Whether a later run has nothing left to do here."""
        return self.status != UNDER_WAY


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
    with naming_write_errors(out / f"{medium.name}.*"):
        files.require_usable_names()
        files.refuse_conflict()
        with files.held():
            files.refuse_conflict()  # another process may have begun, or ended, in between
            finished = files.finished()
            return _record(files, medium, detector, csv_format, report) if finished is None else finished


def num_finished(media: Iterable[Medium], detector: Detector, out: Path, *, csv_format: str) -> int:
    """How many media an earlier run finished. RecordingError where `record_medium` would raise it for one."""
    finished = 0
    for medium in media:
        with suppress(OSError):  # that medium alone cannot be written: `record_medium` says why
            files = _Files(medium, detector, out, csv_format)
            files.refuse_conflict()
            finished += files.finished() is not None
    return finished


def what_was_cut_short(seconds_of_face: Mapping[int, float]) -> dict[str, Any]:
    """Table metadata on neutrals from fewer seconds than asked for; {} where there are none."""
    named = {str(face_id): seconds for face_id, seconds in sorted(seconds_of_face.items())}
    return {"baseline_cut_short": named} if named else {}


def _record(files: _Files, medium: Medium, detector: Detector, csv_format: str, report: Report) -> Account:
    files.begin()
    try:
        info = probe(medium.files[0].path) if medium.kind == "video" else None
    except (VideoError, OSError) as error:
        return files.end(Account(medium.name, UNREADABLE, message=str(error)))
    tally = _Tally(medium, info, report)
    cut_short: dict[int, float] = {}
    with closing(Journal(files.journal)) as journal:
        raw = _raw_rows(journal, detector, medium, tally)
        finished = detector.finish(raw, journal.rows, is_video=info is not None, cut_short=cut_short)
        csv = CsvTable(files.csv, detector.layout, csv_format)
        parquet = ParquetTable(files.parquet, detector.layout)
        with closing(csv), closing(parquet):
            while rows := list(islice(finished, _ROWS_AT_ONCE)):
                csv.write(rows)
                parquet.write(rows)
            files.metadata |= what_was_cut_short(cut_short) | ({"notes": tally.notes} if tally.notes else {})
            parquet.finish(files.metadata)
    return files.end(tally.account())


def _raw_rows(journal: Journal, detector: Detector, medium: Medium, tally: _Tally) -> Iterator[FaceRow]:
    """The journal's rows, then those of the frames after them, which are kept there before they go on."""
    for _frame, group in groupby(journal.rows(), key=lambda row: (row.input, row.frame)):
        rows = list(group)
        tally.add(rows)
        if medium.kind == "pictures":
            tally.problems += [
                f"{row.input}: cannot be read" for row in rows if row.reason == UNREADABLE_FRAME
            ]
        yield from rows
    blocks = detector.blocks(
        medium, problems=tally.problems, skip_frames=tally.num_frames, refused=tally.refused
    )
    with closing(blocks):
        for block in blocks:
            journal.write(block)
            tally.add(block)
            yield from block


class _Files:
    """The files of one medium, and the contents of NAME.json."""

    def __init__(self, medium: Medium, detector: Detector, out: Path, csv_format: str) -> None:
        folder, name = (out / medium.name).parent, (out / medium.name).name
        self.csv, self.parquet, self.json = (folder / f"{name}.{end}" for end in ("csv", "parquet", "json"))
        self.journal, self._lock = folder / f".{name}.rows", folder / f".{name}.lock"
        self.metadata: dict[str, Any] = {"csv_format": csv_format, **detector.metadata}
        self._name = medium.name
        self._paths = [file.path for file in medium.files]

    def require_usable_names(self) -> None:
        """WriteError where the disk cannot take one of the names."""
        for path in (self.csv, self.journal, self._lock, self.json, self.parquet):
            require_usable_name(path)
            require_usable_name(path.with_name(f".{path.name}.part"))

    def refuse_conflict(self) -> None:
        """RecordingError where there are files that this run may not touch."""
        found = self._read()
        if found is not None:
            self._require_same_settings(found.get("table", {}))
            self._require_same_file(found.get("inputs", []))
            return
        for path in (self.json, self.csv, self.parquet):
            if path.exists():
                raise RecordingError(
                    f"{path} is there already, and {self.json.name} does not say how it was made: move it "
                    "away, or give another --out."
                )

    def finished(self) -> Account | None:
        """The account of an earlier run that read these very files to their end."""
        found = self._read()
        if found is None or not self._are_same(found.get("inputs", [])):
            return None
        account = Account(**found["account"])
        return account if account.is_finished else None

    @contextmanager
    def held(self) -> Iterator[None]:
        """Keep other processes from these files; RecordingError where one is writing them."""
        self._lock.parent.mkdir(parents=True, exist_ok=True)
        refusal = RecordingError(
            f"{self.csv}: another process is writing to it: wait for it, or give another --out"
        )
        with only_one(self._lock, refusal=refusal):
            yield
            with suppress(OSError):  # Windows removes it by itself
                self._lock.unlink()

    def begin(self) -> None:
        """Make ready, within `held`: rows of files that have changed since are dropped."""
        found = self._read()
        if found is None or not self._are_same(found.get("inputs", [])):
            self.journal.unlink(missing_ok=True)
            self._write(Account(self._name, UNDER_WAY))

    def end(self, account: Account) -> Account:
        """Write the account; the journal is no longer needed."""
        self._write(account)
        self.journal.unlink(missing_ok=True)
        return account

    @cached_property
    def _inputs(self) -> list[dict[str, Any]]:
        return [asdict(_fingerprint(path)) for path in self._paths]

    def _write(self, account: Account) -> None:
        plain = {"account": asdict(account), "table": self.metadata, "inputs": self._inputs}
        write_bytes(self.json, (json.dumps(plain, indent=2) + "\n").encode())

    def _read(self) -> dict[str, Any] | None:
        """The content of NAME.json; None where there is none that this class wrote."""
        try:
            plain: dict[str, Any] = json.loads(self.json.read_text(encoding="utf-8"))
            Account(**plain["account"])
        except (OSError, ValueError, KeyError, TypeError):
            return None
        return plain

    def _are_same(self, begun: Sequence[Mapping[str, Any]]) -> bool:
        """Whether the files are still those of the earlier run."""
        try:
            pairs = list(zip(self._paths, begun, strict=True))
            return all(Fingerprint(**before).matches(path) for path, before in pairs)
        except (OSError, TypeError, ValueError):
            return False

    def _require_same_file(self, begun: Sequence[Mapping[str, Any]]) -> None:
        before = {str(one.get("path")) for one in begun}
        if before & {str(path.absolute()) for path in self._paths} or self._are_same(begun):
            return
        raise RecordingError(
            f"{self.json} is of another file, {', '.join(sorted(before)[:1])}, not of {self._paths[0]}: give "
            "another --out."
        )

    def _require_same_settings(self, begun: Mapping[str, Any]) -> None:
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

    def __init__(self, medium: Medium, info: VideoInfo | None, report: Report) -> None:
        self.num_frames = 0
        self.problems: list[str] = []
        self.refused: Counter[str] = Counter()
        self._num_rows = 0
        self._num_with_face = 0
        self._ids: set[tuple[str, int]] = set()
        self._medium, self._info, self._report = medium, info, report
        self._reported_at = 0.0
        self._first_seconds: float | None = None

    def add(self, rows: Sequence[FaceRow]) -> None:
        """Rows of whole frames."""
        with_face = [(row.input, row.face_id) for row in rows if row.face_id is not None]
        self.num_frames += len({(row.input, row.frame) for row in rows})
        self._num_rows += len(rows)
        self._num_with_face += len(with_face)
        self._ids.update(with_face)
        if self._first_seconds is None:
            self._first_seconds = rows[0].seconds
        if time.monotonic() - self._reported_at > _SECONDS_BETWEEN_REPORTS:
            self._reported_at = time.monotonic()
            share = self._share(rows[-1].seconds - self._first_seconds)
            self._report(FrameProgress(self.num_frames, share))

    @property
    def notes(self) -> list[str]:
        """What was assumed or left out in reading it."""
        return [*(self._info.notes if self._info else ()), *filter(None, [note_on_refused(self.refused)])]

    def account(self) -> Account:
        """How it ended."""
        problems, is_video = self.problems, self._info is not None
        readable = self.num_frames - (0 if is_video else len(problems))
        status = WHOLE if not problems else DAMAGED if readable else UNREADABLE
        message = "; ".join(problems[:3]) + (f" and {len(problems) - 3} more" if len(problems) > 3 else "")
        return Account(
            self._medium.name,
            status,
            num_frames=self.num_frames,
            num_rows=self._num_rows,
            num_with_face=self._num_with_face,
            num_faces=len(self._ids),
            message=message,
            notes="; ".join(self.notes),
        )

    def _share(self, passed_seconds: float) -> float:
        if len(self._medium.files) > 1:
            return self.num_frames / len(self._medium.files)
        length_seconds = self._info.duration_seconds if self._info else 0.0
        return min(1.0, passed_seconds / length_seconds) if length_seconds > 0 else 0.0


def _fingerprint(path: Path) -> Fingerprint:
    try:
        return Fingerprint.take(path)
    except OSError:
        return Fingerprint.of_unreadable(str(path.absolute()))
