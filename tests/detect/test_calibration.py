"""Calibration on logits whose right curve is known, because the labels were drawn from it."""

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from mien.detect.calibration import (
    ISOTONIC,
    PLATT,
    TEMPERATURE,
    WEAK,
    Calibration,
    Curve,
    LinePrior,
    choose_curve,
    fit_isotonic,
    fit_line,
    log_loss,
)
from mien.evaluate.metrics import calibration_error


def drawn(curve, *, num=20000, num_subjects=20, seed=0):
    """Logits, labels drawn with the curve's probability, and people."""
    generator = np.random.default_rng(seed)
    logit_N = generator.normal(0, 2, num)
    label_N = (generator.random(num) < 1 / (1 + np.exp(-curve(logit_N)))).astype(np.float32)
    return logit_N, label_N, np.array([f"s{k % num_subjects:02d}" for k in range(num)])


def test_the_line_that_drew_the_labels_is_found_again():
    logit_N, label_N, _ = drawn(lambda z: 0.6 * z - 1.5)
    line = fit_line(logit_N, label_N)
    assert line.scale == pytest.approx(0.6, abs=0.03)
    assert line.bias == pytest.approx(-1.5, abs=0.06)


def test_the_line_is_logistic_regressions():
    logit_N, label_N, _ = drawn(lambda z: 1.3 * z + 0.4, num=2000)
    free = LinePrior(scale_deviation=1e4, bias_deviation=1e4)
    oracle = LogisticRegression(C=np.inf, tol=1e-10, max_iter=1000).fit(logit_N[:, None], label_N)
    line = fit_line(logit_N, label_N, prior=free)
    assert line.scale == pytest.approx(oracle.coef_[0, 0], abs=1e-3)
    assert line.bias == pytest.approx(oracle.intercept_[0], abs=1e-3)


def test_a_temperature_leaves_the_offset_at_zero():
    logit_N, label_N, _ = drawn(lambda z: z / 3)
    curve = fit_line(logit_N, label_N, prior=LinePrior(bias_deviation=0.0))
    assert curve.bias == 0.0
    assert curve.scale == pytest.approx(1 / 3, abs=0.02)


def test_without_frames_the_prior_stands_and_few_frames_move_it_little():
    nothing = fit_line(np.zeros(0), np.zeros(0))
    assert (nothing.scale, nothing.bias) == (1.0, 0.0)
    logit_N, label_N = np.array([-1.0, 2.0]), np.array([1.0, 0.0])
    strict, weak = (fit_line(logit_N, label_N, prior=p) for p in (LinePrior(0.05, 0.05), WEAK))
    assert abs(strict.scale - 1) < 0.05 < abs(weak.scale - 1)


def test_a_weight_counts_as_that_many_frames():
    logit_N, label_N, _ = drawn(lambda z: 0.5 * z - 1, num=50)
    twice = fit_line(np.tile(logit_N, 2), np.tile(label_N, 2), weight=0.5)
    once = fit_line(logit_N, label_N)
    assert twice.scale == pytest.approx(once.scale, abs=1e-4)
    assert twice.bias == pytest.approx(once.bias, abs=1e-4)


@pytest.mark.parametrize(
    ("truth", "kind"),
    [
        (lambda z: 2.5 * z, TEMPERATURE),
        (lambda z: 0.8 * z - 2.0, PLATT),
        (lambda z: np.where(z > 0, 3.0, -1.0) + 0.01 * z, ISOTONIC),
    ],
)
def test_the_kind_that_drew_the_labels_is_chosen(truth, kind):
    curve, losses = choose_curve(*drawn(truth))
    assert curve.kind == kind
    assert min(losses, key=losses.get) == kind


def test_calibrating_makes_probabilities_true_on_people_left_out():
    train, test = drawn(lambda z: 0.5 * z - 2), drawn(lambda z: 0.5 * z - 2, seed=1)
    curve, _ = choose_curve(*train)
    before, after = Calibration.none(1), Calibration((curve,))
    errors = [calibration_error(test[1], c(test[0][:, None])[:, 0]) for c in (before, after)]
    assert errors[0] > 0.2
    assert errors[1] < 0.02


def test_frames_that_are_not_coded_do_not_count():
    logit_N, label_N, subject_N = drawn(lambda z: z - 1, num=3000)
    label_N[::3] = np.nan
    coded_N = ~np.isnan(label_N)
    with_gaps, _ = choose_curve(logit_N, label_N, subject_N)
    without, _ = choose_curve(logit_N[coded_N], label_N[coded_N], subject_N[coded_N])
    assert (with_gaps.scale, with_gaps.bias) == (without.scale, without.bias)


def test_one_class_or_one_person_leaves_the_logits_as_they_are():
    logit_N, label_N, subject_N = drawn(lambda z: z, num=300)
    assert choose_curve(logit_N, np.zeros(300), subject_N)[0].kind == "as it is"
    assert choose_curve(logit_N, label_N, np.full(300, "s"))[0].kind == "as it is"


def test_isotonic_never_says_never():
    curve = fit_isotonic(np.arange(10.0), (np.arange(10) > 4).astype(float))
    assert np.abs(curve.log_odds(np.array([-100.0, 100.0]))).max() == pytest.approx(np.log(11))


def test_log_loss_is_scikit_learns():
    from sklearn.metrics import log_loss as oracle

    log_odds_N, label_N = np.array([-2.0, 0.3, 4.0]), np.array([0, 1, 0])
    assert log_loss(log_odds_N, label_N) == pytest.approx(oracle(label_N, 1 / (1 + np.exp(-log_odds_N))))


def test_probabilities_stay_off_zero_and_one():
    probability = Calibration((Curve(),))(np.array([[-1000.0], [1000.0]]))
    assert 0 < probability[0, 0] < 1e-5
    assert 1 - 1e-5 < probability[1, 0] < 1
