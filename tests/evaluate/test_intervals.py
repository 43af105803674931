"""Intervals and tests over subjects: exact where scikit-learn can say, honest about what is chance."""

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from mien.evaluate.metrics import (
    auc_pairs,
    auc_resampled,
    compare_f1,
    counts_by_subject,
    f1_intervals,
    f1_per_column,
    holm,
    percentile_interval,
    subject_weights,
)


def _people(num_subjects=20, rows=30, *, skill=0.7, seed=0, num_aus=2):
    generator = np.random.default_rng(seed)
    subject_N = np.repeat(np.arange(num_subjects), rows)
    labels_NA = (generator.random((num_subjects * rows, num_aus)) < 0.3).astype(float)
    right_NA = generator.random(labels_NA.shape) < skill
    return subject_N, labels_NA, np.where(right_NA, labels_NA, 1 - labels_NA)


def test_a_resample_is_the_f1_of_those_people_repeated():
    subject_N, labels_NA, predicted_NA = _people(4)
    counts_SA4 = counts_by_subject(labels_NA, predicted_NA, subject_N)
    weight_1S = np.array([[2, 0, 1, 1]])
    rows = np.concatenate([np.flatnonzero(subject_N == s) for s in (0, 0, 2, 3)])
    each, _ = f1_intervals(counts_SA4, np.zeros(4), weight_1S)
    expected = f1_per_column(labels_NA[rows], predicted_NA[rows])
    np.testing.assert_allclose([interval.low for interval in each], expected)


def test_auc_of_a_resample_is_scikit_learns_of_those_people_repeated():
    subject_N, labels_NA, _ = _people(5)
    score_N = np.round(np.random.default_rng(3).normal(size=len(subject_N)) + labels_NA[:, 0], 1)  # with ties
    weight_1S = np.array([[0, 3, 1, 0, 1]])
    rows = np.concatenate([np.flatnonzero(subject_N == s) for s in (1, 1, 1, 2, 4)])
    interval = percentile_interval(
        *auc_resampled(labels_NA[:, 0], score_N, subject_N, np.zeros(5), weight_1S)
    )
    assert interval.value == pytest.approx(roc_auc_score(labels_NA[:, 0], score_N))
    assert interval.high == pytest.approx(roc_auc_score(labels_NA[rows, 0], score_N[rows]))


def test_folds_count_alike_and_their_scores_are_never_ranked_together():
    subject_N, labels_NA, predicted_NA = _people(4)
    fold_S = np.array([0, 0, 1, 1])
    counts_SA4 = counts_by_subject(labels_NA, predicted_NA, subject_N)
    each, _ = f1_intervals(counts_SA4, fold_S, subject_weights(fold_S, seed=0))
    parts = [f1_per_column(labels_NA[own], predicted_NA[own]) for own in (subject_N < 2, subject_N >= 2)]
    np.testing.assert_allclose([interval.value for interval in each], np.mean(parts, axis=0))
    score_N = labels_NA[:, 0] + 10 * (subject_N >= 2)  # perfect within a fold, on another scale in the other
    interval = percentile_interval(
        *auc_resampled(labels_NA[:, 0], score_N, subject_N, fold_S, subject_weights(fold_S, seed=0))
    )
    assert interval.value == interval.low == interval.high == 1


def test_every_fold_keeps_its_number_of_people_in_a_resample():
    fold_S = np.array(["a", "b", "a", "b", "b"])
    weight_RS = subject_weights(fold_S, seed=3, num_resamples=50)
    assert (weight_RS[:, fold_S == "a"].sum(axis=1) == 2).all()
    assert (weight_RS[:, fold_S == "b"].sum(axis=1) == 3).all()


def test_pairs_count_ties_half():
    wins_SS, positives_S, negatives_S = auc_pairs(
        np.array([1, 0, 0, np.nan]), np.array([0.5, 0.5, 0.1, 0.9]), np.array(["a", "a", "b", "b"])
    )
    assert wins_SS.tolist() == [[0.5, 1], [0, 0]]
    assert (positives_S.tolist(), negatives_S.tolist()) == ([1, 0], [1, 1])


def test_intervals_by_subject_are_wider_than_frames_alone_would_say():
    generator = np.random.default_rng(0)
    good_N = np.repeat(generator.random(20) < 0.5, 100)  # each person all right or all wrong
    subject_N = np.repeat(np.arange(20), 100)
    labels_N1 = (generator.random((2000, 1)) < 0.5).astype(float)
    predicted_N1 = np.where(good_N[:, None], labels_N1, 1 - labels_N1)
    _, by_subject = f1_intervals(
        counts_by_subject(labels_N1, predicted_N1, subject_N),
        np.zeros(20),
        subject_weights(np.zeros(20), seed=0),
    )
    assert by_subject.high - by_subject.low > 0.3


def test_an_encoder_against_itself_differs_by_nothing():
    subject_N, labels_NA, predicted_NA = _people()
    counts = counts_by_subject(labels_NA, predicted_NA, subject_N)
    each, mean = compare_f1(counts, counts, np.zeros(20), subject_weights(np.zeros(20), seed=0), seed=0)
    assert mean.p_value == 1
    assert (mean.difference.low, mean.difference.value, mean.difference.high) == (0, 0, 0)
    assert all(test.p_value == 1 for test in each)


def test_a_better_encoder_is_told_from_a_worse_one():
    subject_N, labels_NA, a_NA = _people(skill=0.6)
    _, _, b_NA = _people(skill=0.9)
    a, b = (counts_by_subject(labels_NA, predicted_NA, subject_N) for predicted_NA in (a_NA, b_NA))
    _, mean = compare_f1(a, b, np.zeros(20), subject_weights(np.zeros(20), seed=0), seed=0)
    assert mean.difference.low > 0
    assert mean.p_value < 0.01
    _, reverse = compare_f1(b, a, np.zeros(20), subject_weights(np.zeros(20), seed=0), seed=0)
    assert reverse.difference.value == pytest.approx(-mean.difference.value)


def test_equal_encoders_are_told_apart_about_as_often_as_the_level_says():
    rejected = 0
    for seed in range(100):
        subject_N, labels_NA, a_NA = _people(12, 20, seed=seed, num_aus=1)
        flip = np.random.default_rng(1000 + seed).random(labels_NA.shape) < 0.3
        b_NA = np.where(flip, 1 - labels_NA, labels_NA)
        a, b = (counts_by_subject(labels_NA, predicted_NA, subject_N) for predicted_NA in (a_NA, b_NA))
        rejected += (
            compare_f1(
                a, b, np.zeros(12), subject_weights(np.zeros(12), seed=0, num_resamples=300), seed=seed
            )[1].p_value
            < 0.05
        )
    assert rejected <= 12


def test_holm_is_the_worked_example():
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.6, 0.9]) == [1.0, 1.0]
