import pytest
import torch

from mien.layers.curriculum import PercentileCurriculum

SHORT = {"window_steps": 2, "patience_windows": 3}


def observe(curriculum, *losses):
    for loss in losses:
        curriculum.observe(torch.tensor(loss))


def test_begins_with_the_easier_half():
    curriculum = PercentileCurriculum(**SHORT)
    assert (curriculum.low, curriculum.high) == (0.0, 0.5)


def test_stays_while_the_loss_falls():
    curriculum = PercentileCurriculum(**SHORT)
    observe(curriculum, *(1.0 / (1 + step) for step in range(40)))
    assert curriculum.low == 0.0


def test_moves_a_tenth_after_the_patience_is_over():
    curriculum = PercentileCurriculum(**SHORT)
    observe(curriculum, *[1.0] * 7)  # the best window, two stalled ones and half of the third
    assert curriculum.low == 0.0
    observe(curriculum, 1.0)
    assert (curriculum.low, curriculum.high) == (0.1, 0.6)


def test_stops_at_the_last_tenth():
    curriculum = PercentileCurriculum(**SHORT)
    observe(curriculum, *[1.0] * 200)
    assert (curriculum.low, curriculum.high) == (0.4, 0.9)


def test_a_resumed_curriculum_moves_at_the_same_step():
    unbroken, first = PercentileCurriculum(**SHORT), PercentileCurriculum(**SHORT)
    observe(unbroken, *[1.0] * 5)
    observe(first, *[1.0] * 5)
    resumed = PercentileCurriculum(**SHORT)
    resumed.load_state_dict(first.state_dict())
    bands = []
    for curriculum in (unbroken, resumed):
        trail = []
        for _ in range(20):
            observe(curriculum, 1.0)
            trail.append(curriculum.low)
        bands.append(trail)
    assert bands[0] == bands[1]
    assert bands[0][-1] > 0


def test_no_window_is_refused():
    with pytest.raises(ValueError, match="window_steps = 0"):
        PercentileCurriculum(window_steps=0, patience_windows=1)
