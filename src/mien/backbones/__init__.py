"""One file a backbone family; a file dropped in here is found."""

from mien.backbones.base import BACKBONES, Backbone, build_backbone

__all__ = ["BACKBONES", "Backbone", "build_backbone"]
