from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from mien_render.actions import UNIT_NUMBERS
from mien_render.body import Body, Moment, Stage, neutral_moment, rotation_matrix
from mien_render.person import HAIR_STYLES, PeopleSettings, draw_person
from mien_render.shading import Camera, Light, draw_head

OUTER_SIDES = Camera(half_height_cm=16)


def _light(x: float) -> Light:
    direction = np.array([x, 0.2, 0.6])
    none, white = np.zeros(3, dtype=np.float32), np.ones(3, dtype=np.float32)
    towards = (direction / np.linalg.norm(direction)).astype(np.float32)
    return Light(towards, white, towards, none, 0.1 * white, 0.1 * white)


def _body(stage: Stage, seed: int = 1, **changes: object) -> Body:
    person = draw_person(np.random.default_rng(seed), PeopleSettings(), num_identity_shapes=4)
    return Body(stage, replace(person, **changes))


@pytest.fixture(scope="module")
def body(tiny_stage: Stage) -> Body:
    return _body(tiny_stage, hair_style="short", glasses=False)


def test_the_head_covers_the_middle_and_not_the_corners(body: Body):
    head = draw_head(body, neutral_moment(), _light(0), OUTER_SIDES, size_px=64)
    assert head.coverage_SS[32, 32] == 1
    assert head.coverage_SS[[0, 0, -1, -1], [0, -1, 0, -1]].max() == 0
    assert np.isfinite(head.colour_SS3).all() and head.colour_SS3.min() >= 0


def test_the_side_that_faces_the_light_is_brighter(body: Body):
    left = draw_head(body, neutral_moment(), _light(-1), OUTER_SIDES, size_px=64).colour_SS3.sum(axis=(0, 2))
    right = draw_head(body, neutral_moment(), _light(1), OUTER_SIDES, size_px=64).colour_SS3.sum(axis=(0, 2))
    assert left[:32].sum() > 1.5 * left[32:].sum()
    assert right[32:].sum() > 1.5 * right[:32].sum()


def test_points_run_as_they_are_seen(body: Body):
    points = draw_head(body, neutral_moment(), _light(0), OUTER_SIDES, size_px=64).points_5x2_px
    left_eye, right_eye, nose, left_mouth, right_mouth = points
    assert left_eye[0] < nose[0] < right_eye[0]
    assert left_mouth[0] < nose[0] < right_mouth[0]
    assert max(left_eye[1], right_eye[1]) < nose[1] < min(left_mouth[1], right_mouth[1])


@pytest.mark.parametrize(
    ("angle", "axis", "sign"), [("yaw_degrees", 0, 1), ("pitch_degrees", 1, 1), ("roll_degrees", 0, 1)]
)
def test_the_nose_goes_where_the_head_turns(body: Body, angle: str, axis: int, sign: int):
    still = draw_head(body, neutral_moment(), _light(0), OUTER_SIDES, size_px=64)
    turned = draw_head(body, replace(neutral_moment(), **{angle: 20.0}), _light(0), OUTER_SIDES, size_px=64)
    moved = turned.points_5x2_px[2] - still.points_5x2_px[2]
    assert sign * moved[axis] > 1


def test_points_keep_pace_with_a_closer_camera(body: Body):
    far = draw_head(body, neutral_moment(), _light(0), Camera(half_height_cm=20), size_px=64).points_5x2_px
    near = draw_head(body, neutral_moment(), _light(0), Camera(half_height_cm=10), size_px=64).points_5x2_px
    assert near[1, 0] - near[0, 0] == pytest.approx(2 * (far[1, 0] - far[0, 0]), rel=0.05)


def test_rotations_are_rotations():
    matrix = rotation_matrix(20, -30, 40)
    np.testing.assert_allclose(matrix @ matrix.T, np.eye(3), atol=1e-6)
    assert np.linalg.det(matrix) == pytest.approx(1)


@pytest.mark.parametrize("style", HAIR_STYLES)
@pytest.mark.parametrize("glasses", [False, True])
def test_every_head_can_be_drawn(tiny_stage: Stage, style: str, glasses: bool):
    person = _body(tiny_stage, hair_style=style, glasses=glasses)
    head = draw_head(person, neutral_moment(), _light(0.3), OUTER_SIDES, size_px=48)
    assert np.isfinite(head.colour_SS3).all()
    assert head.coverage_SS.mean() > 0.1


def test_glasses_change_the_eyes_surroundings(tiny_stage: Stage):
    without, having = (
        draw_head(
            _body(tiny_stage, hair_style="bald", glasses=worn),
            neutral_moment(),
            _light(0),
            OUTER_SIDES,
            size_px=96,
        ).colour_SS3
        for worn in (False, True)
    )
    assert np.abs(without - having).max() > 0.05


def test_the_same_person_and_moment_give_the_same_pixels(tiny_stage: Stage):
    moment = Moment(np.full((len(UNIT_NUMBERS), 2), 2.0, dtype=np.float32), 5.0, 3.0, 1.0, 4.0, 2.0)
    first, second = (
        draw_head(_body(tiny_stage, seed=6), moment, _light(0.5), OUTER_SIDES, size_px=64).colour_SS3
        for _ in range(2)
    )
    assert first.tobytes() == second.tobytes()


def test_people_differ(tiny_stage: Stage):
    pictures = [
        draw_head(
            _body(tiny_stage, seed=seed), neutral_moment(), _light(0.2), OUTER_SIDES, size_px=48
        ).colour_SS3
        for seed in range(5)
    ]
    for a in range(5):
        for b in range(a):
            assert np.abs(pictures[a] - pictures[b]).mean() > 0.005


def test_full_model_closes_its_eyes(full_stage: Stage):
    """With AU 43 at 5 no white of the eye is left on the picture."""
    person = draw_person(np.random.default_rng(3), PeopleSettings(), num_identity_shapes=100)
    body = Body(full_stage, replace(person, glasses=False, resting_A=np.zeros_like(person.resting_A)))
    camera = Camera(half_height_cm=6, centre_xy_cm=(0, 3))
    opened = draw_head(body, neutral_moment(), _light(0), camera, size_px=128).colour_SS3
    closing = neutral_moment()
    closing.intensity_A2[UNIT_NUMBERS.index(43)] = 5
    closed = draw_head(body, closing, _light(0), camera, size_px=128).colour_SS3
    bluish = [(picture[..., 2] / (picture[..., 0] + 1e-3) > 0.8).mean() for picture in (opened, closed)]
    assert bluish[1] < 0.2 * bluish[0]
