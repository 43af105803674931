"""Scores per action unit, their confidence intervals, and paired tests; NaN labels (not coded) are left out.

Scores take (N, A) arrays and give (A,). A score that is undefined is NaN: ranking scores where only one class
occurs, any score without a coded row. F1 without a positive, true or predicted, is 0, as usual in the field.

Intervals and tests resample subjects, not frames: frames of one person are not independent (Efron &
Tibshirani, 1993, chapter 8). F1 and ROC-AUC are exact functions of sums over subjects and over pairs of
subjects, so thousands of resamples cost a matrix product.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import (
    average_precision_score,
    balanced_accuracy_score,
    brier_score_loss,
    confusion_matrix,
    f1_score,
    roc_auc_score,
)

Floats = NDArray[np.floating[Any]]

NUM_RESAMPLES = 2000
LEVEL = 0.95
RESAMPLING_SEED = 0


@dataclass(frozen=True)
class Scores:
    """One (A,) array per score, all from 0 to 1; lower is better for the last two."""

    base_rate: Floats
    f1: Floats
    roc_auc: Floats
    average_precision: Floats
    balanced_accuracy: Floats
    calibration_error: Floats
    brier: Floats


def scores_of(labels_NA: Floats, probability_NA: Floats, *, threshold_A: Floats | float = 0.5) -> Scores:
    """All scores of occurrences; present is predicted where the probability exceeds the threshold."""
    predicted_NA = (probability_NA > threshold_A).astype(np.int64)
    probability_NA = probability_NA.astype(np.float64)  # sums of half precision lose digits
    return Scores(
        base_rate=base_rates(labels_NA),
        f1=f1_per_column(labels_NA, predicted_NA),
        roc_auc=roc_auc_per_column(labels_NA, probability_NA),
        average_precision=_per_column(average_precision_score, labels_NA, probability_NA, needs_both=True),
        balanced_accuracy=_per_column(balanced_accuracy_score, labels_NA, predicted_NA, needs_both=True),
        calibration_error=_per_column(calibration_error, labels_NA, probability_NA),
        brier=_per_column(brier_score_loss, labels_NA, probability_NA),
    )


def f1_per_column(labels_NA: Floats, predicted_NA: NDArray[Any]) -> Floats:
    """(A,) F1 of 0/1 predictions."""
    return _per_column(partial(f1_score, zero_division=0), labels_NA, predicted_NA)


def roc_auc_per_column(labels_NA: Floats, score_NA: Floats) -> Floats:
    """(A,) ROC-AUC of scores; NaN where only one class is coded."""
    return _per_column(roc_auc_score, labels_NA, score_NA, needs_both=True)


def base_rates(labels_NA: Floats) -> Floats:
    """(A,) share of the coded rows that are positive."""
    return np.array([_mean(labels_N[~np.isnan(labels_N)]) for labels_N in labels_NA.T])


def always_on_f1(rate_A: Floats) -> Floats:
    """(A,) F1 of predicting every action unit everywhere: 2r / (1 + r). A floor, not an achievement."""
    floor_A: Floats = 2 * rate_A / (1 + rate_A)
    return floor_A


def confusion_counts(labels_NA: Floats, predicted_NA: NDArray[Any]) -> NDArray[np.int64]:
    """(A, 4) true positives, false positives, false negatives, true negatives over the coded rows."""
    coded_NA, present_NA, on_NA = ~np.isnan(labels_NA), labels_NA == 1, predicted_NA == 1
    absent_NA = coded_NA & ~present_NA
    cells = (present_NA & on_NA, absent_NA & on_NA, present_NA & ~on_NA, absent_NA & ~on_NA)
    return np.stack([cell_NA.sum(axis=0) for cell_NA in cells], axis=1).astype(np.int64)


def f1_of_counts(counts: NDArray[Any]) -> Floats:
    """F1 along the last axis (TP, FP, FN, ...): 2TP / (2TP + FP + FN), 0 where all three are 0."""
    positive, wrong = 2.0 * counts[..., 0], counts[..., 1] + counts[..., 2]
    score: Floats = positive / np.maximum(positive + wrong, 1e-12)
    return score


def calibration_error(labels_N: NDArray[Any], probability_N: Floats, *, num_bins: int = 15) -> float:
    """Mean distance of predicted probability and observed rate over equal bins, weighted by their rows.

    The expected calibration error of Naeini et al., AAAI 2015, of the probability of being present.
    """
    bin_N = np.minimum((probability_N * num_bins).astype(np.int64), num_bins - 1)
    gap_K = np.bincount(bin_N, probability_N - labels_N, minlength=num_bins)
    return float(np.abs(gap_K).sum() / len(labels_N))


def icc_3_1(coded_NA: Floats, predicted_NA: Floats) -> Floats:
    """(A,) intraclass correlation ICC(3,1), consistency of two fixed raters (Shrout & Fleiss, 1979).

    (MSR - MSE) / (MSR + MSE) over the coded rows; NaN with fewer than two, or when neither rater varies.
    """
    return np.array([_icc(x_N, y_N) for x_N, y_N in zip(coded_NA.T, predicted_NA.T, strict=True)])


def mean_defined(values: Iterable[float]) -> float:
    """The mean of the values that are not NaN; NaN without any."""
    defined = [value for value in values if not np.isnan(value)]
    return _mean(np.array(defined))


def _per_column(
    score: Callable[[NDArray[Any], NDArray[Any]], Any],
    labels_NA: Floats,
    predicted_NA: NDArray[Any],
    *,
    needs_both: bool = False,
) -> Floats:
    """`score` of each column's coded rows; NaN without rows, or with one class where it needs both."""
    values = []
    for labels_N, predicted_N in zip(labels_NA.T, predicted_NA.T, strict=True):
        coded_N = ~np.isnan(labels_N)
        classes = len(np.unique(labels_N[coded_N]))
        enough = classes == 2 if needs_both else classes >= 1
        truth_N = labels_N[coded_N].astype(np.int64)
        values.append(float(score(truth_N, predicted_N[coded_N])) if enough else float("nan"))
    return np.array(values)


