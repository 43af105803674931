from __future__ import annotations

import pytest
import torch

from mien.backbones import build_backbone
from mien.methods.clp import Clp, ClpSettings
from mien.train.method import ClipBatch

SMALL = {"bank_size": 32, "num_candidates": 16, "hidden_dim": 12, "embedding_dim": 8, "clip_len": 5}


class PlainViews:
    """Frames as they are: every view of a frame is the same, so that a test can foresee the step."""

    def shared(self, frames_BTHWC):
        return frames_BTHWC.permute(0, 1, 4, 2, 3).float() / 127.5 - 1.0

    independent = shared


@pytest.fixture
def plain_views():
    return PlainViews()


@pytest.fixture
def small_clp():
    """`small_clp(**settings)`: CLP with a slim ResNet-18 and a bank of 32 rows, always the same weights."""

    def make(**settings):
        torch.manual_seed(0)
        backbone = build_backbone("resnet18", width=4)
        return Clp(backbone, ClpSettings(**(SMALL | settings))).train()

    return make


@pytest.fixture
def batch_for():
    """`batch_for(method, num_clips, seed)`: random pictures in the shape that the method asks for.

    Clips 2i and 2i + 1 are of one identity; every clip of every seed is of a video of its own.
    """

    def make(method, num_clips=4, seed=0, side=32):
        generator = torch.Generator().manual_seed(seed)
        request = method.clip_request(method.settings)
        sizes = request.clip_len, request.num_far_frames
        pictures = [
            torch.randint(0, 256, (num_clips, n, side, side, 3), dtype=torch.uint8, generator=generator)
            for n in sizes
        ]
        clip_B = torch.arange(num_clips)
        return ClipBatch(*pictures, identity_B=clip_B // 2, video_B=1000 * seed + clip_B)

    return make
