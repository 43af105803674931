"""ResNet-18 and ResNet-34 (He et al., CVPR 2016, arXiv 1512.03385) without the classifier.

State-dict names are those of torchvision and timm, so that public weights load.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from torch import Tensor, nn
from torch.nn import functional as F

from mien.backbones.base import BACKBONES, Backbone


@dataclass(frozen=True)
class ResNetSettings:
    """The shape of a residual network."""

    width: int = 64  # channels of the first stage; 8 times as many features. Public weights need 64
    # Pixels that one step of the stem's output covers. 2 leaves the max pool out: pictures of 64 px then end
    # as maps of 4 x 4 instead of 2 x 2, for about 4 times the work. Names and shapes of the weights stay.
    stem_stride: Literal[4, 2] = 4

    def __post_init__(self) -> None:
        if self.width < 1:
            raise ValueError(f"width = {self.width}: at least 1 channel")


class ResNet(Backbone):
    """Four stages of basic blocks; a subclass says how many blocks each has."""

    Settings = ResNetSettings
    blocks_per_stage: ClassVar[tuple[int, int, int, int]]

    def __init__(self, settings: ResNetSettings) -> None:
        super().__init__()
        width = settings.width
        self.feature_dim = 8 * width
        self.conv1 = nn.Conv2d(3, width, 7, stride=2, padding=3, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.maxpool = nn.MaxPool2d(3, stride=2, padding=1) if settings.stem_stride == 4 else nn.Identity()
        self.layer1 = _stage(width, width, self.blocks_per_stage[0], stride=1)
        self.layer2 = _stage(width, 2 * width, self.blocks_per_stage[1], stride=2)
        self.layer3 = _stage(2 * width, 4 * width, self.blocks_per_stage[2], stride=2)
        self.layer4 = _stage(4 * width, 8 * width, self.blocks_per_stage[3], stride=2)
        self.apply(_initialise)

    def feature_maps(self, images_NCHW: Tensor) -> Tensor:
        """(N, 8 * width, H / 32, W / 32) with the standard stem; sides are rounded up."""
        x = self.maxpool(F.relu(self.bn1(self.conv1(images_NCHW)), inplace=True))
        maps: Tensor = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        return maps


@BACKBONES.register("resnet18")
class ResNet18(ResNet):
    """11 176 512 parameters at width 64."""

    blocks_per_stage = (2, 2, 2, 2)


@BACKBONES.register("resnet34")
class ResNet34(ResNet):
    """21 284 672 parameters at width 64; the paper's backbone."""

    blocks_per_stage = (3, 4, 6, 3)


class BasicBlock(nn.Module):
    """Two 3 x 3 convolutions and a shortcut, which is a 1 x 1 convolution where the shape changes."""

    def __init__(self, channels_in: int, channels_out: int, *, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels_in, channels_out, 3, stride=stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels_out)
        self.conv2 = nn.Conv2d(channels_out, channels_out, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels_out)
        self.downsample: nn.Module = nn.Identity()
        if stride != 1 or channels_in != channels_out:
            self.downsample = nn.Sequential(
                _pointwise(channels_in, channels_out, stride=stride), nn.BatchNorm2d(channels_out)
            )

    def forward(self, x_NCHW: Tensor) -> Tensor:
        """(N, channels_out, H / stride, W / stride)."""
        out = F.relu(self.bn1(self.conv1(x_NCHW)), inplace=True)
        out = self.bn2(self.conv2(out))
        return F.relu(out + self.downsample(x_NCHW), inplace=True)


class _PointwiseOfEvery(nn.Conv2d):
    """A 1 x 1 convolution of every `step`-th pixel of every `step`-th row: a stride by other means."""

    def __init__(self, channels_in: int, channels_out: int, *, step: int) -> None:
        super().__init__(channels_in, channels_out, 1, bias=False)
        self.step = step

    def forward(self, x_NCHW: Tensor) -> Tensor:
        """(N, channels_out, H / step, W / step)."""
        return super().forward(x_NCHW[:, :, :: self.step, :: self.step])


def _pointwise(channels_in: int, channels_out: int, *, stride: int) -> nn.Conv2d:
    # On CPUs with AVX2 and no AVX-512 the backward pass of a strided 1 x 1 convolution of 2 to 6 channels
    # writes outside of its memory (oneDNN in torch 2.13).
    if stride > 1 and channels_in < 8:
        return _PointwiseOfEvery(channels_in, channels_out, step=stride)
    return nn.Conv2d(channels_in, channels_out, 1, stride=stride, bias=False)


def _stage(channels_in: int, channels_out: int, num_blocks: int, *, stride: int) -> nn.Sequential:
    first = BasicBlock(channels_in, channels_out, stride=stride)
    rest = (BasicBlock(channels_out, channels_out, stride=1) for _ in range(num_blocks - 1))
    return nn.Sequential(first, *rest)


def _initialise(module: nn.Module) -> None:
    if isinstance(module, nn.Conv2d):
        nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