def _icc(x_N: Floats, y_N: Floats) -> float:
    rating_N2 = np.stack([x_N, y_N], axis=1).astype(np.float64)
    rating_N2 = rating_N2[~np.isnan(rating_N2).any(axis=1)]
    N = len(rating_N2)
    if N < 2:
        return float("nan")
    row_N1, rater_12 = rating_N2.mean(axis=1, keepdims=True), rating_N2.mean(axis=0, keepdims=True)
    between = 2 * ((row_N1 - rating_N2.mean()) ** 2).sum() / (N - 1)
    residual = ((rating_N2 - row_N1 - rater_12 + rating_N2.mean()) ** 2).sum() / (N - 1)
    total = between + residual
    return float((between - residual) / total) if total > 0 else float("nan")


def _mean(values: Floats) -> float:
    return float(values.mean()) if len(values) else float("nan")


@dataclass(frozen=True)
class Interval:
    """A score with the bounds of its 95 % percentile interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class PairedTest:
    """Score of b less that of a, its interval, and the two-sided p of a sign-flip test over subjects."""

    difference: Interval
    p_value: float


def subject_weights(
    fold_S: NDArray[Any], *, seed: int, num_resamples: int = NUM_RESAMPLES
) -> NDArray[np.int64]:
    """(R, S) how often each subject is drawn in each resample; as many of each fold as it has.

    The same for all scores and encoders, so that differences are paired.
    """
    generator = np.random.default_rng(seed)
    weight_RS = np.zeros((num_resamples, len(fold_S)), np.int64)
    for fold in np.unique(fold_S):
        size = int((fold_S == fold).sum())
        weight_RS[:, fold_S == fold] = generator.multinomial(size, np.full(size, 1 / size), num_resamples)
    return weight_RS


def counts_by_subject(
    labels_NA: Floats, predicted_NA: NDArray[Any], subject_N: NDArray[Any]
) -> NDArray[np.int64]:
    """(S, A, 4) confusion counts of each subject, in the order of their names."""
    rows_of_subjects = (subject_N == subject for subject in np.unique(subject_N))
    return np.stack([confusion_counts(labels_NA[rows], predicted_NA[rows]) for rows in rows_of_subjects])


def fold_of_subjects(subject_N: NDArray[Any], fold_N: NDArray[Any]) -> NDArray[Any]:
    """(S,) the fold in which each subject is tested, in the order of their names."""
    _, first_S = np.unique(subject_N, return_index=True)
    fold_S: NDArray[Any] = fold_N[first_S]
    return fold_S


def occurrence_intervals(
    labels_NA: Floats,
    present_NA: NDArray[np.bool_],
    ranking_NA: Floats,
    subject_N: NDArray[Any],
    fold_N: NDArray[Any],
) -> tuple[list[Interval], Interval, list[Interval]]:
    """F1 of each action unit, their mean, and ROC-AUC of each, with intervals that resample people.

    present_NA: the predictions; ranking_NA: scores by which frames are ranked.
    """
    counts_SA4 = counts_by_subject(labels_NA, present_NA, subject_N)
    fold_S = fold_of_subjects(subject_N, fold_N)
    weight_RS = subject_weights(fold_S, seed=RESAMPLING_SEED)
    columns = zip(labels_NA.T, ranking_NA.T, strict=True)
    auc = [percentile_interval(*auc_resampled(*one, subject_N, fold_S, weight_RS)) for one in columns]
    return *f1_intervals(counts_SA4, fold_S, weight_RS), auc


def f1_intervals(
    counts_SA4: NDArray[np.int64], fold_S: NDArray[Any], weight_RS: NDArray[np.int64]
) -> tuple[list[Interval], Interval]:
    """Intervals of each action unit's F1, the mean over the folds, and of the mean over action units."""
    value_A = _f1(counts_SA4, fold_S, _once(fold_S))[0]
    drawn_RA = _f1(counts_SA4, fold_S, weight_RS)
    each = [percentile_interval(value, drawn_R) for value, drawn_R in zip(value_A, drawn_RA.T, strict=True)]
    return each, percentile_interval(float(value_A.mean()), drawn_RA.mean(axis=1))


