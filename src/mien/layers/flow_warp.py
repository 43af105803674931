"""Pictures warped by flow fields, and two flow fields merged by their masks.

A flow is an offset in the coordinates of `grid_sample`: the picture reaches from -1 to 1 on both axes, so an
offset of 2 / width moves by one pixel. FAb-Net (BMVC 2018) and TCAE (CVPR 2019) both warp this way.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


def warp(image_NCHW: Tensor, flow_N2hw: Tensor) -> Tensor:
    """(N, C, H, W): pixel p of the result is the picture at p + flow(p), bilinear, kept inside the picture.

    Channel 0 of the flow is x, to the right; channel 1 is y, down. A flow of another size is scaled
    bilinearly to the picture's. Zero flow returns the picture.
    """
    N, _, H, W = image_NCHW.shape
    flow_N2HW = flow_N2hw.float()
    if flow_N2HW.shape[2:] != (H, W):
        flow_N2HW = F.interpolate(flow_N2HW, size=(H, W), mode="bilinear", align_corners=False)
    identity_NHW2 = _identity_grid(N, H, W, flow_N2HW.device)
    grid_NHW2 = (identity_NHW2 + flow_N2HW.permute(0, 2, 3, 1)).clamp(-1.0, 1.0)
    return F.grid_sample(image_NCHW.float(), grid_NHW2, padding_mode="border", align_corners=False)


def merge_flows(
    flow_a_N2HW: Tensor, flow_b_N2HW: Tensor, *, logit_a_N1HW: Tensor, logit_b_N1HW: Tensor
) -> Tensor:
    """(N, 2, H, W): at each pixel the two flows weighted by the softmax of their two mask logits."""
    share_a_N1HW = torch.sigmoid(logit_a_N1HW - logit_b_N1HW)  # the softmax over two
    return share_a_N1HW * flow_a_N2HW + (1.0 - share_a_N1HW) * flow_b_N2HW


def _identity_grid(num_rows: int, height: int, width: int, device: torch.device) -> Tensor:
    no_motion = torch.eye(2, 3, device=device).expand(num_rows, 2, 3)
    return F.affine_grid(no_motion, [num_rows, 1, height, width], align_corners=False)
