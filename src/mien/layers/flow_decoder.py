"""A decoder from codes to a field over the picture: flow offsets, masks.

After the decoder of FAb-Net (Wiles et al., BMVC 2018) and TCAE (Li et al., CVPR 2019): from one pixel the
field doubles its side until it has the picture's, each time by bilinear up-sampling, convolution and
batch-norm.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn


class FlowDecoder(nn.Module):
    """(N, code_dim) -> (N, 2, side, side) flow and (N, num_masks, side, side) mask logits, all in [-1, 1]."""

    def __init__(self, code_dim: int, *, side_px: int, width: int = 32, num_masks: int = 0) -> None:
        """`width` is the channels at half the full size; towards the code they double, up to 8 times."""
        super().__init__()
        sides = doubling_sides(side_px)[1:]
        inner = [min(8, 2**level) * width for level in reversed(range(len(sides) - 1))]
        widths = [code_dim, *inner]
        self.levels = nn.Sequential(
            *(
                _level(wide_in, wide_out, side_px=side)
                for wide_in, wide_out, side in zip(widths, inner, sides, strict=False)
            )
        )
        self.last_doubling = _doubled(sides[-1])
        self.to_field = nn.Conv2d(widths[-1], 2 + num_masks, kernel_size=3, padding=1)
        with torch.no_grad():  # begin near the picture itself: the releases begin with a scrambled one
            self.to_field.weight.mul_(0.1)

    def forward(self, code_ND: Tensor) -> tuple[Tensor, Tensor]:
        """Flow and mask logits; without masks the second has no channel."""
        field_NChw = self.to_field(self.last_doubling(self.levels(code_ND[:, :, None, None]))).tanh()
        return field_NChw[:, :2], field_NChw[:, 2:]


def doubling_sides(side_px: int) -> list[int]:
    """1, ..., side_px, each half the next, rounded up: 224 -> 1 2 4 7 14 28 56 112 224."""
    if side_px < 2:
        raise ValueError(f"side_px = {side_px}: at least 2")
    sides = [side_px]
    while sides[0] > 1:
        sides.insert(0, (sides[0] + 1) // 2)
    return sides


def _level(channels_in: int, channels_out: int, *, side_px: int) -> nn.Module:
    # the first levels see few pixels: batch-norm over N * 4 of them is still over the batch
    return nn.Sequential(
        _doubled(side_px),
        nn.Conv2d(channels_in, channels_out, kernel_size=3, padding=1, bias=False),
        nn.BatchNorm2d(channels_out),
    )


def _doubled(side_px: int) -> nn.Module:
    upsample = nn.Upsample(size=(side_px, side_px), mode="bilinear", align_corners=False)
    return nn.Sequential(nn.ReLU(), upsample)