def auc_resampled(
    labels_N: Floats,
    score_N: Floats,
    subject_N: NDArray[Any],
    fold_S: NDArray[Any],
    weight_RS: NDArray[np.int64],
) -> tuple[float, Floats]:
    """One action unit's ROC-AUC over pairs of frames of the same fold, and (R,) its value in each resample.

    Scores of two folds come from two models and are never ranked together. NaN where undefined.
    """
    wins_SS, positives_S, negatives_S = auc_pairs(labels_N, score_N, subject_N)
    same_SS = fold_S[:, None] == fold_S[None, :]
    wins_SS, pairs_SS = wins_SS * same_SS, np.outer(positives_S, negatives_S) * same_SS
    value = _weighted_auc(wins_SS, pairs_SS, _once(fold_S))[0]
    return float(value), _weighted_auc(wins_SS, pairs_SS, weight_RS)


def auc_pairs(
    labels_N: Floats, score_N: Floats, subject_N: NDArray[Any]
) -> tuple[Floats, NDArray[np.int64], NDArray[np.int64]]:
    """(S, S) pairs (row's positive, column's negative) ranked rightly, ties half; both counts, (S,)."""
    subjects, of_row_N = np.unique(subject_N, return_inverse=True)
    high_N, low_N = labels_N == 1, labels_N == 0
    above_P, whose_P = score_N[high_N], of_row_N[high_N]
    wins_SS = np.zeros((len(subjects), len(subjects)))
    for column in range(len(subjects)):
        below = np.sort(score_N[low_N & (of_row_N == column)])
        twice_P = np.searchsorted(below, above_P, "left") + np.searchsorted(below, above_P, "right")
        wins_SS[:, column] = np.bincount(whose_P, twice_P / 2, len(subjects))
    positives_S, negatives_S = (
        np.bincount(of_row_N[rows], minlength=len(subjects)) for rows in (high_N, low_N)
    )
    return wins_SS, positives_S, negatives_S


