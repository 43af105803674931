from __future__ import annotations

import numpy as np
import pytest

from mien_render.actions import (
    RENDERED_UNITS,
    UNIT_NUMBERS,
    coded_intensity,
    excursion,
    lips_kept_together,
    shape_matrix,
    shape_weights,
)
from mien_render.body import Body, Moment, Stage
from mien_render.person import PeopleSettings, draw_person

EXPECTED = (1, 2, 4, 5, 6, 7, 9, 10, 12, 14, 15, 17, 20, 22, 23, 24, 25, 26, 27, 43, 45)


def _intensities(**units: tuple[float, float]) -> np.ndarray:
    intensity_A2 = np.zeros((len(UNIT_NUMBERS), 2), dtype=np.float32)
    for name, value in units.items():
        intensity_A2[UNIT_NUMBERS.index(int(name[2:]))] = value
    return intensity_A2


@pytest.fixture(scope="module")
def body(tiny_stage: Stage) -> Body:
    return Body(tiny_stage, draw_person(np.random.default_rng(2), PeopleSettings(), num_identity_shapes=4))


def test_all_the_units_are_drawn():
    assert UNIT_NUMBERS == EXPECTED


def test_excursion_grows_with_every_letter():
    share = excursion(np.linspace(0, 5, 51))
    assert share[0] == 0 and share[-1] == 1
    assert (np.diff(share) > 0).all()


def test_weight_at_full_intensity_is_the_stated_gain(tiny_stage: Stage):
    number = tiny_stage.surface.expression_number
    weights = shape_weights(_intensities(AU04=(5, 0)), tiny_stage.gains_2AE)
    assert weights[number["browDown_L"]] == pytest.approx(RENDERED_UNITS[4].sided["browDown"])
    assert weights[number["browDown_R"]] == 0


def test_one_sided_action_moves_one_side_only(body: Body):
    rest = body.pose(Moment(_intensities())).vertices_V3
    moved = np.linalg.norm(body.pose(Moment(_intensities(AU12=(5, 0)))).vertices_V3 - rest, axis=1)
    right = rest[:, 0] < -3
    assert moved.max() > 0.1
    assert moved[right].max() < 0.3 * moved.max()


@pytest.mark.parametrize("unit", EXPECTED)
def test_every_unit_moves_the_face_more_with_every_letter(body: Body, unit: int):
    rest = body.pose(Moment(_intensities())).vertices_V3
    far = [
        np.linalg.norm(
            body.pose(Moment(_intensities(**{f"AU{unit:02d}": (step, step)}))).vertices_V3 - rest, axis=1
        ).sum()
        for step in range(6)
    ]
    assert far[0] == 0
    assert (np.diff(far) > 0).all()


def test_jaw_drops_with_lips_together_unless_lips_part():
    assert lips_kept_together(_intensities(AU26=(5, 5))) > 0.3
    assert lips_kept_together(_intensities(AU26=(5, 5), AU25=(3, 3))) == 0
    assert lips_kept_together(_intensities(AU25=(3, 3))) == 0


def test_lips_part_is_coded_where_the_mouth_is_stretched_open():
    coded = coded_intensity(_intensities(AU27=(4, 4))[None])[0]
    assert coded[UNIT_NUMBERS.index(25)].tolist() == [4, 4]
    assert coded[UNIT_NUMBERS.index(27)].tolist() == [4, 4]


def test_coding_changes_nothing_but_lips_part():
    driving = np.random.default_rng(1).uniform(0, 5, (50, len(UNIT_NUMBERS), 2)).astype(np.float32)
    others = [at for at, unit in enumerate(UNIT_NUMBERS) if unit != 25]
    np.testing.assert_allclose(coded_intensity(driving)[:, others], driving[:, others], atol=1e-3)


def test_model_without_a_shape_is_refused_by_name():
    with pytest.raises(ValueError, match="browDown_L"):
        shape_matrix({"jawOpen": 0})


def test_everybody_can_close_their_eyes():
    people = [
        draw_person(np.random.default_rng(seed), PeopleSettings(), num_identity_shapes=4)
        for seed in range(20)
    ]
    lids = [UNIT_NUMBERS.index(unit) for unit in (43, 45)]
    assert all((person.unit_gain_A2[lids] == 1).all() for person in people)


def test_lips_part_only_where_a_unit_parts_them():
    parting = [UNIT_NUMBERS.index(unit) for unit in (9, 10, 22, 25, 26, 27)]
    people = [
        draw_person(np.random.default_rng(seed), PeopleSettings(), num_identity_shapes=4)
        for seed in range(20)
    ]
    assert all((person.resting_A[parting] == 0).all() for person in people)
