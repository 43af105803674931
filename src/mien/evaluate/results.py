"""Predictions with their scores, in the order and under the names that reports give them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from mien.evaluate.expression_metrics import ExpressionScores
from mien.evaluate.intervals import Interval
from mien.evaluate.predictions import About, Predictions
from mien.evaluate.scoring import OccurrenceSummary, summarise, summarise_expressions

_MODE_ORDER = ("affine+stats", "stats", "frozen", "all")
_MODE_NAMES = {"all": "fine-tuned"}


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
    def label(self) -> str:
        """As the tables show it."""
        return label_of(self.predictions.about)


def label_of(about: About) -> str:
    """System, mode, and the share of labels where it is not all."""
    share = "" if about.share_of_labels == 1 else f", {100 * about.share_of_labels:g} % of labels"
    return f"{about.system} ({mode_name(about.mode)}{share})"


def mode_name(mode: str) -> str:
    """As the tables show it."""
    return _MODE_NAMES.get(mode, mode)


def in_order(results: Sequence[Result]) -> list[Result]:
    """By share of labels, mode and the order in which the systems were given."""
    systems = list(dict.fromkeys(result.predictions.about.system for result in results))

    def key(result: Result) -> tuple[float, int, int]:
        about = result.predictions.about
        return -about.share_of_labels, _MODE_ORDER.index(about.mode), systems.index(about.system)

    return sorted(results, key=key)


def long_rows(results: Iterable[Result]) -> list[dict[str, Any]]:
    """One row a score: system, mode, share_of_labels, output, score, value, low, high."""
    rows: list[dict[str, Any]] = []
    for result in results:
        about = result.predictions.about
        key = {"system": about.system, "mode": about.mode, "share_of_labels": about.share_of_labels}
        rows += [key | row for row in _long_scores(result)]
    return rows


def _long_scores(result: Result) -> list[dict[str, Any]]:
    outputs = result.predictions.outputs
    if result.expressions is not None:
        accuracy_C = result.expressions.accuracy_C
        each = [_long(name, "accuracy", value) for name, value in zip(outputs, accuracy_C, strict=True)]
        return [_long_interval("mean", "accuracy", result.expressions.mean), *each]
    summary = result.occurrence_scores
    rows = [_long_interval("mean", "f1", summary.f1_mean), _long("mean", "roc_auc", summary.roc_auc_mean)]
    for score in ("f1", "roc_auc"):
        intervals = zip(outputs, getattr(summary, score), strict=True)
        rows += [_long_interval(name, score, interval) for name, interval in intervals]
    plain = ("base_rate", "always_on", "f1_pooled", "f1_chosen", "average_precision")
    for score in (*plain, "balanced_accuracy", "calibration_error", "icc"):
        rows += [_long(name, score, v) for name, v in zip(outputs, getattr(summary, score), strict=True)]
    return rows


def _long(output: str, score: str, value: float) -> dict[str, Any]:
    return {"output": output, "score": score, "value": float(value), "low": math.nan, "high": math.nan}


def _long_interval(output: str, score: str, interval: Interval) -> dict[str, Any]:
    return _long(output, score, interval.value) | {"low": interval.low, "high": interval.high}
