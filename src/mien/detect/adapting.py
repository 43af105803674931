"""A model recalibrated on a few labelled faces of one's own: what there is too little of stays as it was.

Cameras, light and coders shift a model's log-odds more than they change their order. So a straight line is
put after each unit's calibration: first one line for all units together, then, where there are frames enough,
one of the unit's own. Lines are drawn towards the identity, and kept only where they do better on people (or
stretches of time) that they were not fitted on, by more than chance would have it. The frames of one person
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
from mien.evaluate.metrics import f1_per_column
from mien.evaluate.probe import chosen_thresholds
from mien.evaluate.protocols import subject_folds

Floats = NDArray[np.floating[Any]]

FEWEST_FOR_OFFSET = 5
"""Frames with, and frames without, a unit before anything of it moves."""

FEWEST_FOR_LINE = 20
"""Before the slope and the threshold move as well."""

MOST_OF_A_PERSON = 4.0

_LINE = LinePrior(scale_deviation=0.5, bias_deviation=1.0)
_OFFSET = LinePrior(scale_deviation=1e-3, bias_deviation=1.0)
_MAX_FOLDS = 5
_FEWEST_FOR_ERRORS = 5  # people
_ERRORS_OF_ALL = 0.5  # one decision, on all units' frames
_ERRORS_OF_ONE = 2.0  # one of many decisions, on few frames
_BLOCKS = 4  # of time, where there is one person only


@dataclass(frozen=True)
class Change:
    """What became of one unit, and what the whole procedure did for faces that it was done without.

    what: "common" where the line of all units moved it alone, else also an "offset" or a "line" of its own.
    log_loss (a frame) and f1: before and after, over faces each of which was left out of all that was fitted
    and decided for it. share_present: of the coded faces, what model and adapted model call present.
    """

    what: str
    scale: float
    bias: float
    threshold_before: float
    threshold: float
    num_present: int
    num_absent: int
    log_loss_before: float
    log_loss: float
    f1_before: float
    f1: float
    share_present_before: float
    share_present: float


@dataclass(frozen=True)
class Adapted:
    """The model, what changed by column, and why the other units were left alone.

    left_out: what `Change.log_loss` and `f1` leave out together, "people" or, where there is one only,
    "stretches" of time.
    """

    model: AuModel
    changes: Mapping[str, Change]
    left_alone: Mapping[str, str]
    left_out: str


def adapt(model: AuModel, logits_NA: Floats, frames: LabelledFrames) -> Adapted:
    """Recalibrated by (N, A) logits of the model's units and the labels of the same faces.

    ValueError when the frames code none of the model's units.
    """
    labels_NA = labels_for(model.units, frames)
    if np.isnan(labels_NA).all():
        raise ValueError(
            f"none of the {len(model.units)} units of {model.source} is coded: nothing to adapt to"
        )
    log_odds = [
        curve.log_odds(logit_N) for curve, logit_N in zip(model.calibration.curves, logits_NA.T, strict=True)
    ]
    order = _by_time(frames)
    evidence = _Evidence.of(np.stack(log_odds, axis=1)[order], labels_NA[order], frames.subject_N[order])
    curves, threshold_A = list(model.calibration.curves), model.threshold_A.copy()
    moves = _moves(evidence, model.threshold_A)
    left_out_NA, present_left_out_NA = _moved_without_the_own(evidence, model.threshold_A)
    changes: dict[str, Change] = {}
    left_alone: dict[str, str] = {}
    for column, (name, move) in enumerate(zip(model.columns, moves, strict=True)):
        if isinstance(move, str):
            left_alone[name] = move
            continue
        changes[name] = _change(
            move,
            evidence.column(column),
            float(model.threshold_A[column]),
            left_out_NA[:, column],
            present_left_out_NA[:, column],
        )
        curves[column] = curves[column].followed_by(Curve(PLATT, move.line.scale, move.line.bias))
        threshold_A[column] = move.threshold
    adapted = dataclasses.replace(model, calibration=Calibration(tuple(curves)), threshold_A=threshold_A)
    return Adapted(adapted, changes, left_alone, "people" if evidence.has_several_people else "stretches")


def labels_for(units: tuple[int, ...], frames: LabelledFrames) -> NDArray[np.float32]:
    """(N, A) labels in the order of these units; NaN for those that the frames do not code."""
    labels_NA = np.full((frames.num_frames, len(units)), np.nan, np.float32)
    for column, number in enumerate(units):
        if number in frames.action_units:
            labels_NA[:, column] = frames.occurrence_NA[:, frames.action_units.index(number)]
    return labels_NA


@dataclass(frozen=True, eq=False)
class _Evidence:
    """Labels of N frames and U units, NaN where not coded, and the log-odds that the model gives them now.

    group_N: people, or where there is one only, stretches of the table: what is left out together.
    """

    log_odds_NU: Floats
    label_NU: Floats
    subject_N: NDArray[Any]
    group_N: NDArray[Any]

    @classmethod
    def of(cls, log_odds_NU: Floats, label_NU: Floats, subject_N: NDArray[Any]) -> _Evidence:
        """Rows come in the order of time."""
        several = len(np.unique(subject_N)) > 1
        stretch_N = (np.arange(len(subject_N)) * _BLOCKS) // max(1, len(subject_N))
        return cls(log_odds_NU, label_NU, subject_N, subject_N if several else stretch_N)

    def column(self, unit: int) -> _Evidence:
        """One unit's, of the same groups."""
        own = slice(unit, unit + 1)
        return _Evidence(self.log_odds_NU[:, own], self.label_NU[:, own], self.subject_N, self.group_N)

    def rows(self, chosen_N: NDArray[np.bool_]) -> _Evidence:
        """Of these rows, as if there were no others."""
        return _Evidence.of(self.log_odds_NU[chosen_N], self.label_NU[chosen_N], self.subject_N[chosen_N])

    @property
    def has_several_people(self) -> bool:
        return len(np.unique(self.subject_N)) > 1

    def folds(self) -> NDArray[np.int64]:
        """Groups dealt to five folds at most; all in one where there is one group."""
        groups = len(np.unique(self.group_N))
        return subject_folds(self.group_N, num_folds=min(_MAX_FOLDS, groups))

    @property
    def is_coded(self) -> NDArray[np.bool_]:
        return np.asarray((~np.isnan(self.label_NU)).any(axis=1))

    def line(self, rows_N: NDArray[np.bool_], prior: LinePrior) -> Curve:
        """Of these frames; a person's together weigh as `MOST_OF_A_PERSON` frames."""
        rows_N = rows_N & self.is_coded
        if not rows_N.any():
            return Curve()
        _, counts = np.unique(self.subject_N[rows_N], return_counts=True)
        weight = float(np.minimum(counts, MOST_OF_A_PERSON).sum() / counts.sum())
        coded_MU = ~np.isnan(self.label_NU[rows_N])
        odds, labels = self.log_odds_NU[rows_N][coded_MU], self.label_NU[rows_N][coded_MU]
        return fit_line(odds, labels, prior=prior, weight=weight)

    def left_out(self, prior: LinePrior) -> Floats:
        """(N, U) log-odds by lines that were fitted without the row's fold; as they are with one fold."""
        log_odds_NU = self.log_odds_NU.copy()
        fold_N = self.folds()
        for fold in np.unique(fold_N) if len(np.unique(fold_N)) > 1 else ():
            own_N = fold_N == fold
            log_odds_NU[own_N] = self.line(~own_N, prior).log_odds(self.log_odds_NU[own_N])
        return log_odds_NU

    def is_better(self, log_odds_NU: Floats, *, errors: float) -> bool:
        """Whether people's mean gain exceeds so many standard errors; of fewer than five, all must gain."""
        coded_NU = ~np.isnan(self.label_NU)
        gains = []
        for group in np.unique(self.group_N):
            own_NU = coded_NU & (self.group_N == group)[:, None]
            if own_NU.any():
                labels = self.label_NU[own_NU]
                gains.append(
                    log_loss(self.log_odds_NU[own_NU], labels) - log_loss(log_odds_NU[own_NU], labels)
                )
        if len(gains) < _FEWEST_FOR_ERRORS:
            return len(gains) > 1 and min(gains) > 0
        return bool(np.mean(gains) > errors * np.std(gains, ddof=1) / len(gains) ** 0.5)


