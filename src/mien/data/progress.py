"""Progress bars: redrawn on a terminal, otherwise one line every half minute."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Iterator, Mapping
from typing import TextIO, TypeVar

from tqdm import tqdm

from mien.data.jobs import FrameProgress

T = TypeVar("T")

_SECONDS_BEFORE_A_BAR = 10.0  # of work that is mostly quicker than that
_SECONDS_BETWEEN_LINES = 30.0  # if the output is not a terminal


def progress_bar(
    *, total: int, unit: str, done: int = 0, desc: str = "", file: TextIO | None = None, delay: float = 0.0
) -> tqdm:
    """A bar whose time left follows from the mean rate of this run. `done`: by an earlier run."""
    out = file or sys.stderr
    amount = "" if unit == "B" else "{n:,.0f}/{total:,.0f} {unit}, "
    return tqdm(
        total=total,
        initial=done,
        unit=unit,
        desc=desc,
        file=out,
        dynamic_ncols=True,
        delay=delay,
        smoothing=0,
        mininterval=0.3 if out.isatty() else _SECONDS_BETWEEN_LINES,
        bar_format="{desc}{percentage:3.0f}%|{bar}| " + amount + "{elapsed}, {remaining} left{postfix}",
    )


def with_bar(items: Iterable[T], *, total: int, unit: str, desc: str) -> Iterator[T]:
    """The items, with a progress bar once they take longer than ten seconds."""
    with progress_bar(total=total, unit=unit, desc=desc, delay=_SECONDS_BEFORE_A_BAR) as bar:
        for item in items:
            yield item
            bar.update()


class FileProgress:
    """A bar over files. Time left follows from their bytes, which are known beforehand; frames are shown."""

    def __init__(self) -> None:
        self._bar: tqdm | None = None
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
            self._bar = progress_bar(total=sum(size_of.values()), unit="B")

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
