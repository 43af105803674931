"""A model recalibrated on a few labelled faces of one's own: what there is too little of stays as it was.

Cameras, light and people shift a model's logits more than they change their order. So a straight line is put
after each unit's calibration, drawn towards the identity, and kept only where it does better on people (or
stretches of time) that it was not fitted on, by more than chance would have it. The frames of one person
resemble each other, in how often they show a unit above all: together they count as `MOST_OF_A_PERSON`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mien.datasets.base import LabelledFrames
from mien.detect.au_model import AuModel
from mien.detect.calibration import PLATT, Calibration, Curve, sigmoid
from mien.detect.curve_fitting import LinePrior, fit_line, log_loss
from mien.evaluate.folds import subject_folds
from mien.evaluate.probe import chosen_thresholds

Floats = NDArray[np.floating[Any]]

FEWEST_FOR_OFFSET = 5
"""Frames with, and frames without, a unit before anything of it moves."""

FEWEST_FOR_LINE = 20
"""Before the slope and the threshold move as well."""

MOST_OF_A_PERSON = 4.0

_LINE = LinePrior(scale_deviation=0.5, bias_deviation=1.0)
_OFFSET = LinePrior(scale_deviation=1e-3, bias_deviation=1.0)
_MAX_FOLDS = 5
_BLOCKS = 4  # of time, where there is one person only


@dataclass(frozen=True)
class Change:
    """What became of one unit. log_loss: a frame, on frames left out, without and with the line."""

    what: str  # "offset" or "line"
    scale: float
    bias: float
    threshold_before: float
    threshold: float
    num_present: int
    num_absent: int
    log_loss_before: float
    log_loss: float


@dataclass(frozen=True)
class Adapted:
    """The model, what changed by column, and why the other units were left alone."""

    model: AuModel
    changes: Mapping[str, Change]
    left_alone: Mapping[str, str]


def adapt(model: AuModel, logits_NA: Floats, frames: LabelledFrames) -> Adapted:
    """Recalibrated by (N, A) logits of the model's units and the labels of the same faces.

    ValueError when the frames code none of the model's units.
    """
    labels_NA = labels_for(model.units, frames)
    if np.isnan(labels_NA).all():
        raise ValueError(
            f"none of the {len(model.units)} units of {model.source} is coded: nothing to adapt to"
        )
    curves, threshold_A = list(model.calibration.curves), model.threshold_A.copy()
    changes: dict[str, Change] = {}
    left_alone: dict[str, str] = {}
    for column, name in enumerate(model.columns):
        coded_N = ~np.isnan(labels_NA[:, column])
        unit = _Unit(
            curves[column].log_odds(logits_NA[coded_N, column]),
            labels_NA[coded_N, column],
            frames.subject_N[coded_N],
            float(threshold_A[column]),
        )
        found = unit.recalibrated()
        if isinstance(found, str):
            left_alone[name] = found
            continue
        changes[name] = found
        curves[column] = curves[column].followed_by(Curve(PLATT, found.scale, found.bias))
        threshold_A[column] = found.threshold
    adapted = dataclasses.replace(model, calibration=Calibration(tuple(curves)), threshold_A=threshold_A)
    return Adapted(adapted, changes, left_alone)


def labels_for(units: tuple[int, ...], frames: LabelledFrames) -> NDArray[np.float32]:
    """(N, A) labels in the order of these units; NaN for those that the frames do not code."""
    labels_NA = np.full((frames.num_frames, len(units)), np.nan, np.float32)
    for column, number in enumerate(units):
        if number in frames.action_units:
            labels_NA[:, column] = frames.occurrence_NA[:, frames.action_units.index(number)]
    return labels_NA


@dataclass(frozen=True)
class _Unit:
    """The coded frames of one unit, by the log-odds that the model gives them now."""

    log_odds_N: Floats
    label_N: Floats
    subject_N: NDArray[Any]
    threshold: float

    def recalibrated(self) -> Change | str:
        """What changes, or why nothing does."""
        present = int((self.label_N == 1).sum())
        absent = len(self.label_N) - present
        if not len(self.label_N):
            return "not coded"
        if min(present, absent) < FEWEST_FOR_OFFSET:
            return f"{present} frames show it and {absent} do not; it takes {FEWEST_FOR_OFFSET} of both"
        with_line = min(present, absent) >= FEWEST_FOR_LINE
        prior = _LINE if with_line else _OFFSET
        left_out_N = self._left_out(prior)
        if not self._is_better(left_out_N):
            return "no better on faces left out"
        before, after = (log_loss(odds_N, self.label_N) for odds_N in (self.log_odds_N, left_out_N))
        every = np.ones(len(self.label_N), bool)
        line = self._line(every, prior)
        threshold = self._threshold(line) if with_line else self.threshold
        what = "line" if with_line else "offset"
        return Change(what, line.scale, line.bias, self.threshold, threshold, present, absent, before, after)

    def _line(self, rows_N: NDArray[np.bool_], prior: LinePrior) -> Curve:
        _, counts = np.unique(self.subject_N[rows_N], return_counts=True)
        weight = float(np.minimum(counts, MOST_OF_A_PERSON).sum() / counts.sum())
        return fit_line(self.log_odds_N[rows_N], self.label_N[rows_N], prior=prior, weight=weight)

    def _left_out(self, prior: LinePrior) -> Floats:
        """(N,) log-odds by lines that were fitted without the row's fold."""
        fold_N = self._folds()
        log_odds_N = np.zeros(len(self.label_N))
        for fold in np.unique(fold_N):
            own_N = fold_N == fold
            log_odds_N[own_N] = self._line(~own_N, prior).log_odds(self.log_odds_N[own_N])
        return log_odds_N

    def _is_better(self, log_odds_N: Floats) -> bool:
        """Whether the mean gain a person (or stretch) exceeds two standard errors; two must both gain."""
        groups_N = self.subject_N if len(np.unique(self.subject_N)) > 1 else self._folds()
        gain = [
            log_loss(self.log_odds_N[own_N], self.label_N[own_N])
            - log_loss(log_odds_N[own_N], self.label_N[own_N])
            for own_N in (groups_N == group for group in np.unique(groups_N))
        ]
        if len(gain) < 3:
            return min(gain) > 0
        return bool(np.mean(gain) > 2.0 * np.std(gain, ddof=1) / len(gain) ** 0.5)

    def _folds(self) -> NDArray[np.int64]:
        people = len(np.unique(self.subject_N))
        if people > 1:
            return subject_folds(self.subject_N, num_folds=min(_MAX_FOLDS, people))
        return (np.arange(len(self.label_N)) * _BLOCKS) // len(self.label_N)

    def _threshold(self, line: Curve) -> float:
        """The best here, drawn towards the old one by as much as `FEWEST_FOR_LINE` frames weigh."""
        probability_N = sigmoid(line.log_odds(self.log_odds_N))
        best = chosen_thresholds(self.label_N[:, None], probability_N[:, None])[0]
        _, counts = np.unique(self.subject_N[self.label_N == 1], return_counts=True)
        shown = float(np.minimum(counts, MOST_OF_A_PERSON).sum())
        share = shown / (shown + FEWEST_FOR_LINE)
        return float(sigmoid(np.array(share * _logit(best) + (1.0 - share) * _logit(self.threshold))))


def _logit(probability: float) -> float:
    bounded = min(max(probability, 1e-5), 1.0 - 1e-5)
    return float(np.log(bounded / (1.0 - bounded)))