@dataclass(frozen=True)
class _Move:
    """What is to become of one unit."""

    what: str
    line: Curve
    threshold: float


def _moves(evidence: _Evidence, threshold_A: Floats) -> list[_Move | str]:
    """For each unit what changes, or why nothing does."""
    common = _common_line(evidence)
    return [
        _Unit(evidence.column(column), common, float(threshold)).moved()
        for column, threshold in enumerate(threshold_A)
    ]


def _moved_without_the_own(evidence: _Evidence, threshold_A: Floats) -> tuple[Floats, NDArray[np.bool_]]:
    """(N, U) log-odds and presence after all of this was done without the row's fold, decisions too."""
    log_odds_NU, fold_N = evidence.log_odds_NU.copy(), evidence.folds()
    bar_NU = np.tile([_logit(float(threshold)) for threshold in threshold_A], (len(fold_N), 1))
    for fold in np.unique(fold_N):
        own_N = fold_N == fold
        if own_N.all():
            break
        for column, move in enumerate(_moves(evidence.rows(~own_N), threshold_A)):
            if not isinstance(move, str):
                log_odds_NU[own_N, column] = move.line.log_odds(evidence.log_odds_NU[own_N, column])
                bar_NU[own_N, column] = _logit(move.threshold)
    return log_odds_NU, log_odds_NU > bar_NU


