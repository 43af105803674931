"""All scores of a system, computed from its predictions alone."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import confusion_matrix

from mien.evaluate.intervals import (
    NUM_RESAMPLES,
    Interval,
    PairedTest,
    auc_interval,
    compare_f1,
    counts_by_subject,
    f1_intervals,
    fold_of_subjects,
    holm,
    paired_test,
    percentile_interval,
    subject_weights,
)
from mien.evaluate.metrics import (
    always_on_f1,
    confusion_counts,
    f1_of_counts,
    icc_3_1,
    mean_defined,
    scores_of,
    undefined,
)
from mien.evaluate.predictions import About, Predictions, require_comparable

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
    labels_NA, probability_NA, fold_N = predictions.label_NA, predictions.probability_NA, predictions.fold_N
    present_NA, subject_N = probability_NA > THRESHOLD, predictions.subject_N
    f1, f1_mean, auc = occurrence_intervals(labels_NA, present_NA, probability_NA, subject_N, fold_N)
    everything = scores_of(labels_NA, probability_NA, threshold_A=THRESHOLD)
    of_folds = [
        vars(scores_of(labels_NA[rows], probability_NA[rows], threshold_A=THRESHOLD))
        for rows in (fold_N == fold for fold in np.unique(fold_N))
    ]
    means = {
        name: np.array([mean_defined(values) for values in zip(*(f[name] for f in of_folds), strict=True)])
        for name in ("average_precision", "balanced_accuracy", "calibration_error")
    }
    none_A = np.full(len(predictions.outputs), np.nan)
    coded, predicted = predictions.intensity_NA, predictions.predicted_intensity_NA
    return OccurrenceSummary(
        action_units=predictions.action_units,
        num_frames=len(labels_NA),
        num_subjects=len(np.unique(subject_N)),
        base_rate=everything.base_rate,
        always_on=always_on_f1(everything.base_rate),
        f1=f1,
        f1_mean=f1_mean,
        f1_pooled=f1_of_counts(confusion_counts(labels_NA, present_NA)),
        f1_chosen=_f1_at_chosen_thresholds(predictions),
        roc_auc=auc,
        roc_auc_mean=mean_defined(interval.value for interval in auc),
        **means,
        icc=none_A if coded is None or predicted is None else icc_3_1(coded, predicted),
        notes=tuple(undefined(everything, predictions.action_units)),
    )


def occurrence_intervals(
    labels_NA: Floats,
    present_NA: NDArray[np.bool_],
    ranking_NA: Floats,
    subject_N: NDArray[Any],
    fold_N: NDArray[Any],
) -> tuple[list[Interval], Interval, list[Interval]]:
    """F1 of each action unit, their mean, and ROC-AUC of each, with intervals that resample people.

    present_NA: what is predicted; ranking_NA: scores by which frames are ranked.
    """
    counts_SA4 = counts_by_subject(labels_NA, present_NA, subject_N)
    fold_S = fold_of_subjects(subject_N, fold_N)
    weight_RS = subject_weights(fold_S, seed=RESAMPLING_SEED)
    columns = zip(labels_NA.T, ranking_NA.T, strict=True)
    auc = [auc_interval(labels_N, score_N, subject_N, fold_S, weight_RS) for labels_N, score_N in columns]
    return *f1_intervals(counts_SA4, fold_S, weight_RS), auc


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
        order_a, order_b = (np.lexsort((one.frame_N, one.path_N)) for one in (a, b))
        named = [one.probability_NA.argmax(axis=1)[order] for one, order in ((a, order_a), (b, order_b))]
        num_classes = len(a.outputs)
        each, mean = compare_accuracies(
            a.class_N[order_a], *named, num_classes=num_classes, seed=RESAMPLING_SEED
        )
    else:
        fold_S = fold_of_subjects(a.subject_N, a.fold_N)
        counts_a, counts_b = (
            counts_by_subject(one.label_NA, one.probability_NA > THRESHOLD, one.subject_N) for one in (a, b)
        )
        weight_RS = subject_weights(fold_S, seed=RESAMPLING_SEED)
        each, mean = compare_f1(counts_a, counts_b, fold_S, weight_RS, seed=RESAMPLING_SEED)
    score = "F1" if a.class_N is None else "accuracy"
    return Comparison(score, *names, each, holm([test.p_value for test in each]), mean)


def _f1_at_chosen_thresholds(predictions: Predictions) -> Floats:
    threshold_NA = predictions.threshold_NA
    if np.isnan(threshold_NA).all():
        return np.full(len(predictions.outputs), np.nan)
    present_NA, folds = predictions.probability_NA > threshold_NA, np.unique(predictions.fold_N)
    counts = [
        confusion_counts(predictions.label_NA[rows], present_NA[rows])
        for rows in (predictions.fold_N == fold for fold in folds)
    ]
    mean_A: Floats = np.mean([f1_of_counts(counts_A4) for counts_A4 in counts], axis=0)
    return mean_A


_MODE_NAMES = {"affine+stats": "affine+stats", "stats": "stats", "frozen": "frozen", "all": "fine-tuned"}
"""In the order of the tables."""


@dataclass(frozen=True)
class Result:
    """Predictions with their scores; one of the two summaries is there."""

    predictions: Predictions
    occurrences: OccurrenceSummary | None = None
    expressions: ExpressionScores | None = None

    @classmethod
    def of(cls, predictions: Predictions) -> Result:
        """Scored."""
        if predictions.class_N is not None:
            return cls(predictions, expressions=summarise_expressions(predictions))
        return cls(predictions, occurrences=summarise(predictions))

    @property
    def occurrence_scores(self) -> OccurrenceSummary:
        """The scores of action units; only for a set that has them."""
        assert self.occurrences is not None
        return self.occurrences

    @property
    def mean_score(self) -> Interval:
        """The one number by which systems are ranked: mean F1, or mean accuracy of the classes."""
        return self.expressions.mean if self.expressions is not None else self.occurrence_scores.f1_mean

    @property
    def label(self) -> str:
        """As the tables show it."""
        return label_of(self.predictions.about)


def label_of(about: About) -> str:
    """System, mode, and the share of labels where it is not all."""
    share = "" if about.share_of_labels == 1 else f", {100 * about.share_of_labels:g} % of labels"
    return f"{about.system} ({mode_name(about.mode)}{share})"


def mode_name(mode: str) -> str:
    """As the tables show it."""
    return _MODE_NAMES[mode]


def in_order(results: Sequence[Result]) -> list[Result]:
    """By share of labels, mode and the order in which the systems were given."""
    systems = list(dict.fromkeys(result.predictions.about.system for result in results))

    def key(result: Result) -> tuple[float, int, int]:
        about = result.predictions.about
        return -about.share_of_labels, list(_MODE_NAMES).index(about.mode), systems.index(about.system)

    return sorted(results, key=key)


def long_rows(results: Iterable[Result]) -> list[dict[str, Any]]:
    """One row per score: system, mode, share_of_labels, output, score, value, low, high."""
    rows: list[dict[str, Any]] = []
    for result in results:
        about = result.predictions.about
        key = {"system": about.system, "mode": about.mode, "share_of_labels": about.share_of_labels}
        for output, score, value in _scores(result):
            plain = Interval(float(value), math.nan, math.nan) if not isinstance(value, Interval) else value
            rows.append(key | {"output": output, "score": score} | vars(plain))
    return rows


def _scores(result: Result) -> Iterator[tuple[str, str, Interval | float]]:
    """Output, score, value."""
    yield "mean", "f1" if result.expressions is None else "accuracy", result.mean_score
    if result.expressions is not None:
        table = {"accuracy": result.expressions.accuracy_C}
    else:
        summary = result.occurrence_scores
        yield "mean", "roc_auc", summary.roc_auc_mean
        table = {score: getattr(summary, score) for score in ("f1", "roc_auc", *_PLAIN_SCORES)}
    for score, values in table.items():
        for output, value in zip(result.predictions.outputs, values, strict=True):
            yield output, score, value


_PLAIN_SCORES = (
    *("base_rate", "always_on", "f1_pooled", "f1_chosen", "average_precision"),
    *("balanced_accuracy", "calibration_error", "icc"),
)


@dataclass(frozen=True)
class ExpressionScores:
    """C classes. confusion_CC: rows true, columns predicted, counts. accuracy_C: recall, NaN without rows.

    mean: of the accuracies that are defined, with its interval over pictures.
    """

    confusion_CC: NDArray[np.int64]
    accuracy_C: Floats
    mean: Interval
    accuracy: float


def expression_scores(
    true_N: NDArray[np.int64], predicted_N: NDArray[np.int64], *, num_classes: int, seed: int = 0
) -> ExpressionScores:
    """The scores of predicted class numbers."""
    confusion_CC = confusion_matrix(true_N, predicted_N, labels=np.arange(num_classes))
    rows_C, right_C = confusion_CC.sum(axis=1), confusion_CC.diagonal()
    drawn_RC2 = _drawn(np.stack([right_C, rows_C - right_C], axis=1), seed=seed)
    accuracy_C, drawn_RC = _shares(right_C, rows_C), _shares(drawn_RC2[..., 0], drawn_RC2.sum(axis=-1))
    return ExpressionScores(
        confusion_CC=confusion_CC,
        accuracy_C=accuracy_C,
        mean=percentile_interval(float(_mean_defined(accuracy_C[None])[0]), _mean_defined(drawn_RC)),
        accuracy=float(confusion_CC.trace() / max(rows_C.sum(), 1)),
    )


def compare_accuracies(
    true_N: NDArray[np.int64],
    a_N: NDArray[np.int64],
    b_N: NDArray[np.int64],
    *,
    num_classes: int,
    seed: int = 0,
) -> tuple[list[PairedTest], PairedTest]:
    """Tests of each class's accuracy, and of their mean: b less a, on the same pictures; NaN without any.

    The test swaps a and b within pictures at random; what only one of them names rightly decides.
    """
    right = 2 * (a_N == true_N).astype(np.int64) + (b_N == true_N)
    cells = confusion_matrix(true_N, right, labels=np.arange(max(num_classes, 4)))[:num_classes, :4]
    value_1C, drawn_RC = _difference(cells[None]), _difference(_drawn(cells, seed=seed))
    only_C = cells[:, 1] + cells[:, 2]
    generator = np.random.default_rng(seed)
    swapped_RC = 2 * generator.binomial(only_C, 0.5, (NUM_RESAMPLES, num_classes)) - only_C
    mixed_RC = _shares(swapped_RC, cells.sum(axis=1)[None])
    each = [paired_test(*columns) for columns in zip(value_1C[0], drawn_RC.T, mixed_RC.T, strict=True)]
    mean = paired_test(float(_mean_defined(value_1C)[0]), _mean_defined(drawn_RC), _mean_defined(mixed_RC))
    return each, mean


def _drawn(cells_CK: NDArray[np.int64], *, seed: int) -> NDArray[np.int64]:
    """(R, C, K) counts of as many pictures, drawn with replacement."""
    total = int(cells_CK.sum())
    if not total:
        return np.zeros((NUM_RESAMPLES, *cells_CK.shape), np.int64)
    share = cells_CK.ravel() / total
    drawn = np.random.default_rng(seed).multinomial(total, share, NUM_RESAMPLES)
    return drawn.reshape(NUM_RESAMPLES, *cells_CK.shape)


def _difference(cells_RC4: NDArray[np.int64]) -> Floats:
    """(R, C) accuracy of b less that of a; cells: neither right, b alone, a alone, both."""
    return _shares(cells_RC4[..., 1] - cells_RC4[..., 2], cells_RC4.sum(axis=-1))


def _shares(part: NDArray[Any], whole: NDArray[np.int64]) -> Floats:
    """NaN where there is nothing."""
    share: Floats = np.where(whole > 0, part / np.maximum(whole, 1), np.nan)
    return share


def _mean_defined(values_RC: Floats) -> Floats:
    """(R,) mean of what is not NaN in each row; NaN when nothing is."""
    defined_RC = ~np.isnan(values_RC)
    return _shares(np.where(defined_RC, values_RC, 0).sum(axis=1), defined_RC.sum(axis=1))
