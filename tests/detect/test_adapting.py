"""Recalibration on logits whose right line is known, and restraint where there is little to go by."""

import dataclasses

import numpy as np
import pytest
from sklearn.metrics import f1_score

from mien.datasets.base import PICTURE, LabelledFrames
from mien.detect.adapting import FEWEST_FOR_LINE, FEWEST_FOR_OFFSET, adapt, labels_for
from mien.detect.calibration import Calibration, log_loss
from mien.evaluate.metrics import calibration_error
from mien.evaluate.protocols import subject_folds
from tests.detect.conftest import SMALL_CONTRACT
from tests.detect.tiny_model import UNITS, tiny_model


@pytest.fixture(scope="module")
def plain():
    """A model that takes its logits for log-odds."""
    return dataclasses.replace(tiny_model(SMALL_CONTRACT), calibration=Calibration.none(4))


def shifted(*, people=60, rows=40, scale=0.6, bias=-1.5, seed=0, units=UNITS):
    """Logits, and frames whose labels were drawn with log-odds scale * logit + bias."""
    generator = np.random.default_rng(seed)
    N, A = people * rows, len(units)
    logits_NA = generator.normal(0, 2, (N, A)).astype(np.float32)
    occurrence_NA = (generator.random((N, A)) < 1 / (1 + np.exp(-(scale * logits_NA + bias)))).astype(
        np.float32
    )
    frames = LabelledFrames(
        action_units=units,
        path_N=np.array([f"{k}.jpg" for k in range(N)]),
        frame_N=np.full(N, PICTURE),
        seconds_N=np.full(N, np.nan),
        subject_N=np.repeat([f"p{k:03d}" for k in range(people)], rows),
        occurrence_NA=occurrence_NA,
    )
    return logits_NA, frames


def test_the_line_that_shifted_the_logits_is_found(plain):
    adapted = adapt(plain, *shifted())
    assert not adapted.left_alone
    for change in adapted.changes.values():
        assert change.what in ("common", "line")
        assert change.scale == pytest.approx(0.6, abs=0.08)
        assert change.bias == pytest.approx(-1.5, abs=0.15)


def test_it_helps_people_it_has_not_seen(plain):
    logits_NA, frames = shifted(people=60, seed=1)
    few, others = frames.subject_N < "p006", frames.subject_N >= "p006"
    adapted = adapt(plain, logits_NA[few], frames.rows(few)).model
    for column in range(4):
        labels, logits = frames.occurrence_NA[others, column], logits_NA[others, column]
        before, after = plain.calibration.curves[column], adapted.calibration.curves[column]
        assert log_loss(after.log_odds(logits), labels) < log_loss(before.log_odds(logits), labels) - 0.1
    errors = [
        calibration_error(frames.occurrence_NA[others, 0], model.calibration(logits_NA[others])[:, 0])
        for model in (plain, adapted)
    ]
    assert errors[1] < 0.5 * errors[0]


def test_logits_that_fit_already_are_hardly_moved(plain):
    logits_NA, frames = shifted(scale=1.0, bias=0.0)
    adapted = adapt(plain, logits_NA, frames)
    for change in adapted.changes.values():
        assert abs(change.scale - 1.0) < 0.12
        assert abs(change.bias) < 0.15
    assert set(adapted.changes) | set(adapted.left_alone) == set(plain.columns)


def test_a_unit_with_few_frames_moves_with_the_others_and_keeps_its_threshold(plain):
    logits_NA, frames = shifted()
    occurrence_NA = frames.occurrence_NA.copy()
    occurrence_NA[:, 0] = np.where(np.arange(len(occurrence_NA)) < 3, 1, 0)
    occurrence_NA[:, 3] = np.nan
    adapted = adapt(plain, logits_NA, dataclasses.replace(frames, occurrence_NA=occurrence_NA))
    assert adapted.left_alone == {"AU25": "not coded"}
    change = adapted.changes["AU01"]
    assert change.what == "common"
    assert change.threshold == change.threshold_before
    assert adapted.model.calibration.curves[3] is plain.calibration.curves[3]
    assert adapted.model.threshold_A[3] == plain.threshold_A[3]


def test_too_few_frames_leave_everything_alone(plain):
    logits_NA, frames = shifted(people=10, rows=40)
    occurrence_NA = np.full_like(frames.occurrence_NA, np.nan)
    occurrence_NA[:, 0] = np.where(np.arange(400) < FEWEST_FOR_OFFSET - 1, 1, 0)
    adapted = adapt(plain, logits_NA, dataclasses.replace(frames, occurrence_NA=occurrence_NA))
    assert adapted.changes == {}
    assert adapted.left_alone["AU01"] == "4 frames show it and 396 do not; it takes 5 of both"
    assert adapted.model.digest == plain.digest


def test_with_few_frames_of_a_unit_alone_only_its_offset_moves(plain):
    logits_NA, frames = shifted(people=10, rows=40, scale=1.0, bias=0.0)
    occurrence_NA = np.full_like(frames.occurrence_NA, np.nan)
    occurrence_NA[:, 0] = 0
    occurrence_NA[np.argsort(-logits_NA[:, 0])[: FEWEST_FOR_LINE - 1], 0] = 1
    change = adapt(plain, logits_NA, dataclasses.replace(frames, occurrence_NA=occurrence_NA)).changes["AU01"]
    assert change.what == "offset"
    assert change.scale == pytest.approx(1.0, abs=0.01)
    assert change.bias < -0.3
    assert change.threshold == change.threshold_before


