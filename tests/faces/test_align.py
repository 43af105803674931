"""A crop shows the five points at the template's places, whatever the face's place, size and roll."""

from __future__ import annotations

import numpy as np
import pytest

from mien.faces.align import (
    crop_contract,
    crop_face,
    sharpness,
    template_points_5x2_px,
)
from mien.faces.warp import map_points


@pytest.fixture
def contract(planted_finder):
    return crop_contract(planted_finder)


def dots_at(points, size=(480, 640)):
    """A dark picture with a soft bright dot at each point."""
    y, x = np.mgrid[: size[0], : size[1]]
    light = sum(np.exp(-((x - px) ** 2 + (y - py) ** 2) / 18) for px, py in points)
    return np.repeat((np.clip(light, 0, 1) * 255).astype(np.uint8)[..., None], 3, axis=2)


@pytest.mark.parametrize("scale", [0.4, 1.0, 1.8])
@pytest.mark.parametrize("degrees", [-40, 0, 75])
def test_the_points_come_to_lie_on_the_template(contract, scale, degrees):
    template = template_points_5x2_px(contract)
    turn = np.deg2rad(degrees)
    linear = scale * np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    points = map_points(np.column_stack([linear, (320, 240)]), template - 128)
    crop = crop_face(dots_at(points), points, contract)
    assert crop.shape == (256, 256, 3)
    for x, y in np.rint(template).astype(int):
        window = crop[y - 12 : y + 13, x - 12 : x + 13, 0].astype(float)
        window[window < 20] = 0
        rows, columns = np.mgrid[-12:13, -12:13]
        assert abs((window * columns).sum() / window.sum()) < 1.5
        assert abs((window * rows).sum() / window.sum()) < 1.5


def test_the_template_leaves_room_for_brows_and_chin_in_the_central_crop(contract):
    left_eye, right_eye, _, *mouth = template_points_5x2_px(contract)
    between_eyes = right_eye[0] - left_eye[0]
    assert left_eye[1] - 0.9 * between_eyes > 16  # mid-forehead, inside the central 224 of 256
    assert left_eye[1] + 1.85 * between_eyes < 240  # the chin of a closed mouth
    assert np.mean([point[0] for point in mouth]) == pytest.approx(128)


def test_sharpness_falls_with_blur_and_is_the_variance_of_the_laplacian():
    grey = np.random.default_rng(0).integers(0, 255, (64, 64), dtype=np.uint8)
    padded = np.pad(grey.astype(int), 1, mode="reflect")
    laplacian = (
        padded[:-2, 1:-1] + padded[2:, 1:-1] + padded[1:-1, :-2] + padded[1:-1, 2:] - 4 * grey.astype(int)
    )
    assert sharpness(grey) == pytest.approx(laplacian.var(), rel=1e-6)
    blurred = ((padded[:-2, 1:-1] + padded[2:, 1:-1] + grey) // 3).astype(np.uint8)
    assert sharpness(blurred) < sharpness(grey)
    assert sharpness(np.full((64, 64), 9, np.uint8)) == 0


def test_the_contract_names_the_finder(contract, planted_finder):
    assert contract.detector == planted_finder.detector
    assert contract.landmarker_sha256 == planted_finder.landmarker_sha256
    assert contract.crop_size_px == 256
