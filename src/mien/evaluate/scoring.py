"""All scores of a system as one table, and paired tests between systems, from their predictions alone."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.metrics import confusion_matrix

from mien.evaluate.metrics import (
    NUM_RESAMPLES,
    RESAMPLING_SEED,
    Interval,
    PairedTest,
    always_on_f1,
    base_rates,
    compare_f1,
    confusion_counts,
    counts_by_subject,
    f1_of_counts,
    fold_of_subjects,
    holm,
    icc_3_1,
    mean_defined,
    occurrence_intervals,
    paired_test,
    percentile_interval,
    scores_of,
    subject_weights,
)
from mien.evaluate.predictions import About, Predictions, require_comparable

Floats = NDArray[np.floating[Any]]

THRESHOLD = 0.5
MEAN = "mean"
MODES = ("affine+stats", "stats", "frozen", "all")
"""In the order of the tables."""

_OF_FOLDS = ("average_precision", "balanced_accuracy", "calibration_error")


@dataclass(frozen=True)
class Result:
    """Predictions and their scores.

    scores: columns output, score, value, low, high, as in scores.csv; 0 to 1. Action units have, each the
    mean over the folds unless stated otherwise: f1, roc_auc, base_rate (pooled), always_on (F1 of predicting
    the unit in every frame), f1_pooled, f1_chosen (at thresholds chosen on training subjects),
    average_precision, balanced_accuracy, calibration_error, icc (of predicted and coded intensity, pooled).
    Expressions have accuracy (recall). low and high bound the 95 % interval, NaN for a score without one;
    value is NaN where a score is undefined or was not measured. The first row is the mean over the outputs by
    which systems are ranked.
    """

    predictions: Predictions
    scores: pd.DataFrame

    @classmethod
    def of(cls, predictions: Predictions) -> Result:
        """The predictions, scored."""
        rows = _unit_scores(predictions) if predictions.class_N is None else _class_scores(predictions)
        columns = ["output", "score", "value", "low", "high"]
        return cls(predictions, pd.DataFrame(list(rows), columns=columns))

    @property
    def about(self) -> About:
        """The record in the predictions."""
        return self.predictions.about

    @property
    def has_units(self) -> bool:
        """Whether the outputs are action units; expressions otherwise."""
        return self.predictions.class_N is None

    @property
    def mean_score(self) -> Interval:
        """The number by which systems are ranked: mean F1, or mean accuracy of the classes."""
        return Interval(*self.scores.loc[0, ["value", "low", "high"]])

    @property
    def label(self) -> str:
        """As the tables show it."""
        return label_of(self.about)

    def each(self, score: str) -> list[Interval]:
        """That score of every output, in the order of the outputs."""
        rows = self.scores[(self.scores["score"] == score) & (self.scores["output"] != MEAN)]
        return [Interval(*row) for row in rows[["value", "low", "high"]].itertuples(index=False)]

    def average(self, score: str) -> float:
        """The mean of that score over the outputs where it is defined."""
        return mean_defined(interval.value for interval in self.each(score))


def _unit_scores(predictions: Predictions) -> Iterator[tuple[str, str, float, float, float]]:
    labels_NA, probability_NA, fold_N = predictions.label_NA, predictions.probability_NA, predictions.fold_N
    present_NA, subject_N = probability_NA > THRESHOLD, predictions.subject_N
    f1, f1_mean, auc = occurrence_intervals(labels_NA, present_NA, probability_NA, subject_N, fold_N)
    folds = [fold_N == fold for fold in np.unique(fold_N)]
    of_folds = [scores_of(labels_NA[rows], probability_NA[rows], threshold_A=THRESHOLD) for rows in folds]
    rate_A = base_rates(labels_NA)
    chosen_NA, none_A = predictions.threshold_NA, np.full(len(predictions.outputs), np.nan)
    chosen = [f1_of_counts(confusion_counts(labels_NA[f], (probability_NA > chosen_NA)[f])) for f in folds]
    coded_NA, read_NA = predictions.intensity_NA, predictions.predicted_intensity_NA
    plain: dict[str, Iterable[float]] = {
        "base_rate": rate_A,
        "always_on": always_on_f1(rate_A),
        "f1_pooled": f1_of_counts(confusion_counts(labels_NA, present_NA)),
        "f1_chosen": none_A if np.isnan(chosen_NA).all() else np.mean(chosen, axis=0),
        **{
            name: map(mean_defined, zip(*(getattr(scores, name) for scores in of_folds), strict=True))
            for name in _OF_FOLDS
        },
        "icc": none_A if coded_NA is None or read_NA is None else icc_3_1(coded_NA, read_NA),
    }
    yield MEAN, "f1", f1_mean.value, f1_mean.low, f1_mean.high
    yield MEAN, "roc_auc", mean_defined(interval.value for interval in auc), np.nan, np.nan
    for score, intervals in (("f1", f1), ("roc_auc", auc)):
        for output, interval in zip(predictions.outputs, intervals, strict=True):
            yield output, score, interval.value, interval.low, interval.high
    for score, values in plain.items():
        for output, value in zip(predictions.outputs, values, strict=True):
            yield output, score, float(value), np.nan, np.nan


def label_of(about: About) -> str:
    """System, mode, and the share of labels where it is not all."""
    share = "" if about.share_of_labels == 1 else f", {100 * about.share_of_labels:g} % of labels"
    return f"{about.system} ({mode_name(about.mode)}{share})"


def mode_name(mode: str) -> str:
    """As the tables show it."""
    return "fine-tuned" if mode == "all" else mode


def in_order(results: Sequence[Result]) -> list[Result]:
    """By share of labels, mode and the order in which the systems were given."""
    systems = list(dict.fromkeys(result.about.system for result in results))

    def key(result: Result) -> tuple[float, int, int]:
        about = result.about
        return -about.share_of_labels, MODES.index(about.mode), systems.index(about.system)

    return sorted(results, key=key)


def scores_table(results: Iterable[Result]) -> pd.DataFrame:
    """The scores of all results below each other; the first columns are system, mode, share_of_labels."""
    names = ("system", "mode", "share_of_labels")
    of_results = []
    for result in results:
        table = result.scores.copy()
        for place, name in enumerate(names):
            table.insert(place, name, getattr(result.about, name))
        of_results.append(table)
    return pd.concat(of_results, ignore_index=True)


@dataclass(frozen=True)
class Comparison:
    """System b against system a, output by output; p-values corrected for their number (Holm).

    score: F1 of action units, or accuracy of expressions.
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
        each, mean = compare_accuracies(a.class_N[order_a], *named, num_classes=len(a.outputs))
    else:
        fold_S = fold_of_subjects(a.subject_N, a.fold_N)
        counts_a, counts_b = (
            counts_by_subject(one.label_NA, one.probability_NA > THRESHOLD, one.subject_N) for one in (a, b)
        )
        weight_RS = subject_weights(fold_S, seed=RESAMPLING_SEED)
        each, mean = compare_f1(counts_a, counts_b, fold_S, weight_RS, seed=RESAMPLING_SEED)
    score = "F1" if a.class_N is None else "accuracy"
    return Comparison(score, *names, each, holm([test.p_value for test in each]), mean)


def confusion_of(predictions: Predictions) -> NDArray[np.int64]:
    """(C, C) counts of expressions: rows true, columns predicted."""
    assert predictions.class_N is not None
    predicted_N, classes = predictions.probability_NA.argmax(axis=1), np.arange(len(predictions.outputs))
    confusion_CC: NDArray[np.int64] = confusion_matrix(predictions.class_N, predicted_N, labels=classes)
    return confusion_CC


def _class_scores(predictions: Predictions) -> Iterator[tuple[str, str, float, float, float]]:
    accuracy_C, mean = class_accuracies(confusion_of(predictions))
    yield MEAN, "accuracy", mean.value, mean.low, mean.high
    for output, value in zip(predictions.outputs, accuracy_C.tolist(), strict=True):
        yield output, "accuracy", value, np.nan, np.nan


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
