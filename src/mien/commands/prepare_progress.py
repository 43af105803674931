"""The progress bar of `mien prepare`: files, frames, frames a second, time left."""

from __future__ import annotations

import sys
import time
from types import TracebackType

from tqdm import tqdm

from mien.data.accounts import DONE, Account
from mien.data.prepare import FrameProgress, Plan
from mien.data.sources import Source

_SECONDS_BETWEEN_LINES = 30.0  # where the output is no terminal


class ProgressBar:
    """Counts bytes of source files, which are known beforehand, to tell the time left; shows frames."""

    def __init__(self) -> None:
        self._bar: tqdm[None] | None = None
        self._size_of: dict[str, int] = {}
        self._under_way: dict[str, FrameProgress] = {}
        self._bytes_done = 0
        self._frames_done = 0
        self._num_files = 0
        self._num_troubled = 0
        self._began = time.monotonic()

    def __enter__(self) -> ProgressBar:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.close()

    def begins(self, plan: Plan) -> None:
        """Draw the empty bar, and say what an earlier run did."""
        if plan.num_done:
            print(f"{plan.num_done:,} videos are done already, {len(plan.pending):,} to go", flush=True)
        if plan.num_changed:
            print(f"{plan.num_changed:,} of these have changed since, or were cut short; they are done again")
        if plan.num_unreadable:
            print(f"{plan.num_unreadable:,} of those done cannot be read now; their crops are kept")
        self._size_of = {source.video: _size(source) for source in plan.pending}
        self._began = time.monotonic()
        self._bar = tqdm(
            total=sum(self._size_of.values()),
            bar_format="{percentage:3.0f}%|{bar}| {desc}, {remaining} left",
            mininterval=0.3 if sys.stderr.isatty() else _SECONDS_BETWEEN_LINES,
            dynamic_ncols=True,
        )

    def is_at(self, source: Source, progress: FrameProgress) -> None:
        """Move within a file."""
        self._under_way[source.video] = progress
        self._draw()

    def has(self, source: Source, account: Account) -> None:
        """Count a whole file."""
        self._under_way.pop(source.video, None)
        self._bytes_done += self._size_of[source.video]
        self._frames_done += account.num_decoded
        self._num_files += 1
        self._num_troubled += account.status != DONE
        self._draw()

    def _draw(self) -> None:
        if self._bar is None:
            return
        frames = self._frames_done + sum(at.num_frames for at in self._under_way.values())
        inside = sum(int(at.share * self._size_of[video]) for video, at in self._under_way.items())
        rate = frames / max(time.monotonic() - self._began, 1e-3)
        files = f"{self._num_files:,}/{len(self._size_of):,} files"
        trouble = f" ({self._num_troubled:,} skipped or partial)" if self._num_troubled else ""
        self._bar.set_description_str(
            f"{files}{trouble}, {frames:,} frames, {rate:,.0f} frames/s", refresh=False
        )
        self._bar.update(self._bytes_done + inside - self._bar.n)


def _size(source: Source) -> int:
    try:
        return max(1, source.path.stat().st_size)
    except OSError:
        return 1
