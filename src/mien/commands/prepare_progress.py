"""The progress bar of `mien prepare`, and what it says of earlier runs."""

from __future__ import annotations

from mien.commands.file_progress import FileProgress
from mien.data.accounts import DONE, Account
from mien.data.jobs import FrameProgress
from mien.data.prepare import Plan
from mien.data.sources import Source


class ProgressBar:
    """A watcher of `mien.data.prepare`."""

    def __init__(self) -> None:
        self._files = FileProgress()

    def __enter__(self) -> ProgressBar:
        return self

    def __exit__(self, *error: object) -> None:
        self._files.close()

    def begins(self, plan: Plan) -> None:
        """Draw the empty bar, and say what an earlier run did."""
        if plan.num_done:
            print(f"{plan.num_done:,} videos are done already, {len(plan.pending):,} to go", flush=True)
        if plan.num_changed:
            print(f"{plan.num_changed:,} of these have changed since, or were cut short; they are done again")
        if plan.num_unreadable:
            print(f"{plan.num_unreadable:,} of those done cannot be read now; their crops are kept")
        self._files.begins({source.video: _size(source) for source in plan.pending})

    def is_at(self, source: Source, progress: FrameProgress) -> None:
        """Move within a file."""
        self._files.is_at(source.video, progress)

    def has(self, source: Source, account: Account) -> None:
        """Count a whole file."""
        self._files.has(source.video, num_frames=account.num_decoded, troubled=account.status != DONE)


def _size(source: Source) -> int:
    if source.url:
        return max(1, source.listed.size_bytes) if source.listed else 1
    try:
        return max(1, source.path.stat().st_size)
    except OSError:
        return 1
