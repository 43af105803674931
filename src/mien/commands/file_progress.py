"""A progress bar over files: how many are done, frames, frames a second, time left."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping

from tqdm import tqdm

from mien.data.jobs import FrameProgress

_SECONDS_BETWEEN_LINES = 30.0  # where the output is no terminal


class FileProgress:
    """Counts bytes of source files, which are known beforehand, to tell the time left; shows frames."""

    def __init__(self) -> None:
        self._bar: tqdm[None] | None = None
        self._size_of: Mapping[str, int] = {}
        self._under_way: dict[str, FrameProgress] = {}
        self._bytes_done = 0
        self._frames_done = 0
        self._num_files = 0
        self._num_troubled = 0
        self._began = time.monotonic()

    def __enter__(self) -> FileProgress:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """Leave the bar as it stands."""
        if self._bar is not None:
            self._bar.close()

    def begins(self, size_of: Mapping[str, int]) -> None:
        """Draw the empty bar; `size_of` gives each file's bytes by its name."""
        self._size_of = size_of
        self._began = time.monotonic()
        self._bar = tqdm(
            total=sum(size_of.values()),
            bar_format="{percentage:3.0f}%|{bar}| {desc}, {remaining} left",
            mininterval=0.3 if sys.stderr.isatty() else _SECONDS_BETWEEN_LINES,
            dynamic_ncols=True,
        )

    def is_at(self, name: str, progress: FrameProgress) -> None:
        """Move within a file."""
        self._under_way[name] = progress
        self._draw()

    def has(self, name: str, *, num_frames: int, troubled: bool) -> None:
        """Count a whole file."""
        self._under_way.pop(name, None)
        self._bytes_done += self._size_of[name]
        self._frames_done += num_frames
        self._num_files += 1
        self._num_troubled += troubled
        self._draw()

    def _draw(self) -> None:
        if self._bar is None:
            return
        frames = self._frames_done + sum(at.num_frames for at in self._under_way.values())
        inside = sum(int(at.share * self._size_of[name]) for name, at in self._under_way.items())
        rate = frames / max(time.monotonic() - self._began, 1e-3)
        files = f"{self._num_files:,}/{len(self._size_of):,} files"
        trouble = f" ({self._num_troubled:,} skipped or partial)" if self._num_troubled else ""
        self._bar.set_description_str(
            f"{files}{trouble}, {frames:,} frames, {rate:,.0f} frames/s", refresh=False
        )
        self._bar.update(self._bytes_done + inside - self._bar.n)
