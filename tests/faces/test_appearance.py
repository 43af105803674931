"""Patterns tell scenes and faces apart, and take no notice of the light."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from mien.faces.appearance import face_pattern, scene_pattern, similarity


def picture(seed, size=(240, 320)):
    coarse = np.random.default_rng(seed).integers(0, 255, (12, 16, 3), dtype=np.uint8)
    return cv2.resize(coarse, size[::-1], interpolation=cv2.INTER_CUBIC)


def grey(seed):
    return cv2.cvtColor(picture(seed, (256, 256)), cv2.COLOR_RGB2GRAY)


@pytest.mark.parametrize(("pattern", "make"), [(scene_pattern, picture), (face_pattern, grey)])
def test_light_changes_nothing_and_another_picture_everything(pattern, make):
    image = make(0)
    assert similarity(pattern(image), pattern(image)) == pytest.approx(1, abs=1e-5)
    assert similarity(pattern(image), pattern(cv2.convertScaleAbs(image, alpha=0.5, beta=20))) > 0.98
    assert abs(similarity(pattern(image), pattern(make(1)))) < 0.5


def test_a_flat_picture_is_like_nothing():
    flat = np.full((100, 100, 3), 7, np.uint8)
    assert similarity(scene_pattern(flat), scene_pattern(picture(0, (100, 100)))) == 0


@pytest.mark.parametrize("size", [(1, 1), (2, 400), (17, 33), (1080, 1920)])
def test_scenes_of_any_size_have_a_pattern(size):
    assert scene_pattern(picture(0, size)).shape == (18, 32)


def test_a_pan_of_a_few_pixels_is_the_same_scene():
    wide = picture(3, (240, 340))
    assert similarity(scene_pattern(wide[:, :320]), scene_pattern(wide[:, 6:326])) > 0.8
