"""The log of a run: means over windows of steps, one JSON line for each."""

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

    Values stay on their device until they are read, so adding does not synchronise.
    """

    def __init__(self) -> None:
        self._sums: dict[str, list[float]] = {}  # sum and count
        self._added: list[tuple[str, Tensor]] = []  # not yet summed, still on their devices

    def add(self, values: Mapping[str, Tensor | float]) -> None:
        """Add the values of one step."""
        for name, value in values.items():
            scalar = torch.as_tensor(value).detach()
            self._added.append((name, scalar.to(torch.float64, copy=True)))

    def take_means(self) -> dict[str, float]:
        """The mean of each name, NaN where it was never defined; the window is empty afterwards."""
        sums, self._sums = self._summed(), {}
        return {name: total / count if count else math.nan for name, (total, count) in sums.items()}

    def share(self, mean_over_processes: Callable[[Tensor], Tensor]) -> None:
        """Replace the sums and counts by their means over all processes, on each of them."""
        sums = self._summed()
        shared_N2 = mean_over_processes(torch.tensor(list(sums.values()), dtype=torch.float64).view(-1, 2))
        self._sums = dict(zip(sums, shared_N2.tolist(), strict=True))

    def state(self) -> dict[str, Tensor]:
        """The part of a checkpoint."""
        pairs = {name: torch.tensor(pair, dtype=torch.float64) for name, pair in self._summed().items()}
        sums = {f"sum.{name}": pair[0] for name, pair in pairs.items()}
        return sums | {f"count.{name}": pair[1] for name, pair in pairs.items()}

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """Restore what `state` returned."""
        names = [name[4:] for name in state if name[:4] == "sum."]
        self._sums = {name: [float(state[f"sum.{name}"]), float(state[f"count.{name}"])] for name in names}

    def _summed(self) -> dict[str, list[float]]:
        """The sums with the added values, in one copy per device; names in order of adding."""
        added, self._added = self._added, []
        by_device: dict[torch.device, list[tuple[str, Tensor]]] = {}
        for name, scalar in added:
            by_device.setdefault(scalar.device, []).append((name, scalar))
        before, self._sums = self._sums, {}
        for named in by_device.values():
            values = torch.stack([scalar for _, scalar in named]).tolist()
            for (name, _), value in zip(named, values, strict=True):
                pair = self._sums.setdefault(name, before.pop(name, [0.0, 0.0]))
                if not math.isnan(value):
                    pair[0] += value
                    pair[1] += 1.0
        self._sums |= before
        return self._sums


class JsonLines:
    """An append-only file with one JSON object per line; NaN and infinities are written as null."""

    def __init__(self, path: Path, *, after_step: int) -> None:
        """Remove lines of steps after `after_step`, and an incomplete last line."""
        if path.exists():
            write_bytes(path, _lines_until(path, after_step).encode())
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
        """Flush to the disk, before a checkpoint that relies on the lines."""
        os.fsync(self._file.fileno())

    def close(self) -> None:
        """Close the file."""
        with contextlib.suppress(OSError):
            self._file.close()


def _lines_until(path: Path, step: int) -> str:
    """The lines up to a step. Later ones may be incomplete if the run was killed."""
    kept = []
    with contextlib.suppress(ValueError), path.open(encoding="utf-8", errors="replace") as file:
        for line in file:
            if json.loads(line)["step"] > step:
                break
            kept.append(line)
    return "".join(kept)
