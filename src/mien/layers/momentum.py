"""The momentum encoder: a running average of the encoder's weights (Li & Shan, TIP 2023, Eq. 5)."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn


class MomentumEncoder(nn.Module):
    """A backbone and a head that follow another pair's weights and never receive a gradient.

    Starts as a copy. Only parameters are averaged; batch-norm keeps running statistics of its own.
    """

    def __init__(self, backbone: nn.Module, head: nn.Module) -> None:
        super().__init__()
        self.backbone = copy.deepcopy(backbone)
        self.head = copy.deepcopy(head)
        self.requires_grad_(False)

    @torch.no_grad()
    def forward(self, images_NCHW: Tensor) -> Tensor:
        """(N, D) rows of the head, in full precision, not normalised."""
        features_ND: Tensor = self.backbone(images_NCHW).float()
        with torch.autocast(features_ND.device.type, enabled=False):
            rows: Tensor = self.head(features_ND)
        return rows

    @torch.no_grad()
    def update(self, backbone: nn.Module, head: nn.Module, *, mu: float) -> None:
        """weights <- mu * weights + (1 - mu) * the encoder's; mu = 1 freezes, mu = 0 copies."""
        for ours, theirs in ((self.backbone, backbone), (self.head, head)):
            for average, current in zip(ours.parameters(), theirs.parameters(), strict=True):
                average.lerp_(current, 1.0 - mu)
