"""FAb-Net: from two frames of one person, warp the first into the second through two codes.

Wiles, Koepke & Zisserman, Self-supervised learning of a facial attribute embedding from video, BMVC 2018,
with one source frame. The release's encoder is eight strided convolutions; here it is the run's backbone.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from mien.backbones import Backbone
from mien.data.views import views_to_pictures
from mien.layers.curriculum import PercentileCurriculum
from mien.layers.flow_decoder import FlowDecoder
from mien.layers.flow_warp import warp
from mien.losses.percentile_band import percentile_band_mean
from mien.methods._pairs import PairViews, source_and_target
from mien.train.method import METHODS, ClipBatch, ClipRequest, Method, StepOutput, Views


@METHODS.register("fabnet")
class FabNet(Method):
    """Backbone, a linear code, a decoder of both codes to a flow."""

    @dataclass(frozen=True)
    class Settings:
        """The release's values."""

        code_dim: int = 256
        flow_side_px: int = 256  # the decoder's field, scaled to the views; a power of two is best
        decoder_width: int = 32
        views_in_pair: PairViews = "shared"  # the release crops each frame by itself; see docs/pretrain.md
        window_steps: int = 750  # the curriculum compares mean losses of so many steps: the paper's epoch
        patience_windows: int = 15  # windows without progress before harder pairs are let in

    def __init__(self, backbone: Backbone, settings: Settings) -> None:
        super().__init__(backbone)
        self.settings = settings
        self.code = nn.Linear(backbone.feature_dim, settings.code_dim)
        self.decoder = FlowDecoder(
            2 * settings.code_dim, side_px=settings.flow_side_px, width=settings.decoder_width
        )
        self.curriculum = PercentileCurriculum(
            window_steps=settings.window_steps, patience_windows=settings.patience_windows
        )
        self._loss_of_all_pairs = torch.zeros(())

    @classmethod
    def clip_request(cls, settings: Settings) -> ClipRequest:
        """Two frames of a track, any distance apart."""
        return ClipRequest(clip_len=0, num_far_frames=2, min_gap_frames=1)

    def encoder_rows(self, clips: int) -> int:
        """Source and target."""
        return 2 * clips

    def training_step(self, batch: ClipBatch, views: Views, generator: torch.Generator) -> StepOutput:
        """L1 between warped source and target, mean over the curriculum's band."""
        source_NCHW, target_NCHW = source_and_target(
            batch.far_BLHWC, views, generator, views_in_pair=self.settings.views_in_pair
        )
        pictures_NCHW, _ = self.reconstruct(source_NCHW, target_NCHW)
        target_picture_NCHW = views_to_pictures(target_NCHW)
        losses_N = (pictures_NCHW - target_picture_NCHW).abs().mean(dim=(1, 2, 3))
        loss = percentile_band_mean(losses_N, low=self.curriculum.low, high=self.curriculum.high)
        self._loss_of_all_pairs = losses_N.detach().mean()
        unmoved = (views_to_pictures(source_NCHW) - target_picture_NCHW).abs().mean()
        logs = {
            "reconstruction": self._loss_of_all_pairs,
            "reconstruction_of_unmoved": self._loss_of_all_pairs / unmoved,
        }
        return StepOutput(loss, logs | {"band_low": torch.tensor(self.curriculum.low)})

    def reconstruct(self, source_NCHW: Tensor, target_NCHW: Tensor) -> tuple[Tensor, Tensor]:
        """(N, 3, h, w) source pictures in [0, 1] warped to the target's pose and face, and the flow."""
        codes_MD = self.code(self.backbone(torch.cat([source_NCHW, target_NCHW])))
        flow_N2hw, _ = self.decoder(torch.cat(codes_MD.chunk(2), dim=1))
        return warp(views_to_pictures(source_NCHW), flow_N2hw), flow_N2hw

    def after_step(self) -> None:
        """The curriculum hears of the step's loss."""
        self.curriculum.observe(self._loss_of_all_pairs)
