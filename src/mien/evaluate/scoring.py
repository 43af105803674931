"""All scores of one system from its predictions alone, so that anybody can recompute them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mien.evaluate.expression_metrics import ExpressionScores, compare_accuracies, expression_scores
from mien.evaluate.intervals import (
    Interval,
    PairedTest,
    auc_interval,
    compare_f1,
    counts_by_subject,
    f1_intervals,
    fold_of_subjects,
    holm,
    subject_weights,
)
from mien.evaluate.metrics import (
    Scores,
    always_on_f1,
    f1_of_counts,
    icc_3_1,
    mean_defined,
    scores_of,
    undefined,
)
from mien.evaluate.predictions import Predictions, require_comparable

Floats = NDArray[np.floating[Any]]

THRESHOLD = 0.5
RESAMPLING_SEED = 0


@dataclass(frozen=True)
class OccurrenceSummary:
    """Scores of A action units, each the mean over the folds unless its name says otherwise; 0 to 1.

    f1_chosen: at thresholds chosen on training subjects; NaN where none were chosen.
    icc: of predicted and coded intensity, pooled; NaN where the set codes none.
    """

    action_units: tuple[int, ...]
    num_frames: int
    num_subjects: int
    base_rate: Floats  # pooled
    always_on: Floats  # F1 of predicting it everywhere
    f1: list[Interval]
    f1_mean: Interval
    f1_pooled: Floats
    f1_chosen: Floats
    roc_auc: list[Interval]
    roc_auc_mean: float
    average_precision: Floats
    balanced_accuracy: Floats
    calibration_error: Floats
    icc: Floats
    notes: tuple[str, ...]


def summarise(predictions: Predictions) -> OccurrenceSummary:
    """The scores of a system for action units."""
    labels_NA, probability_NA = predictions.label_NA, predictions.probability_NA
    counts_SA4, fold_S = _counts(predictions)
    weight_RS = subject_weights(fold_S, seed=RESAMPLING_SEED)
    f1, f1_mean = f1_intervals(counts_SA4, fold_S, weight_RS)
    folds = [_fold_scores(predictions, fold) for fold in np.unique(predictions.fold_N)]
    everything = scores_of(labels_NA, probability_NA, threshold_A=THRESHOLD)
    auc = [
        auc_interval(labels_N, probability_N, predictions.subject_N, fold_S, weight_RS)
        for labels_N, probability_N in zip(labels_NA.T, probability_NA.T, strict=True)
    ]
    return OccurrenceSummary(
        action_units=predictions.action_units,
        num_frames=len(labels_NA),
        num_subjects=len(fold_S),
        base_rate=everything.base_rate,
        always_on=always_on_f1(everything.base_rate),
        f1=f1,
        f1_mean=f1_mean,
        f1_pooled=f1_of_counts(counts_SA4.sum(axis=0)),
        f1_chosen=_f1_at_chosen_thresholds(predictions),
        roc_auc=auc,
        roc_auc_mean=mean_defined(interval.value for interval in auc),
        average_precision=_mean_over_folds(folds, "average_precision"),
        balanced_accuracy=_mean_over_folds(folds, "balanced_accuracy"),
        calibration_error=_mean_over_folds(folds, "calibration_error"),
        icc=_icc(predictions),
        notes=tuple(undefined(everything, predictions.action_units)),
    )


def summarise_expressions(predictions: Predictions) -> ExpressionScores:
    """The scores of a system for expressions, over all tested frames."""
    assert predictions.class_N is not None
    predicted_N = predictions.probability_NA.argmax(axis=1)
    return expression_scores(predictions.class_N, predicted_N, num_classes=len(predictions.outputs))


@dataclass(frozen=True)
class Comparison:
    """System b against system a, output by output; p-values corrected for their number (Holm).

    score: what is compared, F1 of action units or accuracy of expressions.
    """

    score: str
    a: str
    b: str
    each: list[PairedTest]
    corrected_p: list[float]
    mean: PairedTest


def compare(a: Predictions, b: Predictions, *, names: tuple[str, str]) -> Comparison:
    """Paired tests over subjects; PredictionsError when the two were not tested on the same."""
    require_comparable(a, b, names=names)
    if a.class_N is not None:
        score, (each, mean) = "accuracy", _compare_expressions(a, b)
    else:
        score, (each, mean) = "F1", _compare_occurrences(a, b)
    return Comparison(score, *names, each, holm([test.p_value for test in each]), mean)


def _compare_expressions(a: Predictions, b: Predictions) -> tuple[list[PairedTest], PairedTest]:
    assert a.class_N is not None
    order_a, order_b = (np.lexsort((one.frame_N, one.path_N)) for one in (a, b))
    return compare_accuracies(
        a.class_N[order_a],
        a.probability_NA.argmax(axis=1)[order_a],
        b.probability_NA.argmax(axis=1)[order_b],
        num_classes=len(a.outputs),
        seed=RESAMPLING_SEED,
    )


def _compare_occurrences(a: Predictions, b: Predictions) -> tuple[list[PairedTest], PairedTest]:
    (counts_a, fold_S), (counts_b, _) = _counts(a), _counts(b)
    weight_RS = subject_weights(fold_S, seed=RESAMPLING_SEED)
    return compare_f1(counts_a, counts_b, fold_S, weight_RS, seed=RESAMPLING_SEED)


def _counts(predictions: Predictions) -> tuple[NDArray[np.int64], NDArray[Any]]:
    """(S, A, 4) confusion counts at the fixed threshold, and the fold of each subject."""
    predicted_NA = predictions.probability_NA > THRESHOLD
    counts_SA4 = counts_by_subject(predictions.label_NA, predicted_NA, predictions.subject_N)
    return counts_SA4, fold_of_subjects(predictions.subject_N, predictions.fold_N)


def _fold_scores(predictions: Predictions, fold: str) -> Scores:
    rows = predictions.fold_N == fold
    return scores_of(predictions.label_NA[rows], predictions.probability_NA[rows], threshold_A=THRESHOLD)


def _mean_over_folds(folds: list[Scores], name: str) -> Floats:
    """(A,) mean of the folds in which the score is defined."""
    return np.array([mean_defined(values) for values in zip(*(getattr(f, name) for f in folds), strict=True)])


def _f1_at_chosen_thresholds(predictions: Predictions) -> Floats:
    threshold_NA = predictions.threshold_NA
    if np.isnan(threshold_NA).all():
        return np.full(len(predictions.outputs), np.nan)
    counts_SA4 = counts_by_subject(
        predictions.label_NA, predictions.probability_NA > threshold_NA, predictions.subject_N
    )
    fold_S = fold_of_subjects(predictions.subject_N, predictions.fold_N)
    by_fold = [f1_of_counts(counts_SA4[fold_S == fold].sum(axis=0)) for fold in np.unique(fold_S)]
    mean_A: Floats = np.mean(by_fold, axis=0)
    return mean_A


def _icc(predictions: Predictions) -> Floats:
    if predictions.intensity_NA is None or predictions.predicted_intensity_NA is None:
        return np.full(len(predictions.outputs), np.nan)
    return icc_3_1(predictions.intensity_NA, predictions.predicted_intensity_NA)
