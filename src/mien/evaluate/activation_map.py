"""Where a linear head looks: the exact share of each place of the feature map in a logit, without gradients.

With feature maps V_D(x, y), their mean over the places as feature, batch-norm (gamma, b, mu, v), weights w:

    M_a(x, y) = sum_d w_ad gamma_d / sqrt(v_d + eps) V_d(x, y)
    const_a   = sum_d w_ad (b_d - gamma_d mu_d / sqrt(v_d + eps))
    mean over (x, y) of M_a + const_a = logit_a

(class activation maps of Zhou et al., CVPR 2016, carried through batch-norm).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from mien.evaluate.head import ProbeHead

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
