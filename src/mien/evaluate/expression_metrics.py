"""Scores of expression classes: confusion, accuracy a class, and their mean, the "Average" of the paper."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import confusion_matrix

Floats = NDArray[np.floating[Any]]


@dataclass(frozen=True)
class ExpressionScores:
    """C classes. confusion_CC: rows true, columns predicted, counts. accuracy_C: recall, NaN without rows."""

    confusion_CC: NDArray[np.int64]
    accuracy_C: Floats
    mean_class_accuracy: float
    accuracy: float


def expression_scores(
    true_N: NDArray[np.int64], predicted_N: NDArray[np.int64], *, num_classes: int
) -> ExpressionScores:
    """The scores of predicted class numbers."""
    confusion_CC = confusion_matrix(true_N, predicted_N, labels=np.arange(num_classes))
    rows_C = confusion_CC.sum(axis=1)
    accuracy_C = np.where(rows_C > 0, confusion_CC.diagonal() / np.maximum(rows_C, 1), np.nan)
    return ExpressionScores(
        confusion_CC=confusion_CC,
        accuracy_C=accuracy_C,
        mean_class_accuracy=float(np.nanmean(accuracy_C)) if (rows_C > 0).any() else float("nan"),
        accuracy=float(confusion_CC.trace() / max(rows_C.sum(), 1)),
    )
