"""SimCLR: two views of a frame find each other among all the views of the batch.

Chen et al., A Simple Framework for Contrastive Learning of Visual Representations, ICML 2020.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from mien.backbones import Backbone
from mien.layers.mlp import batch_norm_mlp, mlp
from mien.losses.nt_xent import nt_xent
from mien.losses.unit import unit
from mien.train.method import METHODS, ClipBatch, Method, StepOutput, Views


@METHODS.register("simclr")
class SimClr(Method):
    """Backbone, one head, NT-Xent over the views of one device's frames."""

    @dataclass(frozen=True)
    class Settings:
        """The TensorFlow release's values for ImageNet; hidden maps as wide as a ResNet-34's feature."""

        head: Literal["batch_norm", "plain"] = "batch_norm"  # plain: maps with biases and ReLU alone
        hidden_dims: tuple[int, ...] = (512, 512)
        embedding_dim: int = 128
        temperature: float = 0.1

    def __init__(self, backbone: Backbone, settings: Settings) -> None:
        super().__init__(backbone)
        self.settings = settings
        self.head = _head(backbone.feature_dim, settings)

    def encoder_rows(self, clips: int) -> int:
        """Two views of each frame."""
        return 2 * clips

    def training_step(self, batch: ClipBatch, views: Views, generator: torch.Generator) -> StepOutput:
        """NT-Xent of two independent views of each frame."""
        both = torch.cat([views.independent(batch.far_BLHWC), views.independent(batch.far_BLHWC)])
        embedding_a_ND, embedding_b_ND = self.head(self.backbone(both.flatten(0, 1))).chunk(2)
        loss = nt_xent(embedding_a_ND, embedding_b_ND, temperature=self.settings.temperature)
        return StepOutput(loss, {"retrieval_accuracy": _retrieval_accuracy(embedding_a_ND, embedding_b_ND)})


def _head(feature_dim: int, settings: SimClr.Settings) -> nn.Module:
    if settings.head == "plain":
        return mlp(feature_dim, *settings.hidden_dims, settings.embedding_dim)
    maps = batch_norm_mlp(feature_dim, *settings.hidden_dims, settings.embedding_dim, output_bias=False)
    scale = nn.BatchNorm1d(settings.embedding_dim)
    scale.bias.requires_grad_(False)  # the release's last batch-norm has a scale and no shift
    return nn.Sequential(maps, scale)


@torch.no_grad()
def _retrieval_accuracy(view_a_ND: Tensor, view_b_ND: Tensor) -> Tensor:
    """Share of rows of a whose nearest row of b is their own other view; 1 / N by chance."""
    nearest_N = (unit(view_a_ND) @ unit(view_b_ND).T).argmax(dim=1)
    return (nearest_N == torch.arange(len(nearest_N), device=nearest_N.device)).float().mean()
