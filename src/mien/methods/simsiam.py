"""SimSiam: one view predicts the other's projection; no negatives, no momentum, a stopped gradient.

Chen & He, Exploring Simple Siamese Representation Learning, CVPR 2021.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from mien.backbones import Backbone
from mien.layers.mlp import batch_norm_mlp
from mien.losses.negative_cosine import symmetric_negative_cosine
from mien.losses.unit import unit
from mien.train.method import METHODS, ClipBatch, Method, StepOutput, Views


@METHODS.register("simsiam")
class SimSiam(Method):
    """Backbone, projector of three maps, predictor of two."""

    @dataclass(frozen=True)
    class Settings:
        """The release's values; the projector's hidden maps are as wide as the backbone's feature."""

        projection_dim: int = 2048
        prediction_hidden_dim: int = 512

    def __init__(self, backbone: Backbone, settings: Settings) -> None:
        super().__init__(backbone)
        self.settings = settings
        D, P = backbone.feature_dim, settings.projection_dim
        maps = batch_norm_mlp(D, D, D, P, output_bias=False)
        self.projector = nn.Sequential(maps, nn.BatchNorm1d(P, affine=False))
        self.predictor = batch_norm_mlp(P, settings.prediction_hidden_dim, P)

    def encoder_rows(self, clips: int) -> int:
        """Two views of each frame."""
        return 2 * clips

    def training_step(self, batch: ClipBatch, views: Views, generator: torch.Generator) -> StepOutput:
        """The symmetric loss of two independent views of each frame."""
        # each view passes by itself: batch-norm must not mix the two
        projection_a_ND = self._project(views.independent(batch.far_BLHWC))
        projection_b_ND = self._project(views.independent(batch.far_BLHWC))
        loss = symmetric_negative_cosine(
            self.predictor(projection_a_ND), projection_b_ND, self.predictor(projection_b_ND), projection_a_ND
        )
        return StepOutput(loss, {"spread": _spread(projection_a_ND.detach())})

    def warnings(self, logs: dict[str, float]) -> list[str]:
        """Says when the projections have become one direction."""
        if logs["spread"] < 0.1:
            return [
                f"collapsing: the projections' spread is {logs['spread']:.2f}; 1 is healthy, 0 is one point"
            ]
        return []

    def _project(self, views_BLCHW: Tensor) -> Tensor:
        projection_ND: Tensor = self.projector(self.backbone(views_BLCHW.flatten(0, 1)))
        return projection_ND


def _spread(projection_ND: Tensor) -> Tensor:
    """Mean deviation of the unit rows' entries, times sqrt(D): 1 if isotropic, 0 if equal."""
    unit_ND = unit(projection_ND)
    return unit_ND.std(dim=0, correction=0).mean() * math.sqrt(unit_ND.shape[1])
