"""Which share of a batch's losses trains: the easiest half at first, harder ones whenever progress stalls.

The curriculum of Wiles, Koepke & Zisserman, BMVC 2018 (FAb-Net), also used by TCAE. There the validation loss
decides; here the training loss over windows of steps does, for no clip is set apart.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from mien.layers.gather import mean_over_processes

WIDTH_TENTHS = 5
LAST_TENTH = 9  # the upper end of the last band
_BEGINS = (0.0, float("inf"), 0.0, 0.0)


class PercentileCurriculum(nn.Module):
    """The band [low, high) of sorted losses and the memory that decides when it moves up by a tenth."""

    loss_sum: Tensor

    def __init__(self, *, window_steps: int, patience_windows: int) -> None:
        """The band moves after `patience_windows` windows, of `window_steps` each, without a lower mean."""
        super().__init__()
        if window_steps < 1 or patience_windows < 1:
            raise ValueError(
                f"window_steps = {window_steps}, patience_windows = {patience_windows}: at least 1"
            )
        self.window_steps = window_steps
        self.patience_windows = patience_windows
        self.register_buffer("loss_sum", torch.zeros((), dtype=torch.float64))
        self._low_tenth, self._best, self._stalled_windows, self._steps = _BEGINS

    @property
    def low(self) -> float:
        """The share of the batch that is too easy by now."""
        return self._low_tenth / 10

    @property
    def high(self) -> float:
        """The share from which losses are too hard as yet."""
        return (self._low_tenth + WIDTH_TENTHS) / 10

    @torch.no_grad()
    def observe(self, loss: Tensor) -> None:
        """Take in a step's loss, the mean of all processes; at a window's end see if it is the best yet."""
        self.loss_sum += mean_over_processes(loss)
        self._steps += 1
        if self._steps < self.window_steps:
            return
        window_mean = float(self.loss_sum / self._steps)
        self.loss_sum.zero_()
        self._steps = 0
        self._stalled_windows = 0 if window_mean < self._best else self._stalled_windows + 1
        self._best = min(self._best, window_mean)
        if self._stalled_windows >= self.patience_windows:
            self._move_up()

    def get_extra_state(self) -> Tensor:
        """What a resumed run needs beside `loss_sum`."""
        state = (self._low_tenth, self._best, self._stalled_windows, self._steps)
        return torch.tensor(state, dtype=torch.float64)

    def set_extra_state(self, state: Tensor) -> None:
        """Put back what `get_extra_state` gave."""
        self._low_tenth, self._best, self._stalled_windows, self._steps = state.tolist()

    def _move_up(self) -> None:
        if self._low_tenth + WIDTH_TENTHS < LAST_TENTH:
            self._low_tenth += 1
        self._best, self._stalled_windows = float("inf"), 0
