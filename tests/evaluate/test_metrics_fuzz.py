"""Whatever the order, type and gaps of the rows: the scores are scikit-learn's over what is coded."""

import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from sklearn import metrics as sklearn_metrics

from mien.evaluate.metrics import (
    auc_resampled,
    base_rates,
    class_accuracies,
    confusion_counts,
    counts_by_subject,
    f1_intervals,
    f1_of_counts,
    icc_3_1,
    percentile_interval,
    scores_of,
    subject_weights,
)

FEW = settings(max_examples=60)
GRID = [k / 16 for k in range(17)]  # exact in float16 to float64, with many ties


@st.composite
def rows(draw, *, most=40):
    """Labels with gaps, probabilities, subjects and a permutation of the rows."""
    N, A = draw(st.integers(1, most)), draw(st.integers(1, 3))
    labels_NA = draw(npst.arrays(np.float32, (N, A), elements=st.sampled_from([0.0, 1.0, np.nan])))
    probability_NA = draw(npst.arrays(np.float64, (N, A), elements=st.sampled_from(GRID)))
    subject_N = draw(npst.arrays(np.int64, N, elements=st.integers(0, 4)))
    return labels_NA, probability_NA, subject_N, draw(st.permutations(range(N)))


def _quiet(score, *args, **options):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return score(*args, **options)


@FEW
@given(rows(), st.sampled_from([np.float16, np.float32, np.float64]))
def test_scores_are_scikit_learns_whatever_the_type(given_rows, dtype):
    labels_NA, probability_NA, _, _ = given_rows
    scores = scores_of(labels_NA, probability_NA.astype(dtype))
    for column in range(labels_NA.shape[1]):
        coded = ~np.isnan(labels_NA[:, column])
        truth, probability = labels_NA[coded, column].astype(int), probability_NA[coded, column]
        found = {name: values_A[column] for name, values_A in vars(scores).items()}
        if not coded.any():
            assert np.isnan(list(found.values())).all()
            continue
        predicted = probability > 0.5
        assert found["f1"] == pytest.approx(sklearn_metrics.f1_score(truth, predicted, zero_division=0))
        assert found["brier"] == pytest.approx(np.mean((truth - probability) ** 2))
        assert found["base_rate"] == pytest.approx(truth.mean())
        if truth.min() == truth.max():
            assert np.isnan([found["roc_auc"], found["average_precision"], found["balanced_accuracy"]]).all()
            continue
        for name, score in (
            ("roc_auc", sklearn_metrics.roc_auc_score),
            ("average_precision", sklearn_metrics.average_precision_score),
        ):
            assert found[name] == pytest.approx(score(truth, probability))
        expected = sklearn_metrics.balanced_accuracy_score(truth, predicted)
        assert found["balanced_accuracy"] == pytest.approx(expected)


@FEW
@given(rows())
def test_the_order_of_the_rows_does_not_matter(given_rows):
    labels_NA, probability_NA, subject_N, order = given_rows
    before, after = scores_of(labels_NA, probability_NA), scores_of(labels_NA[order], probability_NA[order])
    for name in vars(before):
        np.testing.assert_allclose(getattr(before, name), getattr(after, name), atol=1e-12)
    predicted_NA = probability_NA > 0.5
    np.testing.assert_array_equal(
        counts_by_subject(labels_NA, predicted_NA, subject_N),
        counts_by_subject(labels_NA[order], predicted_NA[order], subject_N[order]),
    )


@FEW
@given(rows())
def test_what_lies_under_a_label_that_is_not_coded_does_not_matter(given_rows):
    labels_NA, probability_NA, _, _ = given_rows
    other_NA = np.where(np.isnan(labels_NA), 1 - probability_NA, probability_NA)
    before, after = scores_of(labels_NA, probability_NA), scores_of(labels_NA, other_NA)
    for name in vars(before):
        np.testing.assert_array_equal(getattr(before, name), getattr(after, name))
    counts = [confusion_counts(labels_NA, p > 0.5) for p in (probability_NA, other_NA)]
    np.testing.assert_array_equal(*counts)
    assert counts[0].sum() == (~np.isnan(labels_NA)).sum()


@FEW
@given(rows())
def test_interval_values_are_scikit_learns_and_lie_in_their_bounds(given_rows):
    labels_NA, probability_NA, subject_N, _ = given_rows
    fold_S = np.zeros(len(np.unique(subject_N)))
    weight_RS = subject_weights(fold_S, seed=0, num_resamples=50)
    counts = counts_by_subject(labels_NA, probability_NA > 0.5, subject_N)
    each, _ = f1_intervals(counts, fold_S, weight_RS)
    for column, interval in enumerate(each):
        coded = ~np.isnan(labels_NA[:, column])
        truth, probability = labels_NA[coded, column], probability_NA[coded, column]
        expected = f1_of_counts(confusion_counts(truth[:, None], probability[:, None] > 0.5))[0]
        assert interval.value == pytest.approx(expected)
        assert 0 <= interval.low <= interval.high <= 1
        auc = percentile_interval(
            *auc_resampled(labels_NA[:, column], probability_NA[:, column], subject_N, fold_S, weight_RS)
        )
        if len(np.unique(truth)) == 2:
            assert auc.value == pytest.approx(sklearn_metrics.roc_auc_score(truth, probability))
        else:
            assert np.isnan(auc.value)


@FEW
@given(npst.arrays(np.float64, st.tuples(st.integers(2, 30), st.just(2)), elements=st.sampled_from(range(6))))
def test_icc_is_that_of_the_analysis_of_variance(rating_N2):
    """ICC(3,1) from the sums of squares of a two-way table, written as loops."""
    N, grand = len(rating_N2), rating_N2.mean()
    rows_ss = sum(2 * (row.mean() - grand) ** 2 for row in rating_N2) / (N - 1)
    residual = sum(
        (rating_N2[n, k] - rating_N2[n].mean() - rating_N2[:, k].mean() + grand) ** 2
        for n in range(N)
        for k in range(2)
    ) / (N - 1)
    found = icc_3_1(rating_N2[:, :1], rating_N2[:, 1:])[0]
    if rows_ss + residual > 1e-12:
        assert found == pytest.approx((rows_ss - residual) / (rows_ss + residual), abs=1e-9)
        assert -1 - 1e-9 <= found <= 1 + 1e-9


@FEW
@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=1, max_size=40))
def test_accuracies_of_classes_are_scikit_learns_recalls(pairs):
    true, predicted = map(np.array, zip(*pairs, strict=True))
    confusion_CC = sklearn_metrics.confusion_matrix(true, predicted, labels=range(4))
    accuracy_C, mean = class_accuracies(confusion_CC)
    present = np.unique(true)
    recalls = _quiet(
        sklearn_metrics.recall_score, true, predicted, labels=present, average=None, zero_division=0
    )
    np.testing.assert_allclose(accuracy_C[present], recalls)
    assert mean.value == pytest.approx(_quiet(sklearn_metrics.balanced_accuracy_score, true, predicted))
    assert np.isnan(np.delete(accuracy_C, present)).all()


@FEW
@given(rows())
def test_base_rates_are_means_of_what_is_coded(given_rows):
    labels_NA, _, _, _ = given_rows
    np.testing.assert_allclose(base_rates(labels_NA), _quiet(np.nanmean, labels_NA.astype(float), axis=0))
