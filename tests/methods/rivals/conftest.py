from __future__ import annotations

import pytest
import torch

from mien.backbones import build_backbone
from mien.data.views import FaceViews, ViewSettings
from mien.train.method import METHODS, ClipBatch

SIDE_PX = 32


@pytest.fixture
def generator():
    return torch.Generator().manual_seed(0)


@pytest.fixture
def views(generator):
    return FaceViews(ViewSettings(output_size_px=SIDE_PX), generator)


@pytest.fixture
def build_method():
    """A registered method around a very small ResNet-18, the same one each time."""

    def build(name, **settings):
        torch.manual_seed(0)
        cls = METHODS.get(name)
        return cls(build_backbone("resnet18", width=4), cls.Settings(**settings)).train()

    return build


@pytest.fixture
def noise_batch():
    """What a method asks for, filled with noise, each row a video and a person of its own."""

    def make(method, *, clips=6, seed=0):
        request = method.clip_request(method.settings)
        noise = torch.Generator().manual_seed(seed)

        def frames(count):
            shape = (clips, count, SIDE_PX, SIDE_PX, 3)
            return torch.randint(0, 256, shape, dtype=torch.uint8, generator=noise)

        numbers = torch.arange(clips)
        return ClipBatch(frames(request.clip_len), frames(request.num_far_frames), numbers, numbers)

    return make
