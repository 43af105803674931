"""FAb-Net: from two frames of one person, warp the first into the second through two codes.

Wiles, Koepke & Zisserman, Self-supervised learning of a facial attribute embedding from video, BMVC 2018,
with one source frame. The release's encoder is eight strided convolutions; here it is the run's backbone.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from mien.backbones import Backbone
from mien.data.views import views_to_pictures
from mien.layers.flow_decoder import FlowDecoder
from mien.layers.flow_warp import warp
from mien.methods._pairs import WarpMethod, WarpSettings
from mien.train.method import METHODS, ClipBatch, StepOutput, Views


@METHODS.register("fabnet")
class FabNet(WarpMethod):
    """Backbone, a linear code, a decoder of both codes to a flow."""

    Settings = WarpSettings

    def __init__(self, backbone: Backbone, settings: WarpSettings) -> None:
        super().__init__(backbone, settings)
        self.code = nn.Linear(backbone.feature_dim, settings.code_dim)
        self.decoder = FlowDecoder(
            2 * settings.code_dim, side_px=settings.flow_side_px, width=settings.decoder_width
        )

    def encoder_rows(self, clips: int) -> int:
        """Source and target."""
        return 2 * clips

    def training_step(self, batch: ClipBatch, views: Views, generator: torch.Generator) -> StepOutput:
        """L1 between warped source and target, mean over the curriculum's band."""
        source_NCHW, target_NCHW = self._source_and_target(batch, views, generator)
        pictures_NCHW, _ = self.reconstruct(source_NCHW, target_NCHW)
        target_picture_NCHW = views_to_pictures(target_NCHW)
        losses_N = (pictures_NCHW - target_picture_NCHW).abs().mean(dim=(1, 2, 3))
        logs = self._logs(losses_N, views_to_pictures(source_NCHW), target_picture_NCHW)
        return StepOutput(self._band(losses_N), {"reconstruction": losses_N.detach().mean(), **logs})

    def reconstruct(self, source_NCHW: Tensor, target_NCHW: Tensor) -> tuple[Tensor, Tensor]:
        """(N, 3, h, w) source pictures in [0, 1] warped to the target's pose and face, and the flow."""
        codes_MD = self.code(self.backbone(torch.cat([source_NCHW, target_NCHW])))
        flow_N2hw, _ = self.decoder(torch.cat(codes_MD.chunk(2), dim=1))
        return warp(views_to_pictures(source_NCHW), flow_N2hw), flow_N2hw
