"""Accounts: how many decoded frames were written or left out, and why, per source file and in total."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace

import pyarrow as pa

from mien.faces.tracked import BETWEEN_GRID_TIMES, NO_FACE

DONE = "done"
PARTIAL = "partial"  # the file broke off; the frames before are written
SKIPPED = "skipped"  # nothing of the file is written
WORKER_DIED = "the process that worked on it died"

_TEXTS = ("video", "identity", "source_path", "source_sha256", "status", "message", "notes")
_NUMBERS = ("num_decoded", "num_written", "num_tracks", "num_crops", "num_positions")
NOT_WRITTEN = "not_written_"  # begins the column of each reason in accounts.parquet


@dataclass(frozen=True)
class Account:
    """The frames of one source file: num_decoded = num_written + the sum over the reasons.

    `message` says why a file is partial or skipped, and is empty otherwise. ValueError if the sum is wrong.
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
    notes: str = ""  # assumptions made in reading the file: streams left out, times, HDR

    def __post_init__(self) -> None:
        left_out = sum(self.not_written.values())
        if self.num_decoded != self.num_written + left_out:
            raise ValueError(
                f"{self.source_path}: {self.num_decoded} frames decoded, but {self.num_written} written "
                f"+ {left_out} left out ({self.not_written})"
            )


def why_nothing_written(num_decoded: int, reasons: Mapping[str, int]) -> str:
    """The message for a file without a face in the store: its frames by reason, the most frequent first."""
    if set(reasons) <= {NO_FACE, BETWEEN_GRID_TIMES}:
        return f"no face in any of its {num_decoded} frames"
    listed = sorted(reasons.items(), key=lambda item: (-item[1], item[0]))
    counts = ", ".join(f"{count} {reason}" for reason, count in listed)
    return f"no face kept of its {num_decoded} frames: {counts} (docs/prepare.md explains the reasons)"


def note_on_refused(num_frames: Mapping[str, int]) -> str:
    """A note on frames in which one face was written and another refused, by reason; "" if there are none."""
    counts = ", ".join(f"{count} {reason}" for reason, count in sorted(num_frames.items()))
    return f"frames that keep a face and in which another was refused: {counts}" if counts else ""


def add_up(accounts: Iterable[Account]) -> Account:
    """The sum of the accounts, as the account of a video `all`. Memory does not grow with their number."""
    sums: Counter[str] = Counter()
    reasons: Counter[str] = Counter()
    for account in accounts:
        reasons.update(account.not_written)
        sums.update({name: getattr(account, name) for name in _NUMBERS})
    about = dict.fromkeys(_TEXTS, "") | {"video": "all"}
    return Account(**about, **sums, not_written=dict(sorted(reasons.items())))  # type: ignore[arg-type]


def sum_in_words(accounts: Sequence[Account]) -> str:
    """Two lines: decoded = written + frames left out by reason; files by how they ended."""
    total, states = add_up(accounts), Counter(account.status for account in accounts)
    left_out = "".join(f" + {count:,} {reason}" for reason, count in total.not_written.items())
    return (
        f"{total.num_decoded:,} decoded = {total.num_written:,} written{left_out}\n{len(accounts):,} files: "
        + ", ".join(f"{states[state]:,} {state}" for state in (DONE, PARTIAL, SKIPPED))
    )


def accounts_table(accounts: Sequence[Account]) -> pa.Table:
    """One row per source file; the reasons are columns `not_written_REASON`, in alphabetical order."""
    reasons = sorted({reason for account in accounts for reason in account.not_written})
    rows = []
    for account in accounts:
        row = asdict(account)
        counts = row.pop("not_written")
        rows.append(row | {f"{NOT_WRITTEN}{reason}": counts.get(reason, 0) for reason in reasons})
    numbers = (*_NUMBERS, *(f"{NOT_WRITTEN}{reason}" for reason in reasons))
    columns = [(name, pa.string()) for name in _TEXTS] + [(name, pa.int64()) for name in numbers]
    return pa.Table.from_pylist(rows, schema=pa.schema(columns))


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


def worst_first(accounts: Sequence[Account]) -> list[Account]:
    """Those not done, then by the share of written frames."""
    return sorted(
        accounts, key=lambda one: (one.status == DONE, one.num_written / max(1, one.num_decoded), one.video)
    )


def format_accounts(accounts: Sequence[Account], *, max_files: int = 30) -> str:
    """An aligned table: one line per file, and the total.

    With more than `max_files` files, only the worst are listed: those not done, then those with the smallest
    share of written frames; one line sums the others. Below the table, one line per partial or skipped file
    gives the reason.
    """
    troubled = [account for account in accounts if account.status != DONE]
    noted = [account for account in accounts if account.notes]
    by_loss = accounts if len(accounts) <= max_files else worst_first(accounts)
    others = by_loss[max_files:]
    summed = [replace(add_up(others), video=f"{len(others):,} other files")] if others else []
    text = _aligned([*by_loss[:max_files], *summed, add_up(accounts)]) + "\n\n" + sum_in_words(accounts)
    if others:
        text += "; each of them is in the store's accounts.csv"
    text += "".join(f"\n  {a.status}: {a.video}: {a.message}" for a in troubled[:max_files])
    if len(troubled) > max_files:
        text += f"\n  ... {len(troubled) - max_files} more; see the store's accounts.csv"
    text += "".join(f"\n  note: {a.video}: {a.notes}" for a in noted[:max_files])
    return text


def _aligned(accounts: Sequence[Account]) -> str:
    """One line per account; the last one is their sum, whose reasons become columns."""
    reasons = list(accounts[-1].not_written)
    lines = [["video", "decoded", "written", *reasons, "tracks", "crops"]]
    for one in accounts:
        left_out = [one.not_written.get(reason, 0) for reason in reasons]
        numbers = [one.num_decoded, one.num_written, *left_out, one.num_tracks, one.num_crops]
        lines.append([one.video, *(f"{number:,}" for number in numbers)])
    first, *others = (max(map(len, column)) for column in zip(*lines, strict=True))
    rows = [
        name.ljust(first) + "".join(f"  {cell:>{width}}" for cell, width in zip(cells, others, strict=True))
        for name, *cells in lines
    ]
    rule = "-" * len(rows[0])
    return "\n".join([rows[0], rule, *rows[1:-1], rule, rows[-1]])
