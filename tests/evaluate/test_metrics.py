"""Scores against scikit-learn, loops, and values worked by hand."""

import numpy as np
import pytest
import scipy.stats
from sklearn import metrics as sklearn_metrics

from mien.evaluate.metrics import (
    always_on_f1,
    calibration_error,
    class_accuracies,
    compare_accuracies,
    confusion_counts,
    f1_of_counts,
    icc_3_1,
    scores_of,
)


def test_worked_f1():
    labels_N1 = np.array([[1, 1, 1, 0, 0]]).T.astype(float)
    predicted_N1 = np.array([[1, 1, 0, 1, 0]]).T
    counts_A4 = confusion_counts(labels_N1, predicted_N1)
    assert counts_A4.tolist() == [[2, 1, 1, 1]]
    assert f1_of_counts(counts_A4)[0] == pytest.approx(0.666667, abs=1e-6)


def test_mean_of_folds_and_pooled_are_the_worked_ones_and_differ():
    counts_FA4 = np.array([[[10, 5, 5, 0]], [[0, 2, 3, 0]], [[50, 10, 40, 0]]])
    assert f1_of_counts(counts_FA4).mean(axis=0)[0] == pytest.approx(0.444444, abs=1e-6)
    assert f1_of_counts(counts_FA4.sum(axis=0))[0] == pytest.approx(0.648649, abs=1e-6)


def test_f1_without_any_positive_is_zero():
    assert scores_of(np.zeros((5, 1)), np.zeros((5, 1))).f1[0] == 0
    assert f1_of_counts(np.array([0, 0, 0, 5])) == 0


def test_the_floor_of_always_on_is_the_f1_of_predicting_everything():
    rate_A = np.array([0.054, 0.2, 0.5])
    np.testing.assert_allclose(always_on_f1(rate_A), [0.102, 0.333, 0.667], atol=5e-4)
    labels_N1 = (np.arange(1000) < 54).astype(float)[:, None]
    assert scores_of(labels_N1, np.ones((1000, 1))).f1[0] == pytest.approx(always_on_f1(rate_A)[0])


def test_what_is_undefined_is_nan():
    labels_NA = np.array([[1, np.nan, 0], [1, np.nan, 1]])
    scores = scores_of(labels_NA, np.full((2, 3), 0.7))
    assert np.isnan(scores.roc_auc).tolist() == [True, True, False]
    assert np.isnan(scores.f1).tolist() == [False, True, False]


def test_calibration_error_is_the_loop_over_bins():
    generator = np.random.default_rng(1)
    probability_N = generator.random(500)
    labels_N = (generator.random(500) < probability_N**2).astype(int)
    expected = 0.0
    for low in range(15):
        inside = (probability_N >= low / 15) & (probability_N < (low + 1) / 15)
        if inside.any():
            expected += inside.mean() * abs(probability_N[inside].mean() - labels_N[inside].mean())
    assert calibration_error(labels_N, probability_N) == pytest.approx(expected)
    assert calibration_error(np.ones(4), np.ones(4)) == 0


def test_icc_forgives_an_offset_but_not_a_reversal_and_ignores_what_is_not_coded():
    x = np.array([0.0, 1, 2, 5, np.nan])
    assert icc_3_1(x[:, None], (x + 3)[:, None])[0] == pytest.approx(1)
    assert icc_3_1(x[:, None], (-x)[:, None])[0] == pytest.approx(-1)
    assert np.isnan(icc_3_1(np.ones((4, 1)), np.ones((4, 1)))[0])


def _class_accuracies(true_N, predicted_N, num_classes):
    return class_accuracies(sklearn_metrics.confusion_matrix(true_N, predicted_N, labels=range(num_classes)))


def _loop_of_accuracies(true_N, predicted_N, num_classes):
    return np.mean(
        [(predicted_N[true_N == c] == c).mean() for c in range(num_classes) if (true_N == c).any()]
    )


def test_the_interval_of_a_mean_accuracy_is_that_of_pictures_drawn_anew():
    generator = np.random.default_rng(0)
    true = generator.choice(3, 400, p=[0.7, 0.2, 0.1])
    predicted = np.where(generator.random(400) < 0.7, true, generator.integers(0, 3, 400))
    _, found = _class_accuracies(true, predicted, 3)
    assert found.value == pytest.approx(_loop_of_accuracies(true, predicted, 3))
    draws = generator.integers(0, 400, (2000, 400))
    drawn = [_loop_of_accuracies(true[rows], predicted[rows], 3) for rows in draws]
    np.testing.assert_allclose([found.low, found.high], np.quantile(drawn, [0.025, 0.975]), atol=0.01)


def test_accuracies_are_compared_picture_by_picture():
    generator = np.random.default_rng(0)
    true = generator.integers(0, 3, 300)
    a, b = (np.where(generator.random(300) < skill, true, (true + 1) % 3) for skill in (0.6, 0.8))
    each, mean = compare_accuracies(true, a, b, num_classes=4)
    expected = _loop_of_accuracies(true, b, 3) - _loop_of_accuracies(true, a, 3)
    assert mean.difference.value == pytest.approx(expected)
    assert mean.difference.low < expected < mean.difference.high
    assert mean.p_value < 0.01
    assert np.isnan([each[3].difference.value, each[3].p_value]).all()  # nobody shows the fourth
    for c in range(3):
        own = true == c
        assert each[c].difference.value == pytest.approx((b == true)[own].mean() - (a == true)[own].mean())


def test_the_test_of_accuracies_is_the_exact_sign_test():
    true, a = np.zeros(40, int), np.zeros(40, int)
    a[:10] = 1  # b alone is right ten times, a alone twice
    b = np.zeros(40, int)
    b[10:12] = 1
    _, mean = compare_accuracies(true, a, b, num_classes=1)
    assert mean.p_value == pytest.approx(scipy.stats.binomtest(10, 12).pvalue, abs=0.015)


def test_predictions_compared_with_themselves_differ_by_nothing():
    true = np.arange(60) % 3
    _, mean = compare_accuracies(true, true[::-1], true[::-1], num_classes=3)
    assert (mean.difference.low, mean.difference.high, mean.p_value) == (0, 0, 1)