def compare_f1(
    counts_a_SA4: NDArray[np.int64],
    counts_b_SA4: NDArray[np.int64],
    fold_S: NDArray[Any],
    weight_RS: NDArray[np.int64],
    *,
    seed: int,
) -> tuple[list[PairedTest], PairedTest]:
    """Tests of each action unit's F1, and of their mean; counts of the same subjects and frames.

    The test swaps a and b within subjects at random: under the null neither is better on anybody.
    """
    swap_RS = np.random.default_rng(seed).integers(0, 2, size=weight_RS.shape)
    value_A, drawn_RA = (
        _f1(counts_b_SA4, fold_S, weights) - _f1(counts_a_SA4, fold_S, weights)
        for weights in (_once(fold_S), weight_RS)
    )
    value_A = value_A[0]
    mixed_RA = _swapped_difference(counts_a_SA4, counts_b_SA4, fold_S, swap_RS)
    each = [paired_test(*columns) for columns in zip(value_A, drawn_RA.T, mixed_RA.T, strict=True)]
    return each, paired_test(value_A.mean(), drawn_RA.mean(axis=1), mixed_RA.mean(axis=1))


def percentile_interval(value: float, drawn_R: Floats) -> Interval:
    """Percentile interval over the resamples in which the score is defined."""
    drawn_R = drawn_R[~np.isnan(drawn_R)]
    if not len(drawn_R):
        return Interval(value, float("nan"), float("nan"))
    low, high = np.quantile(drawn_R, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Interval(value, float(low), float(high))


def paired_test(value: float, drawn_R: Floats, swapped_R: Floats) -> PairedTest:
    """A difference with its interval from resamples, and its p from random swaps of the two systems.

    An undefined difference (NaN) has an undefined p.
    """
    if np.isnan(value):
        return PairedTest(percentile_interval(value, drawn_R), float("nan"))
    as_large = (np.abs(swapped_R) >= abs(value) - 1e-12).sum()
    return PairedTest(
        percentile_interval(float(value), drawn_R), float((as_large + 1) / (len(swapped_R) + 1))
    )


def holm(p_values: list[float]) -> list[float]:
    """p-values corrected for their number (Holm, 1979): still valid after looking at all of them."""
    order = np.argsort(p_values)
    steps = [(len(p_values) - rank) * p_values[index] for rank, index in enumerate(order)]
    corrected = np.empty(len(p_values))
    corrected[order] = np.minimum(np.maximum.accumulate(steps), 1.0)
    return [float(value) for value in corrected]


def class_accuracies(confusion_CC: NDArray[np.int64]) -> tuple[Floats, Interval]:
    """(C,) recall of each class, NaN without rows, and their mean with an interval over pictures."""
    rows_C, right_C = confusion_CC.sum(axis=1), confusion_CC.diagonal()
    drawn_RC2 = _drawn(np.stack([right_C, rows_C - right_C], axis=1))
    accuracy_C, drawn_RC = _shares(right_C, rows_C), _shares(drawn_RC2[..., 0], drawn_RC2.sum(axis=-1))
    mean = percentile_interval(float(_mean_defined(accuracy_C[None])[0]), _mean_defined(drawn_RC))
    return accuracy_C, mean


def compare_accuracies(
    true_N: NDArray[np.int64], a_N: NDArray[np.int64], b_N: NDArray[np.int64], *, num_classes: int
) -> tuple[list[PairedTest], PairedTest]:
    """Tests of each class's accuracy, and of their mean: b less a, on the same pictures; NaN without any.

    The test swaps a and b within pictures at random, so pictures that only one of them names rightly decide.
    """
    right = 2 * (a_N == true_N).astype(np.int64) + (b_N == true_N)
    cells = confusion_matrix(true_N, right, labels=np.arange(max(num_classes, 4)))[:num_classes, :4]
    value_1C, drawn_RC = _difference(cells[None]), _difference(_drawn(cells))
    only_C = cells[:, 1] + cells[:, 2]
    generator = np.random.default_rng(RESAMPLING_SEED)
    swapped_RC = 2 * generator.binomial(only_C, 0.5, (NUM_RESAMPLES, num_classes)) - only_C
    mixed_RC = _shares(swapped_RC, cells.sum(axis=1)[None])
    each = [paired_test(*columns) for columns in zip(value_1C[0], drawn_RC.T, mixed_RC.T, strict=True)]
    mean = paired_test(float(_mean_defined(value_1C)[0]), _mean_defined(drawn_RC), _mean_defined(mixed_RC))
    return each, mean


def _f1(counts_SA4: NDArray[np.int64], fold_S: NDArray[Any], weight_RS: NDArray[np.int64]) -> Floats:
    """(R, A) F1 of each fold's weighted counts, mean over the folds."""
    folds = [fold_S == fold for fold in np.unique(fold_S)]
    by_fold = [_weighted_f1(counts_SA4[own], weight_RS[:, own]) for own in folds]
    mean_RA: Floats = np.mean(by_fold, axis=0)
    return mean_RA


def _weighted_f1(counts_SA4: NDArray[np.int64], weight_RS: NDArray[np.int64]) -> Floats:
    """(R, A); in floating point, which multiplies far faster and holds these counts exactly."""
    return f1_of_counts(np.tensordot(weight_RS.astype(np.float64), counts_SA4.astype(np.float64), axes=1))


def _swapped_difference(
    counts_a_SA4: NDArray[np.int64],
    counts_b_SA4: NDArray[np.int64],
    fold_S: NDArray[Any],
    swap_RS: NDArray[np.int64],
) -> Floats:
    """The difference when subjects with a 1 change sides: both systems as columns of one array."""
    both = np.concatenate([counts_a_SA4, counts_b_SA4])
    fold_2S = np.concatenate([fold_S, fold_S])
    first, second = np.hstack([1 - swap_RS, swap_RS]), np.hstack([swap_RS, 1 - swap_RS])
    return _f1(both, fold_2S, second) - _f1(both, fold_2S, first)


def _once(fold_S: NDArray[Any]) -> NDArray[np.int64]:
    """The one resample in which everybody occurs once."""
    return np.ones((1, len(fold_S)), np.int64)


def _weighted_auc(wins_SS: Floats, pairs_SS: Floats, weight_RS: NDArray[np.int64]) -> Floats:
    wins_R = ((weight_RS @ wins_SS) * weight_RS).sum(axis=1)
    pairs_R = ((weight_RS @ pairs_SS) * weight_RS).sum(axis=1)
    auc_R: Floats = np.where(pairs_R > 0, wins_R / np.maximum(pairs_R, 1), np.nan)
    return auc_R


def _drawn(cells_CK: NDArray[np.int64]) -> NDArray[np.int64]:
    """(R, C, K) counts of as many pictures, drawn with replacement."""
    total = int(cells_CK.sum())
    if not total:
        return np.zeros((NUM_RESAMPLES, *cells_CK.shape), np.int64)
    share = cells_CK.ravel() / total
    drawn = np.random.default_rng(RESAMPLING_SEED).multinomial(total, share, NUM_RESAMPLES)
    return drawn.reshape(NUM_RESAMPLES, *cells_CK.shape)


def _difference(cells_RC4: NDArray[np.int64]) -> Floats:
    """(R, C) accuracy of b less that of a; cells: neither right, b alone, a alone, both."""
    return _shares(cells_RC4[..., 1] - cells_RC4[..., 2], cells_RC4.sum(axis=-1))


def _shares(part: NDArray[Any], whole: NDArray[np.int64]) -> Floats:
    """NaN where the whole is 0."""
    share: Floats = np.where(whole > 0, part / np.maximum(whole, 1), np.nan)
    return share


def _mean_defined(values_RC: Floats) -> Floats:
    """(R,) mean of the values of each row that are not NaN; NaN without any."""
    defined_RC = ~np.isnan(values_RC)
    return _shares(np.where(defined_RC, values_RC, 0).sum(axis=1), defined_RC.sum(axis=1))
