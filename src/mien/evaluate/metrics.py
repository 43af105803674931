"""Scores per action unit, from scikit-learn where it has them; NaN labels (not coded) are left out.

All functions take (N, A) arrays and give (A,). A score that is undefined is NaN: ranking scores where only
one class occurs, any score without a coded row. F1 without a positive, true or predicted, is 0, as the field
has it.
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
    f1_score,
    roc_auc_score,
)

Floats = NDArray[np.floating[Any]]


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
    """The mean of what is not NaN; NaN when nothing is."""
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
