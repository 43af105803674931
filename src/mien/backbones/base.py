"""What a backbone is, and how one is built by name."""

from __future__ import annotations

from typing import Any, ClassVar

from torch import Tensor, nn

from mien.config import build
from mien.registry import Registry


class Backbone(nn.Module):
    """A network from pictures to features, kept when training ends.

    A subclass has a frozen dataclass `Settings`, takes one as its only argument, sets `feature_dim` and
    writes `feature_maps`. The feature is the mean of the maps over the picture, which makes the activation
    map of a linear read-out exact.
    """

    Settings: ClassVar[type]
    feature_dim: int

    def feature_maps(self, images_NCHW: Tensor) -> Tensor:
        """(N, feature_dim, h, w) maps of (N, 3, H, W) normalised pictures of any size."""
        raise NotImplementedError

    def forward(self, images_NCHW: Tensor) -> Tensor:
        """(N, feature_dim) features of (N, 3, H, W) normalised pictures."""
        return self.feature_maps(images_NCHW).mean(dim=(2, 3))


BACKBONES: Registry[type[Backbone]] = Registry("mien.backbones", kind="backbone")


def build_backbone(name: str, **settings: Any) -> Backbone:
    """The backbone registered as `name`, newly initialised from torch's global generator.

    ValueError on an unknown name or setting, naming the nearest right one.
    """
    cls = BACKBONES.get(name)
    return cls(build(cls.Settings, settings, where=f"backbone {name!r}"))
