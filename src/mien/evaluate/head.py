"""The linear probe's head: batch-norm and a linear map."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class ProbeHead(nn.Module):
    """(N, D) features to (N, A) logits: BatchNorm1d with affine, Linear without bias (Li & Shan 2023)."""

    def __init__(self, feature_dim: int, num_outputs: int) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(feature_dim)
        self.linear = nn.Linear(feature_dim, num_outputs, bias=False)

    def forward(self, features_ND: Tensor) -> Tensor:
        """(N, A)."""
        logits_NA: Tensor = self.linear(self.norm(features_ND))
        return logits_NA

    def as_affine(self) -> tuple[Tensor, Tensor]:
        """weight_AD, constant_A with logits = features @ weight_AD.T + constant_A, in evaluation mode."""
        variance_D, mean_D = self.norm.running_var, self.norm.running_mean
        assert variance_D is not None
        assert mean_D is not None
        scale_D = self.norm.weight / torch.sqrt(variance_D + self.norm.eps)
        weight_AD = self.linear.weight * scale_D
        constant_A = self.linear.weight @ (self.norm.bias - scale_D * mean_D)
        return weight_AD.detach(), constant_A.detach()
