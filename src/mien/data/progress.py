"""Progress bars: redrawn on a terminal, otherwise one line every half minute."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, TextIO, TypeVar

from tqdm import tqdm

from mien.data.jobs import FrameProgress

T = TypeVar("T")

_SECONDS_BEFORE_A_BAR = 10.0  # of work that is mostly quicker than that
_SECONDS_BETWEEN_LINES = 30.0  # if the output is not a terminal
_SETTLED_SHARE = 0.05  # of the work ...
_SETTLED_SECONDS = 60.0  # ... or so long after the first step


class ProgressBar(tqdm):  # type: ignore[misc]
    """tqdm with a steady estimate of the time left.

    The rate is the mean since the first update, so starting workers or loading models is not part of it, and
    the time left appears after a twentieth of the work or a minute.
    """

    def __init__(
        self,
        *,
        total: int,
        unit: str,
        done: int = 0,
        desc: str = "",
        file: TextIO | None = None,
        delay: float = 0.0,
    ):
        self._first: tuple[float, float] | None = None  # seconds and position at the first update
        out = file or sys.stderr
        super().__init__(
            total=total,
            initial=done,
            unit=unit,
            desc=desc or None,
            file=out,
            dynamic_ncols=True,
            delay=delay,
            mininterval=0.3 if out.isatty() else _SECONDS_BETWEEN_LINES,
            bar_format="{desc}{percentage:3.0f}%|{bar}| {amount}{elapsed}{left}{postfix}",
        )

    def update(self, n: float = 1) -> None:
        """Advance by `n`."""
        if self._first is None:
            self._first = (time.monotonic(), self.n + n)
        super().update(n)

    @property
    def format_dict(self) -> dict[str, Any]:
        """tqdm's values, with `amount` and `left`."""
        values: dict[str, Any] = super().format_dict
        amount = f"{self.n:,.0f}/{self.total:,.0f} {self.unit}, " if self.unit != "B" else ""
        seconds = self.seconds_left()
        left = "" if seconds is None else f", {self.format_interval(seconds)} left"
        return values | {"amount": amount, "left": left}

    def seconds_left(self) -> float | None:
        """None before the rate has settled."""
        if self._first is None:
            return None
        began, first = self._first
        seconds, done, total = time.monotonic() - began, self.n - first, self.total - first
        if done <= 0 or (done < _SETTLED_SHARE * total and seconds < _SETTLED_SECONDS):
            return None
        return float((self.total - self.n) * seconds / done)


def with_bar(items: Iterable[T], *, total: int, unit: str, desc: str) -> Iterator[T]:
    """The items, with a progress bar once they take longer than ten seconds."""
    with ProgressBar(total=total, unit=unit, desc=desc, delay=_SECONDS_BEFORE_A_BAR) as bar:
        for item in items:
            yield item
            bar.update()


class FileProgress:
    """A bar over files. Time left follows from their bytes, which are known beforehand; frames are shown."""

    def __init__(self) -> None:
        self._bar: ProgressBar | None = None
        self.size_of: Mapping[str, int] = {}
        self._under_way: dict[str, FrameProgress] = {}
        self._bytes_done = 0
        self._frames_done = 0
        self._num_files = 0
        self._num_troubled = 0

    def __enter__(self) -> FileProgress:
        return self

    def __exit__(self, *error: object) -> None:
        if self._bar is not None:
            self._bar.close()

    def begins(self, size_of: Mapping[str, int], *, note: str = "") -> None:
        """Print the note; draw the empty bar if there is work.

        size_of: bytes, or another measure of length, by file.
        """
        print(note, end="", flush=True)
        self.size_of = size_of
        self._began = time.monotonic()
        if size_of:
            self._bar = ProgressBar(total=sum(size_of.values()), unit="B")

    def is_at(self, name: str, progress: FrameProgress) -> None:
        """Move within a file."""
        self._under_way[name] = progress
        self._draw()

    def has(self, name: str, *, num_frames: int, troubled: bool) -> None:
        """Count a whole file."""
        self._under_way.pop(name, None)
        self._bytes_done += self.size_of[name]
        self._frames_done += num_frames
        self._num_files += 1
        self._num_troubled += troubled
        self._draw()

    def _draw(self) -> None:
        if self._bar is None:
            return
        frames = self._frames_done + sum(at.num_frames for at in self._under_way.values())
        inside = sum(int(at.share * self.size_of[name]) for name, at in self._under_way.items())
        rate = frames / max(time.monotonic() - self._began, 1e-3)
        files = f"{self._num_files:,}/{len(self.size_of):,} files"
        trouble = f" ({self._num_troubled:,} skipped or partial)" if self._num_troubled else ""
        self._bar.set_postfix_str(f"{files}{trouble}, {frames:,} frames, {rate:,.0f} frames/s", refresh=False)
        self._bar.update(self._bytes_done + inside - self._bar.n)
