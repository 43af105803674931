"""Where every decoded frame went: written, or left out and why. For each source file and in all."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import pyarrow as pa

from mien.faces.tracked import BETWEEN_GRID_TIMES, NO_FACE

DONE = "done"
PARTIAL = "partial"  # the file broke off; the frames before are written
SKIPPED = "skipped"  # nothing of the file is written
WORKER_DIED = "the process that worked on it died"

NOT_WRITTEN = "not_written_"  # begins the column of each reason in accounts.parquet


@dataclass(frozen=True)
class Account:
    """What became of the frames of one source file: num_decoded = num_written + the sum over the reasons.

    `message` says why a file is partial or skipped, and is empty otherwise. ValueError where the sum is off.
    """

    video: str
    identity: str
    source_path: str
    source_sha256: str
    status: str
    message: str
    num_decoded: int
    num_written: int  # source frames with at least one face in the store
    not_written: dict[str, int] = field(default_factory=dict)
    num_tracks: int = 0
    num_crops: int = 0  # pictures in the store: faces in written frames
    num_positions: int = 0  # rows of the tracks: a picture that serves two slots counts twice
    notes: str = ""  # what was assumed or left out in reading the file: other streams, times, HDR

    def __post_init__(self) -> None:
        left_out = sum(self.not_written.values())
        if self.num_decoded != self.num_written + left_out:
            raise ValueError(
                f"{self.source_path}: {self.num_decoded} frames decoded, but {self.num_written} written "
                f"+ {left_out} left out ({self.not_written})"
            )

    def to_dict(self) -> dict[str, Any]:
        """JSON types only; `Account(**values)` reads it back."""
        return asdict(self)


@dataclass(frozen=True)
class Totals:
    """The accounts of many files added up; the same sum holds."""

    num_files: int
    num_done: int
    num_partial: int
    num_skipped: int
    num_decoded: int
    num_written: int
    not_written: dict[str, int]
    num_tracks: int
    num_crops: int
    num_positions: int

    def __post_init__(self) -> None:
        assert self.num_decoded == self.num_written + sum(self.not_written.values())
        assert self.num_files == self.num_done + self.num_partial + self.num_skipped


def why_nothing_written(num_decoded: int, reasons: Mapping[str, int]) -> str:
    """The message for a file without a face in the store: its frames by reason, the most frequent first."""
    if set(reasons) <= {NO_FACE, BETWEEN_GRID_TIMES}:
        return f"no face in any of its {num_decoded} frames"
    listed = sorted(reasons.items(), key=lambda item: (-item[1], item[0]))
    counts = ", ".join(f"{count} {reason}" for reason, count in listed)
    return f"no face kept of its {num_decoded} frames: {counts} (docs/prepare.md explains the reasons)"


def note_on_refused(num_frames: Mapping[str, int]) -> str:
    """A note on frames that keep a face and in which others were refused, by reason; "" where none was."""
    counts = ", ".join(f"{count} {reason}" for reason, count in sorted(num_frames.items()))
    return f"frames that keep a face and in which another was refused: {counts}" if counts else ""


def add_up(accounts: Iterable[Account]) -> Totals:
    """The totals of any number of accounts, which are not kept in memory."""
    states: Counter[str] = Counter()
    sums: Counter[str] = Counter()
    reasons: Counter[str] = Counter()
    for account in accounts:
        states[account.status] += 1
        reasons.update(account.not_written)
        for name in ("num_decoded", "num_written", "num_tracks", "num_crops", "num_positions"):
            sums[name] += getattr(account, name)
    return Totals(
        num_files=states.total(),
        num_done=states[DONE],
        num_partial=states[PARTIAL],
        num_skipped=states[SKIPPED],
        num_decoded=sums["num_decoded"],
        num_written=sums["num_written"],
        not_written=dict(sorted(reasons.items())),
        num_tracks=sums["num_tracks"],
        num_crops=sums["num_crops"],
        num_positions=sums["num_positions"],
    )


def accounts_table(accounts: Sequence[Account]) -> pa.Table:
    """One row a source file; the reasons are columns `not_written_REASON`, in alphabetical order."""
    reasons = sorted({reason for account in accounts for reason in account.not_written})
    rows = []
    for account in accounts:
        row = account.to_dict()
        counts = row.pop("not_written")
        row |= {f"{NOT_WRITTEN}{reason}": counts.get(reason, 0) for reason in reasons}
        rows.append(row)
    return pa.Table.from_pylist(rows, schema=_accounts_schema(reasons))


def read_accounts(table: pa.Table) -> list[Account]:
    """The accounts that `accounts_table` wrote."""
    accounts = []
    for row in table.to_pylist():
        counts = {
            name.removeprefix(NOT_WRITTEN): row.pop(name)
            for name in table.column_names
            if name.startswith(NOT_WRITTEN)
        }
        row["not_written"] = {reason: count for reason, count in counts.items() if count}
        accounts.append(Account(**row))
    return accounts


def format_accounts(accounts: Sequence[Account], *, max_files: int = 30) -> str:
    """An aligned table: one line per file, and the total.

    Of more than `max_files` files, those that are not done come first, then those of which the smallest share
    of frames was written; one line adds up the others. Below it, one line with the reason for each file that
    is partial or skipped.
    """
    totals = add_up(accounts)
    troubled = [account for account in accounts if account.status != DONE]
    noted = [account for account in accounts if account.notes]
    by_loss = accounts if len(accounts) <= max_files else sorted(accounts, key=_how_well)
    listed, others = by_loss[:max_files], by_loss[max_files:]
    reasons = list(totals.not_written)
    lines = [["video", "decoded", "written", *reasons, "tracks", "crops"]]
    lines += [_line(account.video, account, reasons) for account in listed]
    if others:
        lines.append(_line(f"{len(others):,} other files", add_up(others), reasons))
    lines.append(_line("all", totals, reasons))
    text = _align(lines)
    text += "\n\n" + _sum_in_words(totals)
    if others:
        text += "; each of them is in the store's accounts.csv"
    text += "".join(f"\n  {a.status}: {a.video}: {a.message}" for a in troubled[:max_files])
    if len(troubled) > max_files:
        text += f"\n  ... {len(troubled) - max_files} more; see the store's accounts.csv"
    text += "".join(f"\n  note: {a.video}: {a.notes}" for a in noted[:max_files])
    return text


def _how_well(account: Account) -> tuple[bool, float]:
    return account.status == DONE, account.num_written / max(1, account.num_decoded)


def _line(name: str, counts: Account | Totals, reasons: Sequence[str]) -> list[str]:
    numbers = [counts.num_decoded, counts.num_written]
    numbers += [counts.not_written.get(reason, 0) for reason in reasons]
    numbers += [counts.num_tracks, counts.num_crops]
    return [name, *(f"{number:,}" for number in numbers)]


def _align(lines: Sequence[Sequence[str]]) -> str:
    widths = [max(len(cell) for cell in column) for column in zip(*lines, strict=True)]
    rows = []
    for first, *others in lines:
        cells = [cell.rjust(width) for cell, width in zip(others, widths[1:], strict=True)]
        rows.append("  ".join([first.ljust(widths[0]), *cells]).rstrip())
    rule = "-" * max(len(row) for row in rows)
    return "\n".join([rows[0], rule, *rows[1:-1], rule, rows[-1]])


def _sum_in_words(totals: Totals) -> str:
    left_out = "".join(f" + {count:,} {reason}" for reason, count in totals.not_written.items())
    return (
        f"{totals.num_decoded:,} decoded = {totals.num_written:,} written{left_out}\n"
        f"{totals.num_files:,} files: {totals.num_done:,} done, {totals.num_partial:,} partial, "
        f"{totals.num_skipped:,} skipped"
    )


def _accounts_schema(reasons: Sequence[str]) -> pa.Schema:
    texts = ("video", "identity", "source_path", "source_sha256", "status", "message", "notes")
    numbers = ("num_decoded", "num_written", "num_tracks", "num_crops", "num_positions")
    return pa.schema(
        [
            *((name, pa.string()) for name in texts),
            *((name, pa.int64()) for name in numbers),
            *((f"{NOT_WRITTEN}{reason}", pa.int64()) for reason in reasons),
        ]
    )
