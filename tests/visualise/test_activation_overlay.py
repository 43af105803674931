"""Warm where the map is warm, the face itself where it is cold."""

import numpy as np
import pytest
import torch

from mien.backbones import build_backbone
from mien.visualise.charts import overlay


def test_a_cold_map_leaves_the_face_and_a_warm_corner_changes_that_corner():
    face = np.full((64, 64, 3), 120, np.uint8)
    assert (overlay(face, np.zeros((2, 2)), side_px=64) == 120).all()
    corner = overlay(face, np.array([[1.0, 0], [0, 0]]), side_px=64)
    assert (corner[:8, :8] != 120).any()
    assert (corner[-8:, -8:] == 120).all()
    assert corner.shape == (64, 64, 3)


@pytest.mark.parametrize("stem_stride", [4, 2])
def test_a_place_is_drawn_where_the_network_looks(stem_stride):
    """The pixel that moves a place of the map most, by autograd, is the one that is warmest there."""
    torch.manual_seed(0)
    trunk = build_backbone("resnet18", width=4, stem_stride=stem_stride).eval()
    size = 8 * 8 * stem_stride
    images = torch.randn(8, 3, size, size, requires_grad=True)
    maps = trunk.feature_maps(images)
    for place in (3, 4, 5):  # away from the edges, which cut fields of view short
        (slope,) = torch.autograd.grad(maps[:, :, place, place].sum(), images, retain_graph=True)
        profile = slope.abs().sum(dim=(0, 1, 2)).numpy()
        looked_at = np.average(np.arange(size), weights=profile**4)
        heat = np.zeros((8, 8))
        heat[place, place] = 1
        black = np.zeros((size, size, 3), np.uint8)
        drawn = overlay(black, heat, side_px=size).sum(axis=(0, 2)).astype(float)
        drawn_at = np.average(np.arange(size), weights=drawn)
        assert abs(drawn_at - looked_at) < 0.25 * size / 8
