"""An untrained encoder as a file: 36 px frames, 32 px pictures, a slim ResNet-18, always the same weights."""

from __future__ import annotations

import torch

from mien.backbones import build_backbone
from mien.data.views import IMAGENET_MEAN, IMAGENET_STD
from mien.faces.contract import InputContract
from mien.train.encoder_file import save_encoder


def write_encoder(path, contract, *, training=None, **backbone_settings):
    """Write it to `path`, for faces cropped by `contract`."""
    settings = {"width": 4} | backbone_settings
    with torch.random.fork_rng():
        torch.manual_seed(0)
        backbone = build_backbone("resnet18", **settings)
    inputs = InputContract(contract, 36, 32, IMAGENET_MEAN, IMAGENET_STD)
    names = {"backbone_name": "resnet18", "backbone_settings": settings}
    save_encoder(path, backbone, inputs=inputs, training=training or {}, **names)
    return path
