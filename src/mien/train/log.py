"""What a run writes while it trains: a JSON line a window of steps, TensorBoard, a progress bar."""

from __future__ import annotations

import contextlib
import json
import math
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TextIO

import torch
from torch import Tensor
from tqdm import tqdm

from mien.train.tensor_file import DiskError, write_bytes_atomically


class LogWindow:
    """Means over the steps since the last line. NaN means "undefined at this step" and is left out.

    The sums stay on their device until they are asked for, so adding does not wait for the device.
    """

    def __init__(self) -> None:
        self._sums: dict[str, Tensor] = {}
        self._counts: dict[str, Tensor] = {}

    def add(self, values: Mapping[str, Tensor | float]) -> None:
        """Take in one step's values."""
        for name, value in values.items():
            scalar = torch.as_tensor(value).detach().double()
            defined = ~torch.isnan(scalar)
            kept = torch.where(defined, scalar, torch.zeros_like(scalar))
            self._sums[name] = self._sums.get(name, 0.0) + kept
            self._counts[name] = self._counts.get(name, 0.0) + defined.double()

    def take_means(self) -> dict[str, float]:
        """The mean of each name, NaN where it was never defined; the window is empty afterwards."""
        means = {name: float(self._sums[name] / self._counts[name]) for name in self._sums}
        self._sums, self._counts = {}, {}
        return means

    def state(self) -> dict[str, Tensor]:
        """What a checkpoint keeps."""
        sums = {f"sum.{name}": value for name, value in self._sums.items()}
        return sums | {f"count.{name}": value for name, value in self._counts.items()}

    def load_state(self, state: Mapping[str, Tensor], *, device: torch.device) -> None:
        """Put back what `state` gave."""
        self._sums = {name[4:]: value.to(device) for name, value in state.items() if name[:4] == "sum."}
        self._counts = {name[6:]: value.to(device) for name, value in state.items() if name[:6] == "count."}


class JsonLines:
    """An append-only file of one JSON object a line; NaN and infinities are written as null."""

    def __init__(self, path: Path, *, after_step: int) -> None:
        """Lines of later steps than `after_step`, and a half-written last one, are removed."""
        if path.exists():
            kept = [line for line in _whole_lines(path) if json.loads(line)["step"] <= after_step]
            write_bytes_atomically(path, "".join(line + "\n" for line in kept).encode())
        self._file = path.open("a", encoding="utf-8")

    def write(self, values: Mapping[str, Any]) -> None:
        """Append one line; DiskError when the disk is full."""
        finite = {
            name: None if isinstance(value, float) and not math.isfinite(value) else value
            for name, value in values.items()
        }
        try:
            self._file.write(json.dumps(finite) + "\n")
            self._file.flush()
        except OSError as error:
            raise DiskError(f"cannot write {self._file.name}: {error.strerror}") from error

    def sync(self) -> None:
        """On the disk when this returns: done before a checkpoint that relies on the lines."""
        os.fsync(self._file.fileno())

    def close(self) -> None:
        """Close the file."""
        with contextlib.suppress(OSError):
            self._file.close()


class TensorBoardLog:
    """Scalars under their own names, `logs/x` beside `train/y`."""

    def __init__(self, folder: Path, *, after_step: int) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self._writer = SummaryWriter(str(folder), purge_step=after_step + 1)

    def write(self, step: int, values: Mapping[str, float]) -> None:
        """One point a name."""
        for name, value in values.items():
            self._writer.add_scalar(name, value, step)

    def close(self) -> None:
        """Flush and close."""
        self._writer.close()


def progress_bar(*, total: int, done: int, stream: TextIO | None = None) -> tqdm[None]:
    """A bar over steps; where nobody watches (no terminal) it prints a line every half minute."""
    out = stream or sys.stderr
    return tqdm(
        total=total,
        initial=done,
        unit="step",
        file=out,
        dynamic_ncols=True,
        mininterval=0.5 if out.isatty() else 30.0,
    )


def _whole_lines(path: Path) -> list[str]:
    lines = path.read_text(encoding="utf-8", errors="replace").split("\n")[:-1]
    return [line for line in lines if _is_json(line)]


def _is_json(line: str) -> bool:
    try:
        return isinstance(json.loads(line), dict)
    except json.JSONDecodeError:
        return False
