"""Which share of a batch's losses trains: the easiest half at first, harder ones whenever progress stalls.

The curriculum of Wiles, Koepke & Zisserman, BMVC 2018 (FAb-Net), also used by TCAE. There the validation loss
decides; here the training loss over windows of steps does, for no clip is set apart.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from mien.losses.percentile_band import percentile_band_mean

_BEGINS = (0.0, float("inf"), 0.0, 0.0)


@dataclass(frozen=True)
class CurriculumSettings:
    """When the band of percentiles moves on."""

    window_steps: int = 750  # steps whose mean loss is compared: an epoch of the paper's videos
    patience_windows: int = 15  # windows without progress after which the band moves
    width_tenths: int = 5  # tenths of the batch that train
    last_tenth: int = 9  # the band stops when its upper end is here

    def __post_init__(self) -> None:
        if self.window_steps < 1 or self.patience_windows < 1:
            raise ValueError("window_steps and patience_windows: at least 1")
        if not 1 <= self.width_tenths <= self.last_tenth <= 10:
            raise ValueError(
                f"width_tenths = {self.width_tenths}, last_tenth = {self.last_tenth}: "
                "expected 1 <= width_tenths <= last_tenth <= 10"
            )


class PercentileCurriculum(nn.Module):
    """The band [low, high) of sorted losses and the memory that decides when it moves up by a tenth."""

    loss_sum: Tensor

    def __init__(self, settings: CurriculumSettings) -> None:
        super().__init__()
        self.settings = settings
        self.register_buffer("loss_sum", torch.zeros((), dtype=torch.float64))
        self._low_tenth, self._best, self._stalled_windows, self._steps = _BEGINS

    @property
    def low(self) -> float:
        """The share of the batch that is too easy by now."""
        return self._low_tenth / 10

    @property
    def high(self) -> float:
        """The share from which losses are too hard as yet."""
        return (self._low_tenth + self.settings.width_tenths) / 10

    def mean(self, losses_N: Tensor) -> Tensor:
        """The mean of the batch's losses within the band."""
        return percentile_band_mean(losses_N, low=self.low, high=self.high)

    @torch.no_grad()
    def observe(self, loss: Tensor) -> None:
        """Take in one step's loss; at a window's end see whether it is the best so far."""
        self.loss_sum += loss.detach()
        self._steps += 1
        if self._steps < self.settings.window_steps:
            return
        window_mean = float(self.loss_sum / self._steps)
        self.loss_sum.zero_()
        self._steps = 0
        self._stalled_windows = 0 if window_mean < self._best else self._stalled_windows + 1
        self._best = min(self._best, window_mean)
        if self._stalled_windows >= self.settings.patience_windows:
            self._move_up()

    def get_extra_state(self) -> Tensor:
        """What a resumed run needs beside `loss_sum`."""
        state = (self._low_tenth, self._best, self._stalled_windows, self._steps)
        return torch.tensor(state, dtype=torch.float64)

    def set_extra_state(self, state: Tensor) -> None:
        """Put back what `get_extra_state` gave."""
        self._low_tenth, self._best, self._stalled_windows, self._steps = state.tolist()

    def _move_up(self) -> None:
        if self._low_tenth + self.settings.width_tenths < self.settings.last_tenth:
            self._low_tenth += 1
        self._best, self._stalled_windows = float("inf"), 0
