"""The linear probe's head, and where on the face it looks.

The activation maps are exact, without gradients. With feature maps V_D(x, y), their mean over the places as
feature, batch-norm (gamma, b, mu, v), weights w:

    M_a(x, y) = sum_d w_ad gamma_d / sqrt(v_d + eps) V_d(x, y)
    const_a   = sum_d w_ad (b_d - gamma_d mu_d / sqrt(v_d + eps))
    mean over (x, y) of M_a + const_a = logit_a

(class activation maps of Zhou et al., CVPR 2016, carried through batch-norm).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

MAX_WEIGHT = 20.0
"""Upper bound of a class weight, as in mien.losses.action_unit_bce."""


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


def class_weights(class_N: Tensor, num_classes: int) -> Tensor:
    """(C,) inverse to the class's frequency in the training fold, mean 1 over the rows, at most 20."""
    count_C = torch.bincount(class_N, minlength=num_classes).float()
    weight_C = len(class_N) / (num_classes * count_C.clamp(min=1))
    return weight_C.clamp(max=MAX_WEIGHT)


REGIONS: dict[str, tuple[int, ...]] = {
    "brows": (1, 2, 4),
    "eyes and cheeks": (5, 6, 7, 43, 45),
    "nose and mouth": (9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 20, 22, 23, 24, 25, 26, 27, 28),
}


@dataclass(frozen=True)
class ActivationMaps:
    """maps_NAHW.mean over (H, W) + constant_A = the head's logits."""

    maps_NAHW: Tensor
    constant_A: Tensor


def activation_maps(maps_NDHW: Tensor, head: ProbeHead, *, tolerance: float = 1e-3) -> ActivationMaps:
    """The maps of every action unit; AssertionError if they do not add up to the logits within `tolerance`.

    The head must be in evaluation mode: with the statistics of a batch there is no such identity.
    """
    if head.training:
        raise ValueError("activation maps need the head in evaluation mode: call head.eval() first")
    weight_AD, constant_A = head.as_affine()
    maps_NAHW = torch.einsum("ad,ndhw->nahw", weight_AD, maps_NDHW)
    logits_NA = head(maps_NDHW.mean(dim=(2, 3)))
    error = (
        (maps_NAHW.mean(dim=(2, 3)) + constant_A - logits_NA).abs().max().item() if len(logits_NA) else 0.0
    )
    assert error <= tolerance * (1 + logits_NA.abs().max().item()), f"maps miss the logits by {error}"
    return ActivationMaps(maps_NAHW, constant_A)


def region_maps(maps_NAHW: Tensor, action_units: Sequence[int]) -> dict[str, Tensor]:
    """(N, H, W) in [0, 1] a region of the face: the largest of its action units' maps, negative parts cut."""
    found = {}
    for region, members in REGIONS.items():
        columns = [column for column, number in enumerate(action_units) if number in members]
        if columns:
            highest_NHW = maps_NAHW[:, columns].amax(dim=1).clamp(min=0)
            peak_N11 = highest_NHW.amax(dim=(1, 2), keepdim=True)
            found[region] = highest_NHW / peak_N11.clamp(min=1e-12)
    return found
