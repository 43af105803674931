from __future__ import annotations

import numpy as np
import pytest

from mien_render.actions import UNIT_NUMBERS
from mien_render.body import Stage, rotation_matrix
from mien_render.folds import Creases, crease_height
from mien_render.light import Light

FRONTAL = rotation_matrix(0, 0, 0)


def _light(x: float, y: float) -> Light:
    direction = np.array([x, y, 0.7], dtype=np.float32)
    none, white = np.zeros(3, dtype=np.float32), np.ones(3, dtype=np.float32)
    towards = (direction / np.linalg.norm(direction)).astype(np.float32)
    return Light(towards, white, towards, none, 0.1 * white, 0.1 * white)


def _depths(*units: int, left: float = 1.0, right: float = 1.0) -> np.ndarray:
    depths = np.zeros(2 * len(UNIT_NUMBERS), dtype=np.float32)
    for unit in units:
        depths[UNIT_NUMBERS.index(unit)] = left
        depths[len(UNIT_NUMBERS) + UNIT_NUMBERS.index(unit)] = right
    return depths


@pytest.fixture(scope="module")
def bare(tiny_stage: Stage) -> np.ndarray:
    return np.ones((tiny_stage.creases.side_px,) * 2, dtype=np.float32)


@pytest.fixture(scope="module")
def creases(tiny_stage: Stage) -> Creases:
    return tiny_stage.creases


def test_a_face_at_rest_has_none(creases: Creases, bare: np.ndarray):
    assert (creases.shade(_depths(), bare, _light(0.3, 0.5), head_33=FRONTAL) == 1).all()


def test_forehead_lines_darken_and_brighten_under_light_from_above(creases: Creases, bare: np.ndarray):
    shade = creases.shade(_depths(1, 2), bare, _light(0, 0.7), head_33=FRONTAL)
    assert shade.min() < 0.85 and shade.max() > 1.05


def test_deeper_creases_show_more(creases: Creases, bare: np.ndarray):
    shades = [
        creases.shade(depth * _depths(4, 12), bare, _light(0.3, 0.5), head_33=FRONTAL)
        for depth in np.float32([0.2, 0.6, 1.0])
    ]
    contrast = [np.abs(shade - 1).sum() for shade in shades]
    assert contrast[0] < contrast[1] < contrast[2]


def test_hair_has_no_creases(creases: Creases, bare: np.ndarray):
    assert (creases.shade(_depths(1, 4, 12), 0 * bare, _light(0.3, 0.5), head_33=FRONTAL) == 1).all()


def test_one_sided_action_creases_its_side_only(tiny_stage: Stage, bare: np.ndarray):
    shade = tiny_stage.creases.shade(_depths(12, right=0), bare, _light(0.3, 0.5), head_33=FRONTAL)
    x = tiny_stage.painter.coarse_face_RR3[..., 0]
    assert np.abs(shade - 1)[x > 1].max() > 0.05
    assert np.abs(shade - 1)[x < -1].max() == 0


def test_creases_lie_where_the_action_unit_puts_them():
    """Grooves lie at the places that the manual names: glabella, nasolabial fold, chin, crow's feet."""
    places = {4: (0.65, 5.0), 12: (3.0, -1.4), 17: (0.0, -5.0), 6: (5.7, 3.35)}
    for unit, (x, y) in places.items():
        there = crease_height(unit, np.array([[x, y, 9.0]], dtype=np.float32))[0]
        aside = crease_height(unit, np.array([[0.0, 1.0, 9.0]], dtype=np.float32))[0]
        assert there < -0.03 and abs(aside) < 0.005, unit
