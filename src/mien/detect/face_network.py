"""The network of the shipped model: pixels of the inner face and the pose-normalised mesh, read together.

Two branches are trained apart and averaged. Pixels show creases and lids, which the mesh lacks; the mesh
transfers better from rendered faces to real ones. A third, small branch reads each half of the frontal face
for what the halves do and where the eyes look, which the two others never learned.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

NUM_POINTS = 468
INPUT_PX = 64
LUMA = (0.299, 0.587, 0.114)
_POINT_SCALE = 20.0  # deviations from the mean mesh are about .05 of the distance between the eyes


class FaceNetwork(nn.Module):
    """(N, 64, 64, 3) pixels, (N, 468, 3) normalised points and (N, 72, 80) frontal pictures to (N, K).

    Pictures are uint8. K: for A units logits and intensities (0 to 5), then S shape weights (0 to 1), and
    what `SideBranch` gives for `num_sided` units. The heads also give both sides and the gaze, which training
    uses; on people held out they say nothing.
    """

    def __init__(self, *, num_units: int, num_shapes: int, num_sided: int) -> None:
        super().__init__()
        self.num_units, self.num_shapes = num_units, num_shapes
        self.pixels = PixelBranch()
        self.points = PointBranch()
        self.pixel_head = head(PixelBranch.num_features, outputs_of(num_units, num_shapes))
        self.point_head = head(PointBranch.num_features, outputs_of(num_units, num_shapes))
        self.sides = SideBranch(num_sided)

    def forward(self, pixels_NHWC: Tensor, points_N468x3: Tensor, frontal_NHW: Tensor) -> Tensor:
        """(N, K) float32."""
        raw_NO = self.raw(pixels_NHWC, points_N468x3)
        A, S = self.num_units, self.num_shapes
        logit_NA, left_NA, right_NA, shape_NS, _ = torch.split(raw_NO, [A, A, A, S, 2], dim=1)
        whole = [logit_NA, 5 * torch.maximum(left_NA, right_NA), shape_NS]
        return torch.cat([*whole, self.sides(self.sides.features(frontal_NHW))], dim=1)

    def raw(self, pixels_NHWC: Tensor, points_N468x3: Tensor) -> Tensor:
        """(N, O): the mean of what both heads give."""
        by_pixels_NO = self.pixel_head(self.pixels(grey_of(pixels_NHWC)))
        raw_NO: Tensor = 0.5 * by_pixels_NO + 0.5 * self.point_head(self.points(points_N468x3))
        return raw_NO


def grey_of(pixels_NHWC: Tensor) -> Tensor:
    """(N, 1, H, W), 0 to 255."""
    return (pixels_NHWC.float() * torch.tensor(LUMA, device=pixels_NHWC.device)).sum(3)[:, None]


class PixelBranch(nn.Module):
    """(N, 1, 64, 64), grey, 0 to 255, to features (N, D): six residual blocks on two normalised copies.

    One copy is standardised over the picture, the other by its neighbourhood, which takes light away.
    """

    num_features = 192
    near_HH: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("near_HH", _box(INPUT_PX, reach=7), persistent=False)
        self.stem = nn.Sequential(nn.Conv2d(2, 24, 5, 2, 2, bias=False), nn.BatchNorm2d(24), nn.ReLU())
        self.blocks = nn.Sequential(
            Block(24, 48, 1), Block(48, 96, 2), Block(96, 96, 1), Block(96, 160, 2), Block(160, 160, 1)
        )
        self.project = nn.Linear(160 * 16, self.num_features)

    def forward(self, grey_N1HW: Tensor) -> Tensor:
        """(N, D)."""
        x = grey_N1HW / 255.0
        centred = x - x.mean((2, 3), keepdim=True)
        whole = centred / centred.square().mean((2, 3), keepdim=True).add(1e-4).sqrt()
        nearby = x - self._mean_around(x)
        local = nearby / (self._mean_around(nearby.square()) + 2e-3).sqrt()
        maps = self.blocks(self.stem(torch.cat([whole, local], dim=1)))
        features_ND: Tensor = self.project(F.avg_pool2d(maps, 2).flatten(1))
        return features_ND

    def _mean_around(self, x_N1HW: Tensor) -> Tensor:
        """Over 15 x 15 pixels, of those inside the picture; two products are far faster than pooling."""
        return self.near_HH @ x_N1HW @ self.near_HH.T


class PointBranch(nn.Module):
    """(N, 468, 3) points, as `normalised_mesh` gives them, to features (N, D)."""

    num_features = 192

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(
            nn.Linear(NUM_POINTS * 3, 384), nn.BatchNorm1d(384), nn.GELU(), nn.Dropout(0.1),
            nn.Linear(384, 256), nn.BatchNorm1d(256), nn.GELU(), nn.Dropout(0.1),
            nn.Linear(256, self.num_features),
        )  # fmt: skip

    def forward(self, points_N468x3: Tensor) -> Tensor:
        """(N, D)."""
        features_ND: Tensor = self.net(points_N468x3.flatten(1) * _POINT_SCALE)
        return features_ND


class SideBranch(nn.Module):
    """(N, 72, 80), frontal and grey, 0 to 255, to (N, 2 U + 2).

    That is the intensities (0 to 5) of U units on the subject's left, the same on the right, yaw and pitch
    of the gaze in degrees, to the right of the picture and up. One network reads the left half and the
    mirrored right half, each beside the other, so a mirrored picture has mirrored readings. What it reads is
    fixed: how strong edges of eight directions are in each cell of 4 x 4 pixels, relative to those nearby (as
    HOG does, Dalal & Triggs, CVPR 2005), and the pixels around the eye.
    """

    num_features = 8 * 18 * 9 + 16 * 22
    edges_4133: Tensor
    cell_8188: Tensor
    near_down: Tensor
    near_across: Tensor

    def __init__(self, num_units: int) -> None:
        super().__init__()
        slope_33 = torch.tensor([[-1.0, 0, 1], [-2, 0, 2], [-1, 0, 1]]) / 8
        turns = torch.arange(4)[:, None, None] * math.pi / 4
        edges_433 = slope_33 * torch.cos(turns) + slope_33.T * torch.sin(turns)
        tent = torch.tensor([1.0, 2, 3, 4, 4, 3, 2, 1]) / 20
        self.register_buffer("edges_4133", edges_433[:, None], persistent=False)
        self.register_buffer("cell_8188", torch.outer(tent, tent).repeat(8, 1, 1, 1), persistent=False)
        self.register_buffer("near_down", _box(72, reach=7), persistent=False)
        self.register_buffer("near_across", _box(40, reach=7), persistent=False)
        self.embed = nn.Sequential(
            nn.Dropout(0.2), nn.Linear(self.num_features, 64, bias=False), nn.BatchNorm1d(64), nn.GELU()
        )
        self.head = nn.Sequential(
            nn.Dropout(0.2), nn.Linear(128, 96), nn.GELU(), nn.Dropout(0.2), nn.Linear(96, num_units + 2)
        )
        self.offset_K = nn.Parameter(torch.zeros(num_units + 2))
        self.scale_2K = nn.Parameter(torch.ones(2, num_units + 2))  # of the halves' mean, of their difference

    def features(self, frontal_NHW: Tensor) -> Tensor:
        """(N, 2, D): what is read of the left half and of the right."""
        x = frontal_NHW.float()[:, None] / 255
        halves = torch.stack([x[..., 40:], x[..., :40].flip(3)], dim=1).flatten(0, 1)
        slopes = F.conv2d(F.pad(halves, (1, 1, 1, 1), mode="replicate"), self.edges_4133)
        strength = F.relu(torch.cat([slopes, -slopes], dim=1))
        strength = strength / (self._around(strength.square().sum(1, keepdim=True)) + 1e-4).sqrt()
        cells = F.conv2d(F.pad(strength, (2, 2, 2, 2), mode="replicate"), self.cell_8188, stride=4, groups=8)
        nearby = halves - self._around(halves)
        eye = (nearby / (self._around(nearby.square()) + 5e-4).sqrt())[:, :, 14:30, 6:28]
        read_MD = torch.cat([cells[..., :9].flatten(1), eye.flatten(1) / 2], dim=1)
        return read_MD.reshape(-1, 2, self.num_features)

    def embedded(self, features_N2D: Tensor) -> Tensor:
        """(N, 2, E): of each half by itself."""
        seen_N2E: Tensor = self.embed(features_N2D.flatten(0, 1)).unflatten(0, (-1, 2))
        return seen_N2E

    def outputs(self, seen_N2E: Tensor) -> Tensor:
        """(N, 2, U + 2): shares of intensity 5 and gaze / 20 degrees, outwards and up; left and right."""
        beside = torch.cat([seen_N2E, seen_N2E.flip(1)], dim=2)
        raw_N2K: Tensor = self.head(beside.flatten(0, 1)).unflatten(0, (-1, 2))
        return raw_N2K

    def forward(self, features_N2D: Tensor) -> Tensor:
        """(N, 2 U + 2)."""
        raw_N2K = self.outputs(self.embedded(features_N2D))
        mean_NK = self.offset_K + self.scale_2K[0] * (raw_N2K[:, 0] + raw_N2K[:, 1]) / 2
        differ_NK = self.scale_2K[1] * (raw_N2K[:, 0] - raw_N2K[:, 1]) / 2
        left, right = (mean_NK + differ_NK)[:, :-2], (mean_NK - differ_NK)[:, :-2]
        return torch.cat([5 * left, 5 * right, 20 * differ_NK[:, -2:-1], 20 * mean_NK[:, -1:]], dim=1)

    def _around(self, x: Tensor) -> Tensor:
        return self.near_down @ x @ self.near_across.T


class Block(nn.Module):
    """Two 3 x 3 convolutions and a shortcut (He et al., CVPR 2016)."""

    def __init__(self, channels_in: int, channels_out: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels_in, channels_out, 3, stride, 1, bias=False)
        self.norm1 = nn.BatchNorm2d(channels_out)
        self.conv2 = nn.Conv2d(channels_out, channels_out, 3, 1, 1, bias=False)
        self.norm2 = nn.BatchNorm2d(channels_out)
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or channels_in != channels_out:
            self.shortcut = nn.Sequential(
                nn.Conv2d(channels_in, channels_out, 1, stride, bias=False), nn.BatchNorm2d(channels_out)
            )

    def forward(self, x: Tensor) -> Tensor:
        """(N, channels_out, H / stride, W / stride)."""
        inner = self.norm2(self.conv2(F.relu(self.norm1(self.conv1(x)))))
        return F.relu(inner + self.shortcut(x))


def head(num_features: int, num_outputs: int, *, dropout: float = 0.1) -> nn.Sequential:
    """A read-out with one hidden layer."""
    return nn.Sequential(
        nn.BatchNorm1d(num_features), nn.Dropout(dropout), nn.Linear(num_features, 256), nn.GELU(),
        nn.Dropout(dropout), nn.Linear(256, num_outputs),
    )  # fmt: skip


def outputs_of(num_units: int, num_shapes: int) -> int:
    """Outputs of a head: logits, left and right shares of intensity 5, shape weights, gaze / 20 degrees."""
    return 3 * num_units + num_shapes + 2


def _box(size: int, *, reach: int) -> Tensor:
    """(size, size): rows that average an entry and its neighbours up to `reach` away, of those there are."""
    at = torch.arange(size)
    near = ((at[:, None] - at).abs() <= reach).float()
    return near / near.sum(1, keepdim=True)