def _change(
    move: _Move,
    unit: _Evidence,
    threshold_before: float,
    left_out_N: Floats,
    present_left_out_N: NDArray[np.bool_],
) -> Change:
    coded_N = unit.is_coded
    label_N, before_N = unit.label_NU[coded_N, 0], unit.log_odds_NU[coded_N, 0]
    present_before_N = before_N > _logit(threshold_before)
    present_N = move.line.log_odds(before_N) > _logit(move.threshold)
    f1_before, f1 = (
        float(f1_per_column(label_N[:, None], called_N[:, None])[0])
        for called_N in (present_before_N, present_left_out_N[coded_N])
    )
    return Change(
        what=move.what,
        scale=move.line.scale,
        bias=move.line.bias,
        threshold_before=threshold_before,
        threshold=move.threshold,
        num_present=int((label_N == 1).sum()),
        num_absent=int((label_N == 0).sum()),
        log_loss_before=log_loss(before_N, label_N),
        log_loss=log_loss(left_out_N[coded_N], label_N),
        f1_before=f1_before,
        f1=f1,
        share_present_before=float(present_before_N.mean()),
        share_present=float(present_N.mean()),
    )


def _common_line(evidence: _Evidence) -> Curve:
    """One line for all units; the identity where it does no better on what it was not fitted on."""
    fewest = min((evidence.label_NU == 1).sum(), (evidence.label_NU == 0).sum())
    if fewest < FEWEST_FOR_LINE:
        return Curve()
    if not evidence.is_better(evidence.left_out(_LINE), errors=_ERRORS_OF_ALL):
        return Curve()
    return evidence.line(np.ones(len(evidence.subject_N), bool), _LINE)


@dataclass(frozen=True, eq=False)
class _Unit:
    """One unit's evidence, the common line, and the threshold."""

    evidence: _Evidence
    common: Curve
    threshold: float

    def moved(self) -> _Move | str:
        """What changes, or why nothing does."""
        label_N = self.evidence.label_NU[:, 0]
        present, absent = int((label_N == 1).sum()), int((label_N == 0).sum())
        if not present + absent:
            return "not coded"
        own, what, why = self._own_line(min(present, absent))
        has_common = (self.common.scale, self.common.bias) != (1.0, 0.0)
        if not what and not has_common:
            return (
                why or f"{present} frames show it and {absent} do not; it takes {FEWEST_FOR_OFFSET} of both"
            )
        line = self.common.followed_by(own)
        people = len(np.unique(self.evidence.subject_N[self.evidence.is_coded]))
        enough = min(present, absent) >= FEWEST_FOR_LINE and people >= _FEWEST_FOR_ERRORS
        return _Move(what or "common", line, self._threshold(line) if enough else self.threshold)

    def _own_line(self, fewest: int) -> tuple[Curve, str, str]:
        """The unit's line behind the common one, its kind ("" for none), and why none."""
        if fewest < FEWEST_FOR_OFFSET:
            return Curve(), "", ""
        prior, what = (_LINE, "line") if fewest >= FEWEST_FOR_LINE else (_OFFSET, "offset")
        after_common_NU = self.common.log_odds(self.evidence.log_odds_NU)
        behind = dataclasses.replace(self.evidence, log_odds_NU=after_common_NU)
        if not behind.is_better(behind.left_out(prior), errors=_ERRORS_OF_ONE):
            return Curve(), "", "no better on faces left out"
        return behind.line(self.evidence.is_coded, prior), what, ""

    def _threshold(self, line: Curve) -> float:
        """The best here, drawn towards the old one by as much as `FEWEST_FOR_LINE` frames weigh."""
        coded_N = self.evidence.is_coded
        label_N = self.evidence.label_NU[coded_N, 0]
        probability_N = sigmoid(line.log_odds(self.evidence.log_odds_NU[coded_N, 0]))
        best = chosen_thresholds(label_N[:, None], probability_N[:, None])[0]
        _, counts = np.unique(self.evidence.subject_N[coded_N][label_N == 1], return_counts=True)
        shown = float(np.minimum(counts, MOST_OF_A_PERSON).sum())
        share = shown / (shown + FEWEST_FOR_LINE)
        return float(sigmoid(np.array(share * _logit(best) + (1.0 - share) * _logit(self.threshold))))


def _by_time(frames: LabelledFrames) -> NDArray[np.int64]:
    """The rows' order within each video; that of the table where nothing tells (pictures)."""
    seconds_N = np.nan_to_num(frames.seconds_N)
    return np.lexsort((seconds_N, frames.frame_N, frames.videos()))


def _logit(probability: float) -> float:
    bounded = min(max(probability, 1e-5), 1.0 - 1e-5)
    return float(np.log(bounded / (1.0 - bounded)))
