"""The network of the shipped model: pixels of the inner face and the pose-normalised mesh, read together.

Two branches are trained apart and averaged. Pixels show creases and lids, which the mesh lacks; the mesh
transfers better from rendered faces to real ones.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

NUM_POINTS = 468
INPUT_PX = 64
LUMA = (0.299, 0.587, 0.114)
_POINT_SCALE = 20.0  # deviations from the mean mesh are about .05 of the distance between the eyes


class FaceNetwork(nn.Module):
    """(N, 64, 64, 3) uint8 pixels and (N, 468, 3) normalised points to (N, K).

    K: for A units logits and intensities (0 to 5), then S shape weights (0 to 1). The heads also give both
    sides and the gaze, which training uses; on people held out they say nothing.
    """

    def __init__(self, *, num_units: int, num_shapes: int) -> None:
        super().__init__()
        self.num_units, self.num_shapes = num_units, num_shapes
        self.pixels = PixelBranch()
        self.points = PointBranch()
        self.pixel_head = head(PixelBranch.num_features, outputs_of(num_units, num_shapes))
        self.point_head = head(PointBranch.num_features, outputs_of(num_units, num_shapes))

    def forward(self, pixels_NHWC: Tensor, points_N468x3: Tensor) -> Tensor:
        """(N, K) float32."""
        grey_N1HW = (pixels_NHWC.float() * torch.tensor(LUMA, device=pixels_NHWC.device)).sum(3)[:, None]
        raw_NO = 0.5 * self.pixel_head(self.pixels(grey_N1HW)) + 0.5 * self.point_head(
            self.points(points_N468x3)
        )
        A, S = self.num_units, self.num_shapes
        logit_NA, left_NA, right_NA, shape_NS, _ = raw_NO.split([A, A, A, S, 2], dim=1)
        return torch.cat([logit_NA, 5 * torch.maximum(left_NA, right_NA), shape_NS], dim=1)


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