def test_one_person_moves_less_than_many_with_as_many_frames(plain):
    logits_NA, frames = shifted(people=40, rows=10, bias=-2.0)
    many = adapt(plain, logits_NA, frames).changes["AU01"]
    one = adapt(plain, logits_NA, dataclasses.replace(frames, subject_N=np.full(400, "p"))).changes["AU01"]
    assert abs(one.bias) < abs(many.bias)
    assert one.bias < -0.2


def test_the_network_and_what_was_not_asked_stay_as_they_were(plain):
    adapted = adapt(plain, *shifted()).model
    assert adapted.network_digest == plain.network_digest
    assert adapted.digest != plain.digest
    assert adapted.outputs == plain.outputs


def test_a_line_follows_isotonic_knots():
    model = tiny_model(SMALL_CONTRACT)
    logits_NA, frames = shifted()
    log_odds = model.calibration.curves[2].log_odds(logits_NA[:, 2])
    change = adapt(model, logits_NA, frames).changes["AU12"]
    found = adapt(model, logits_NA, frames).model.calibration.curves[2].log_odds(logits_NA[:, 2])
    assert np.allclose(found, change.scale * log_odds + change.bias)


@pytest.mark.parametrize("people", [2, 7, 1])
def test_what_it_is_worth_is_told_on_faces_that_no_part_of_it_has_seen(plain, people):
    """By hand: all of it done anew without a fold, and told on that fold."""
    logits_NA, frames = shifted(people=max(people, 2), rows=840 // max(people, 2), seed=3)
    if people == 1:
        frames = dataclasses.replace(frames, subject_N=np.full(840, "p"))
    adapted = adapt(plain, logits_NA, frames)
    assert adapted.left_out == ("people" if people > 1 else "stretches")
    group_N = frames.subject_N if people > 1 else np.arange(840) // 210
    fold_N = subject_folds(group_N, num_folds=min(5, len(set(group_N.tolist()))))
    log_odds_NA, present_NA = np.zeros((840, 4)), np.zeros((840, 4), bool)
    for fold in set(fold_N.tolist()):
        own = fold_N == fold
        without = adapt(plain, logits_NA[~own], frames.rows(~own)).model
        for column, curve in enumerate(without.calibration.curves):
            log_odds_NA[own, column] = curve.log_odds(logits_NA[own, column])
        present_NA[own] = without.present(without.calibration(logits_NA[own]))
    assert adapted.changes
    for column, name in enumerate(plain.columns):
        if name in adapted.changes:
            change, labels_N = adapted.changes[name], frames.occurrence_NA[:, column]
            assert change.log_loss == pytest.approx(log_loss(log_odds_NA[:, column], labels_N), abs=1e-6)
            assert change.f1 == pytest.approx(f1_score(labels_N, present_NA[:, column]), abs=1e-6)


def test_stretches_are_of_time_whatever_the_order_of_the_table(plain):
    logits_NA, frames = shifted(people=1, rows=800)
    frames = dataclasses.replace(
        frames, path_N=np.full(800, "v.mp4"), frame_N=np.arange(800), subject_N=np.full(800, "p")
    )
    order = np.random.default_rng(0).permutation(800)
    sorted_, mixed = adapt(plain, logits_NA, frames), adapt(plain, logits_NA[order], frames.rows(order))
    assert sorted_.changes
    assert mixed.changes == sorted_.changes


def test_present_and_absent_follow_the_recalibrated_probability(plain):
    """The told shares are those of the models themselves, and what is left alone calls what it called."""
    logits_NA, frames = shifted(people=12)
    occurrence_NA = frames.occurrence_NA.copy()
    occurrence_NA[:, 0] = np.where(np.arange(len(occurrence_NA)) < 3, 1, 0)  # the common line alone
    occurrence_NA[:, 3] = np.nan
    adapted = adapt(plain, logits_NA, dataclasses.replace(frames, occurrence_NA=occurrence_NA))
    before_NA, after_NA = (model.present(model.calibration(logits_NA)) for model in (plain, adapted.model))
    for column, name in enumerate(plain.columns[:3]):
        change = adapted.changes[name]
        assert change.share_present_before == pytest.approx(before_NA[:, column].mean())
        assert change.share_present == pytest.approx(after_NA[:, column].mean())
    assert np.array_equal(after_NA[:, 3], before_NA[:, 3])
    change = adapted.changes["AU01"]
    line_N = change.scale * logits_NA[:, 0] + change.bias
    threshold = change.threshold_before
    assert np.array_equal(after_NA[:, 0], line_N > np.log(threshold / (1 - threshold)))


def test_units_are_matched_by_number_not_by_place(plain):
    logits_NA, frames = shifted(units=(25, 12, 2, 1))
    labels_NA = labels_for(plain.units, frames)
    assert np.array_equal(labels_NA[:, 0], frames.occurrence_NA[:, 3])
    assert np.array_equal(labels_NA[:, 3], frames.occurrence_NA[:, 0])
    assert np.isnan(labels_NA[:, 1]).all()
    with pytest.raises(ValueError, match="none of the 4 units of a tiny model is coded"):
        adapt(plain, logits_NA, dataclasses.replace(frames, action_units=(5, 6, 7, 9)))


def test_thresholds_are_drawn_towards_the_old_ones(plain):
    logits_NA, frames = shifted()
    change = adapt(plain, logits_NA, frames).changes["AU01"]
    probability = 1 / (1 + np.exp(-(change.scale * logits_NA[:, 0] + change.bias)))

    def f1(threshold):
        return f1_score(frames.occurrence_NA[:, 0], probability > threshold)

    best = max(f1(t) for t in np.linspace(0.05, 0.95, 91))
    assert f1(change.threshold) > best - 0.01
    assert change.threshold != change.threshold_before
