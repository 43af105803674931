"""The same encoder before its first step: what any gain of training is measured against."""

from __future__ import annotations

import dataclasses

import torch

from mien.backbones import build_backbone
from mien.train.encoder_file import Encoder


def untrained_twin(encoder: Encoder) -> Encoder:
    """The encoder with the very weights its own run began from, drawn again from the run's seed.

    ValueError when the run did not begin from random weights or its settings are not in the file.
    """
    settings = encoder.training.get("settings")
    if not settings:
        raise ValueError(f"{encoder.source} does not say how it was trained, so its beginning is unknown")
    if settings["backbone"]["weights"]:
        raise ValueError(f"{encoder.source} began from {settings['backbone']['weights']}, not untrained")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(settings["run"]["seed"])
        backbone = build_backbone(encoder.backbone_name, **encoder.backbone_settings)
    backbone.eval().requires_grad_(False).to(encoder.device)
    return dataclasses.replace(encoder, backbone=backbone, source=f"{encoder.source} before its first step")
