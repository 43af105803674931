"""Pairs of frames of one person: their order, and what the methods share that warp one into the other."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from mien.backbones import Backbone
from mien.layers.curriculum import PercentileCurriculum
from mien.layers.gather import draw_rows
from mien.losses.percentile_band import percentile_band_mean
from mien.train.method import ClipBatch, ClipRequest, Method, Views


def in_random_order(views_B2CHW: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """(B, C, H, W) twice: the two frames of each row, which comes first left to chance."""
    swapped_B = draw_rows(len(views_B2CHW), generator=generator) < 0.5
    swapped_B111 = swapped_B.to(views_B2CHW.device, non_blocking=True)[:, None, None, None]
    earlier, later = views_B2CHW.unbind(dim=1)
    return torch.where(swapped_B111, later, earlier), torch.where(swapped_B111, earlier, later)


@dataclass(frozen=True)
class WarpSettings:
    """The release's values of FAb-Net and TCAE alike."""

    code_dim: int = 256  # of each code
    flow_side_px: int = 256  # the decoder's field, scaled to the views; a power of two is best
    decoder_width: int = 32
    # The releases crop each frame by itself; see docs/pretrain.md.
    views_in_pair: Literal["independent", "shared"] = "shared"
    window_steps: int = 750  # the curriculum compares mean losses of so many steps: the paper's epoch
    patience_windows: int = 15  # windows without progress before harder pairs are let in


class WarpMethod(Method):
    """A method that warps the source frame of a pair into the target, easy pairs first."""

    def __init__(self, backbone: Backbone, settings: WarpSettings) -> None:
        super().__init__(backbone)
        self.settings = settings
        self.curriculum = PercentileCurriculum(
            window_steps=settings.window_steps, patience_windows=settings.patience_windows
        )
        self._loss_of_all_pairs = torch.zeros(())

    @classmethod
    def clip_request(cls, settings: WarpSettings) -> ClipRequest:
        """Two frames of a track, any distance apart."""
        return ClipRequest(clip_len=0, num_far_frames=2, min_gap_frames=1)

    def after_step(self) -> None:
        """The curriculum hears of the step's loss."""
        self.curriculum.observe(self._loss_of_all_pairs)

    def _source_and_target(
        self, batch: ClipBatch, views: Views, generator: torch.Generator
    ) -> tuple[Tensor, Tensor]:
        """(B, C, H, W) twice: views of the two frames of each row, which is the source left to chance."""
        return in_random_order(getattr(views, self.settings.views_in_pair)(batch.far_BLHWC), generator)

    def _band(self, losses_N: Tensor) -> Tensor:
        """The mean over the curriculum's band of the sorted losses."""
        return percentile_band_mean(losses_N, low=self.curriculum.low, high=self.curriculum.high)

    def _logs(self, losses_N: Tensor, source_NCHW: Tensor, target_NCHW: Tensor) -> dict[str, Tensor]:
        """Of reconstruction losses, for the curriculum too, beside the loss of the source as it was."""
        self._loss_of_all_pairs = losses_N.detach().mean()
        unmoved = (source_NCHW - target_NCHW).abs().mean()
        band_low = torch.tensor(self.curriculum.low)
        return {"reconstruction_of_unmoved": self._loss_of_all_pairs / unmoved, "band_low": band_low}
