"""Times by turns: what is compared runs under the same neighbours, and the least time of each counts."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch

Work = Callable[[], object]


@dataclass(frozen=True)
class Turns:
    """How often things are timed, and by what clock."""

    rounds: int
    device: torch.device
    cpu_time: bool = False  # this process's seconds on the CPU: what neighbours take is not counted

    def least_seconds(self, arms: Mapping[str, Work], *, rounds: int | None = None) -> dict[str, float]:
        """The least time of each arm over the turns; a first turn, not counted, warms up."""
        now = time.process_time if self.cpu_time else time.perf_counter
        least = dict.fromkeys(arms, float("inf"))
        for turn in range((rounds or self.rounds) + 1):
            for name, work in arms.items():
                self._settle()
                began = now()
                work()
                self._settle()
                if turn:
                    least[name] = min(least[name], now() - began)
        return least

    def _settle(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
