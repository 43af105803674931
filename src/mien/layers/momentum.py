"""The momentum encoder: a running average of the encoder's weights (Li & Shan, TIP 2023, Eq. 5)."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import get_ema_multi_avg_fn


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
        """(N, D) rows of the head, in float32 or better, not normalised."""
        features_ND: Tensor = self.backbone(images_NCHW)
        features_ND = features_ND.to(torch.promote_types(features_ND.dtype, torch.float32))
        with torch.autocast(features_ND.device.type, enabled=False):
            rows: Tensor = self.head(features_ND)
        return rows

    @torch.no_grad()
    def update(self, backbone: nn.Module, head: nn.Module, *, mu: float) -> None:
        """weights <- mu * weights + (1 - mu) * the encoder's; mu = 1 freezes, mu = 0 copies."""
        averages = [*self.backbone.parameters(), *self.head.parameters()]
        current = [*backbone.parameters(), *head.parameters()]
        average_all = get_ema_multi_avg_fn(mu)  # type: ignore[no-untyped-call]
        average_all(averages, current, 0)  # in one call
