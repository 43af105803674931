"""Gaussian blur of views, each row with a deviation of its own, on the views' device."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

REACH_DEVIATIONS = 2.5  # the kernel ends there
LARGEST_PX = 2.0  # of a 224-pixel view


def blur(views_BTCHW: Tensor, deviation_px_B: Tensor) -> Tensor:
    """The views with row b blurred by its deviation, the same for its T frames; 0 leaves a row as it is.

    Edges are reflected, so a view of one colour stays so.
    """
    B, T, C, H, W = views_BTCHW.shape
    reach_px = max(1, math.ceil(REACH_DEVIATIONS * LARGEST_PX * H / 224))
    kernel_BK = gaussian_kernels(deviation_px_B, reach_px=reach_px).to(views_BTCHW)
    planes = views_BTCHW.transpose(0, 1).reshape(T, B * C, H, W)
    for shape, pad in (((1, -1), (reach_px, reach_px, 0, 0)), ((-1, 1), (0, 0, reach_px, reach_px))):
        weights = kernel_BK.repeat_interleave(C, dim=0).view(B * C, 1, *shape)
        planes = F.conv2d(F.pad(planes, pad, mode="reflect"), weights, groups=B * C)
    return planes.view(T, B, C, H, W).transpose(0, 1)


def gaussian_kernels(deviation_px_B: Tensor, *, reach_px: int) -> Tensor:
    """(B, 2 reach + 1) rows that sum to 1; a one in the middle where the deviation is 0."""
    distance_K = torch.arange(-reach_px, reach_px + 1, device=deviation_px_B.device)
    scaled_BK = distance_K / deviation_px_B.clamp_min(1e-3)[:, None]
    return torch.softmax(-0.5 * scaled_BK.square(), dim=1)
