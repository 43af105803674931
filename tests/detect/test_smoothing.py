"""Smoothing is a mean of logits over the face's frames within a time, in bounded memory."""

from __future__ import annotations

import numpy as np
import pytest

from mien.detect.smoothing import Smoothing, _Window, smooth
from tests.detect.rows_by_hand import face_row, logit, no_face_row, sigmoid


def by_loop(rows, *, before, after):
    """The definition, row by row: one unit's probability, one intensity."""
    smoothed = []
    for row in rows:
        near = [
            other.values_V
            for other in rows
            if other.face_id == row.face_id and -before - 1e-6 <= other.seconds - row.seconds <= after + 1e-6
        ]
        if row.face_id is not None:
            probability = sigmoid(np.mean([logit(values[0]) for values in near]))
            smoothed.append((probability, np.mean([values[1] for values in near])))
        else:
            smoothed.append(None)
    return smoothed


@pytest.mark.parametrize(("kind", "before", "after"), [("centred", 0.2, 0.2), ("causal", 0.4, 0.0)])
def test_each_row_is_the_mean_over_its_face_s_frames_nearby(kind, before, after):
    generator = np.random.default_rng(0)
    seconds = np.cumsum(generator.uniform(0.005, 0.12, 150))  # a variable frame rate
    rows = []
    for frame, time in enumerate(seconds):
        for face_id in (0, 1):
            values = [generator.uniform(0.02, 0.98), generator.uniform(0, 5)]
            if generator.random() < 0.8:
                rows.append(face_row(time, values, face_id=face_id, frame=frame))
        if generator.random() < 0.1:
            rows.append(no_face_row(time, frame=frame))
    found = list(smooth(rows, Smoothing(0.4, kind), num_units=1))
    assert [(row.frame, row.face_id) for row in found] == [(row.frame, row.face_id) for row in rows]
    for row, expected in zip(found, by_loop(rows, before=before, after=after), strict=True):
        assert (row.values_V is None) == (expected is None)
        assert expected is None or np.allclose(row.values_V, expected, atol=1e-5)


def test_what_does_not_change_is_left_as_it_is():
    rows = [face_row(t / 25, [0.3, 2.0]) for t in range(50)]
    for row in smooth(rows, Smoothing(0.5), num_units=1):
        assert np.allclose(row.values_V, [0.3, 2.0], atol=1e-6)


@pytest.mark.parametrize(("kind", "most"), [("centred", 14), ("causal", 1)])
def test_rows_are_held_back_no_longer_than_half_of_the_time(kind, most):
    given = []

    def rows():
        for t in range(300):
            given.append(t)
            yield face_row(t / 25, [0.5])

    for at, _row in enumerate(smooth(rows(), Smoothing(1.0, kind), num_units=1)):
        assert len(given) - at <= most


@pytest.mark.parametrize("kind", ["centred", "causal"])
@pytest.mark.parametrize("gap", [1 / 15, 1.0, 5.0])
def test_frames_further_apart_than_the_time_are_averaged_alone(gap, kind):
    rows = [face_row(t * gap, [0.1 + 0.2 * (t % 3), 1.0], face_id=face) for t in range(5) for face in (0, 1)]
    rows += [face_row(5 * gap + t, [0.4, 2.0]) for t in (0.0, 0.01, 0.02)] + [no_face_row(9 * gap + 5.0)]
    found = list(smooth(rows, Smoothing(0.06, kind), num_units=1))
    before, after = (0.03, 0.03) if kind == "centred" else (0.06, 0.0)
    for row, expected in zip(found, by_loop(rows, before=before, after=after), strict=True):
        assert expected is None or np.allclose(row.values_V, expected, atol=1e-5)


def test_faces_that_have_gone_are_forgotten():
    window = _Window(0.1, 0.1, 1)
    for t in range(500):
        window.add(face_row(t / 25, [0.5, 0], face_id=t // 5))
        window.forget(before=t / 25 - 0.1)
    assert len(window._of_face) <= 4


def test_intensities_that_the_model_does_not_give_stay_away():
    rows = [face_row(t / 25, [0.3, np.nan]) for t in range(10)]
    for row in smooth(rows, Smoothing(0.2), num_units=1):
        assert np.isnan(row.values_V[1])
        assert row.values_V[0] == pytest.approx(0.3, abs=1e-6)


@pytest.mark.parametrize("seconds", [0, -1, float("inf"), float("nan")])
def test_a_time_that_makes_no_sense_is_refused(seconds):
    with pytest.raises(ValueError, match="smoothing over"):
        Smoothing(seconds)
