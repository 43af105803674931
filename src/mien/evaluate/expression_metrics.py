"""Scores of expression classes: confusion, accuracy a class, and their mean, the "Average" of the paper.

In the sets of expressions every picture is its own subject, so intervals and tests draw pictures; what they
need of them are counts, which makes thousands of draws cheap however many pictures there are.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import confusion_matrix

from mien.evaluate.intervals import NUM_RESAMPLES, Interval, PairedTest, paired_test, percentile_interval

Floats = NDArray[np.floating[Any]]


@dataclass(frozen=True)
class ExpressionScores:
    """C classes. confusion_CC: rows true, columns predicted, counts. accuracy_C: recall, NaN without rows.

    mean: of the accuracies that are defined, with its interval over pictures.
    """

    confusion_CC: NDArray[np.int64]
    accuracy_C: Floats
    mean: Interval
    accuracy: float

    @property
    def mean_class_accuracy(self) -> float:
        """The mean without its interval."""
        return self.mean.value


def expression_scores(
    true_N: NDArray[np.int64], predicted_N: NDArray[np.int64], *, num_classes: int, seed: int = 0
) -> ExpressionScores:
    """The scores of predicted class numbers."""
    confusion_CC = confusion_matrix(true_N, predicted_N, labels=np.arange(num_classes))
    rows_C = confusion_CC.sum(axis=1)
    right_C = confusion_CC.diagonal()
    cells = np.stack([right_C, rows_C - right_C], axis=1)
    accuracy_C, drawn_RC = _shares(right_C, rows_C), _drawn_accuracies(cells, seed=seed)
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


def _drawn_accuracies(cells_C2: NDArray[np.int64], *, seed: int) -> Floats:
    """(R, C) of draws; cells: right, wrong."""
    drawn_RC2 = _drawn(cells_C2, seed=seed)
    return _shares(drawn_RC2[..., 0], drawn_RC2.sum(axis=-1))


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
