"""The baseline lowers a face's own neutral to 5 %; smoothing is a mean of logits over time."""

from __future__ import annotations

import numpy as np
import pytest

from mien.detect.signals import (
    Baseline,
    Smoothing,
    neutral_of_file,
    smooth,
    without_first_seconds_neutral,
    without_neutral,
)
from mien.detect.table import TableLayout
from tests.detect.rows_by_hand import face_row, logit, no_face_row, sigmoid


def first_seconds(rows, text, layout, **more):
    return without_first_seconds_neutral(rows, Baseline.parse(text), layout=layout, **more)


LAYOUTS = {
    A: TableLayout((1, 2)[:A], np.zeros(A, np.float32), None, ("AU01_intensity_left",)) for A in (1, 2)
}


def test_the_median_of_the_first_seconds_comes_to_read_5_percent():
    rest, smile = [0.6, 0.01, 1.5], [0.95, 0.4, 4.0]  # two units, one intensity
    rows = [face_row(t / 25, rest if t < 70 else smile) for t in range(100)]
    found = list(first_seconds(rows, "first:2", LAYOUTS[2]))
    assert [row.frame for row in found] == list(range(100))
    assert np.allclose(found[0].values_V, [0.05, 0.01, 0.0], atol=1e-6)
    expected = sigmoid(logit(0.95) - (logit(0.6) - logit(0.05)))
    assert np.allclose(found[-1].values_V, [expected, 0.4, 2.5], atol=1e-6)


def test_every_face_has_a_neutral_of_its_own_from_when_it_comes():
    rows = []
    for t in range(200):
        rows.append(face_row(t / 25, [0.5], face_id=0))
        if t >= 90:
            rows.append(face_row(t / 25, [0.8], face_id=1))
    found = list(first_seconds(rows, "first:1", LAYOUTS[1]))
    assert [(row.frame, row.face_id) for row in found] == [(row.frame, row.face_id) for row in rows]
    assert np.allclose([row.values_V[0] for row in found], 0.05, atol=1e-6)


def test_no_more_than_the_first_seconds_are_held_back():
    given = []

    def rows():
        for t in range(500):
            given.append(t)
            yield face_row(t / 25, [0.5], face_id=t // 100) if t % 7 else no_face_row(t / 25)

    for at, _row in enumerate(first_seconds(rows(), "first:2", LAYOUTS[1])):
        assert len(given) - at <= 2 * 25 + 2


@pytest.mark.parametrize("percentile", [5, 10, 50, 95])
def test_a_file_s_percentile_is_that_of_all_its_logits(percentile):
    generator = np.random.default_rng(percentile)
    values = np.column_stack([sigmoid(generator.normal(0, 3, (4000, 2))), generator.uniform(0, 5, 4000)])
    rows = [face_row(t / 25, values[t]) for t in range(4000)]
    found = neutral_of_file(rows, Baseline.parse(f"file:{percentile}"), layout=LAYOUTS[2])
    expected = np.percentile(np.column_stack([logit(values[:, :2]), values[:, 2]]), percentile, axis=0)
    assert np.allclose(found[0], expected, atol=0.05)


def test_intensities_that_the_model_does_not_give_stay_away():
    rows = [face_row(t / 25, [0.3, np.nan]) for t in range(50)]
    neutral = neutral_of_file(rows, Baseline.parse("file"), layout=LAYOUTS[1])
    for row in smooth(rows, Smoothing(0.2), layout=LAYOUTS[1]):
        assert np.isnan(without_neutral(row, neutral, layout=LAYOUTS[1]).values_V[1])
        assert np.isnan(row.values_V[1])
        assert row.values_V[0] == pytest.approx(0.3, abs=1e-6)


def test_frames_without_a_face_pass():
    rows = [no_face_row(0.0), face_row(0.04, [0.5]), no_face_row(0.08)]
    found = list(first_seconds(rows, "first:5", LAYOUTS[1]))
    assert [row.face_id for row in found] == [None, 0, None]


@pytest.mark.parametrize(
    "text", ["", "first", "first:", "first:x", "first:-1", "file:101", "file:x", "last:3"]
)
def test_what_is_no_baseline_is_refused_with_what_is(text):
    with pytest.raises(ValueError, match=r"expected first:SECONDS \(as first:5\), file"):
        Baseline.parse(text)


@pytest.mark.parametrize(
    ("num_frames", "expected"),
    [(1, {0: 0.0}), (24, {0: 0.96}), (25, {}), (26, {}), (27, {})],  # a lone frame's length is not known
)
def test_first_seconds_are_cut_short_where_frames_do_not_last_as_long(num_frames, expected):
    rows = [face_row(t / 25, [0.5]) for t in range(num_frames)]
    cut_short = {}
    list(first_seconds(rows, "first:1", LAYOUTS[1], cut_short=cut_short))
    assert cut_short == expected


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
    found = list(smooth(rows, Smoothing(0.4, kind), layout=LAYOUTS[1]))
    assert [(row.frame, row.face_id) for row in found] == [(row.frame, row.face_id) for row in rows]
    for row, expected in zip(found, by_loop(rows, before=before, after=after), strict=True):
        assert (row.values_V is None) == (expected is None)
        assert expected is None or np.allclose(row.values_V, expected, atol=1e-5)


@pytest.mark.parametrize(("kind", "most"), [("centred", 14), ("causal", 1)])
def test_rows_are_held_back_no_longer_than_half_of_the_time(kind, most):
    given = []

    def rows():
        for t in range(300):
            given.append(t)
            yield face_row(t / 25, [0.5])

    for at, _row in enumerate(smooth(rows(), Smoothing(1.0, kind), layout=LAYOUTS[1])):
        assert len(given) - at <= most


@pytest.mark.parametrize("kind", ["centred", "causal"])
@pytest.mark.parametrize("gap", [1 / 15, 1.0, 5.0])
def test_frames_further_apart_than_the_time_are_averaged_alone(gap, kind):
    rows = [face_row(t * gap, [0.1 + 0.2 * (t % 3), 1.0], face_id=face) for t in range(5) for face in (0, 1)]
    rows += [face_row(5 * gap + t, [0.4, 2.0]) for t in (0.0, 0.01, 0.02)] + [no_face_row(9 * gap + 5.0)]
    found = list(smooth(rows, Smoothing(0.06, kind), layout=LAYOUTS[1]))
    before, after = (0.03, 0.03) if kind == "centred" else (0.06, 0.0)
    for row, expected in zip(found, by_loop(rows, before=before, after=after), strict=True):
        assert expected is None or np.allclose(row.values_V, expected, atol=1e-5)


@pytest.mark.parametrize("seconds", [0, -1, float("inf"), float("nan")])
def test_a_time_that_makes_no_sense_is_refused(seconds):
    with pytest.raises(ValueError, match="smoothing over"):
        Smoothing(seconds)


def test_gaze_is_averaged_and_has_no_neutral_and_no_bounds():
    layout = TableLayout((1,), np.zeros(1, np.float32), None, (), ("gaze_yaw",))
    rows = [face_row(t / 25, [0.5, -20.0 - 20.0 * (t % 2)]) for t in range(50)]
    neutral = neutral_of_file(rows, Baseline.parse("file"), layout=layout)
    first = list(first_seconds(rows, "first:1", layout))
    for found in (first, [without_neutral(row, neutral, layout=layout) for row in rows]):
        assert [row.values_V[1] for row in found] == [row.values_V[1] for row in rows]
    smoothed = list(smooth(rows, Smoothing(0.08), layout=layout))
    assert smoothed[20].values_V[1] == pytest.approx((-20 - 2 * 40) / 3)
