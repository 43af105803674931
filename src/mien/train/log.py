"""What a run writes while it trains: a JSON line a window of steps, TensorBoard, a progress bar."""

from __future__ import annotations

import contextlib
import json
import math
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mien.io import WriteError, write_bytes


class LogWindow:
    """Means over the steps since the last line. NaN means "undefined at this step" and is left out.

    The sums stay on their device until they are asked for, and all values of a device are added in one go,
    so adding neither waits for the device nor keeps it busy.
    """

    def __init__(self) -> None:
        self._sums: dict[torch.device, _Sums] = {}
        self._restored: dict[str, Tensor] = {}  # (2,) sum and count, until the name turns up again

    def add(self, values: Mapping[str, Tensor | float]) -> None:
        """Take in one step's values."""
        by_device: dict[torch.device, dict[str, Tensor]] = {}
        for name, value in values.items():
            scalar = torch.as_tensor(value).detach().double()
            by_device.setdefault(scalar.device, {})[name] = scalar
        for device, scalars in by_device.items():
            if device not in self._sums:
                self._sums[device] = _Sums(device)
            self._sums[device].add(scalars, self._restored)

    def take_means(self) -> dict[str, float]:
        """The mean of each name, NaN where it was never defined; the window is empty afterwards."""
        means = {}
        for name, (total, count) in zip(self._names(), self._on_host().tolist(), strict=True):
            means[name] = total / count if count else math.nan
        self._sums, self._restored = {}, {}
        return means

    def share(self, mean_over_processes: Callable[[Tensor], Tensor]) -> None:
        """Replace the sums and counts by their means over all processes, on each of them."""
        shared_N2 = mean_over_processes(self._on_host())
        names = self._names()
        self._sums = {}
        self._restored = dict(zip(names, shared_N2, strict=True))

    def state(self) -> dict[str, Tensor]:
        """What a checkpoint keeps."""
        pairs = dict(zip(self._names(), self._on_host(), strict=True))
        sums = {f"sum.{name}": pair[0] for name, pair in pairs.items()}
        return sums | {f"count.{name}": pair[1] for name, pair in pairs.items()}

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """Put back what `state` gave."""
        names = [name[4:] for name in state if name[:4] == "sum."]
        self._sums = {}
        self._restored = {
            name: torch.stack([state[f"sum.{name}"], state[f"count.{name}"]]).double() for name in names
        }

    def _names(self) -> list[str]:
        return [*(name for sums in self._sums.values() for name in sums.names), *self._restored]

    def _on_host(self) -> Tensor:
        """(N, 2) sums and counts in the order of `_names`."""
        parts = [sums.total_2N.T.cpu() for sums in self._sums.values()]
        parts += [pair[None] for pair in self._restored.values()]
        return torch.cat(parts) if parts else torch.empty(0, 2, dtype=torch.float64)


class _Sums:
    """Sums and counts of the values of one device."""

    def __init__(self, device: torch.device) -> None:
        self.names: list[str] = []
        self.total_2N = torch.empty(2, 0, dtype=torch.float64, device=device)

    def add(self, scalars: Mapping[str, Tensor], restored: dict[str, Tensor]) -> None:
        """Add a value a name; a name's first finds its restored sum and count, if there are any."""
        for name in [name for name in scalars if name not in self.names]:
            before = restored.pop(name, torch.zeros(2, dtype=torch.float64))
            before_21 = before.to(self.total_2N.device, non_blocking=True)[:, None]
            self.names.append(name)
            self.total_2N = torch.cat([self.total_2N, before_21], dim=1)
        nothing = self.total_2N.new_full((), math.nan)
        value_N = torch.stack([scalars.get(name, nothing) for name in self.names])
        defined_N = ~torch.isnan(value_N)
        self.total_2N += torch.stack([torch.where(defined_N, value_N, 0.0), defined_N.double()])


class JsonLines:
    """An append-only file of one JSON object a line; NaN and infinities are written as null."""

    def __init__(self, path: Path, *, after_step: int) -> None:
        """Lines of later steps than `after_step`, and a half-written last one, are removed."""
        if path.exists():
            kept = [line for line in _whole_lines(path) if json.loads(line)["step"] <= after_step]
            write_bytes(path, "".join(line + "\n" for line in kept).encode())
        self._file = path.open("a", encoding="utf-8")

    def write(self, values: Mapping[str, Any]) -> None:
        """Append one line; WriteError when the disk is full."""
        finite = {
            name: None if isinstance(value, float) and not math.isfinite(value) else value
            for name, value in values.items()
        }
        try:
            self._file.write(json.dumps(finite) + "\n")
            self._file.flush()
        except OSError as error:
            raise WriteError.of(Path(self._file.name), error) from error

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


def _whole_lines(path: Path) -> list[str]:
    lines = path.read_text(encoding="utf-8", errors="replace").split("\n")[:-1]
    return [line for line in lines if _is_json(line)]


def _is_json(line: str) -> bool:
    try:
        return isinstance(json.loads(line), dict)
    except json.JSONDecodeError:
        return False
