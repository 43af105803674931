"""A model adapted to one's own faces: recalibrated by labels, or given their batch-norm statistics.

Cameras, light and coders shift a model's log-odds more than they change their order. So a straight line
follows each unit's calibration: first one line for all units together, then, where there are enough frames,
one of the unit's own. Lines are shrunk towards the identity, and kept only where they do better on people (or
stretches of time) left out, by more than chance would explain. The frames of one person resemble each other,
above all in how often they show a unit: together they count as `MOST_OF_A_PERSON`. Units with too few labels
are left unchanged.

Without labels (AdaBN, Li et al., arXiv:1603.04779): a new camera, light or group of people shifts what the
layers see; the mean and variance that batch-norm removes are then taken anew from these faces.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn.modules.batchnorm import _BatchNorm

from mien import __version__
from mien.datasets.base import LabelledFrames
from mien.detect.au_model import AuModel, network_inputs
from mien.detect.calibration import PLATT, Calibration, Curve, LinePrior, fit_line, log_loss, sigmoid
from mien.detect.export import Faces
from mien.detect.network import FittedParts, unfolded_network, weights_of
from mien.evaluate.features import cached_features
from mien.evaluate.labelled_faces import LabelledFaces
from mien.evaluate.metrics import f1_per_column
from mien.evaluate.probe import chosen_thresholds
from mien.evaluate.protocols import frame_list_digest, subject_folds

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
_ERRORS_OF_ALL = 0.5  # standard errors, for one decision on all units' frames
_ERRORS_OF_ONE = 2.0  # for one of many decisions, on few frames
_BLOCKS = 4  # of time, where there is one person only

FEWEST_FACES = 100
"""Unlabelled ones, below which statistics are too noisy to replace those of the training."""

_BATCH = 64


@dataclass(frozen=True)
class Change:
    """What became of one unit, and how the whole procedure did on faces that were left out of it.

    what: "common" where the line of all units moved it alone, else also an "offset" or a "line" of its own.
    log_loss (per frame) and f1: before and after, over faces each of which was left out of all that was
    fitted and decided for it. share_present: of the coded faces, what model and adapted model call present.
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

    left_out: what `Change.log_loss` and `f1` leave out together, "people" or, where there is only one,
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
    curves, threshold_A = list(model.calibration.curves), model.threshold_A.copy()
    log_odds = [curve.log_odds(logit_N) for curve, logit_N in zip(curves, logits_NA.T, strict=True)]
    order = np.lexsort((np.nan_to_num(frames.seconds_N), frames.frame_N, frames.videos()))  # by time
    evidence = _Evidence.of(np.stack(log_odds, axis=1)[order], labels_NA[order], frames.subject_N[order])
    left_out_NA, present_NA = _adapted_without_own_fold(evidence, threshold_A)
    changes: dict[str, Change] = {}
    left_alone: dict[str, str] = {}
    for column, move in enumerate(_moves(evidence, model.threshold_A)):
        name, threshold = model.columns[column], float(model.threshold_A[column])
        if isinstance(move, str):
            left_alone[name] = move
            continue
        unit = evidence.column(column)
        changes[name] = _change(move, unit, threshold, left_out_NA[:, column], present_NA[:, column])
        curves[column] = curves[column].followed_by(Curve(PLATT, move.line.scale, move.line.bias))
        threshold_A[column] = move.threshold
    adapted = dataclasses.replace(model, calibration=Calibration(tuple(curves)), threshold_A=threshold_A)
    several = len(np.unique(frames.subject_N)) > 1
    return Adapted(adapted, changes, left_alone, "people" if several else "stretches")


@torch.inference_mode()
def logits_of(parts: FittedParts, data: LabelledFaces, *, workers: int = 0) -> NDArray[np.float32]:
    """(N, A) logits of a model's network for the faces of a store."""
    encoder = parts.encoder
    features_ND = cached_features(encoder.backbone, encoder.inputs, data.faces, workers=workers)
    logits_NA: NDArray[np.float32] = parts.head(torch.from_numpy(features_ND)).numpy()
    return logits_NA


@torch.no_grad()
def with_statistics_of(
    model: AuModel, groups: Iterable[Faces], *, device: torch.device | str = "cpu", seed: int = 0
) -> AuModel:
    """The model with the batch-norm statistics of these faces.

    Batches mix the groups: means and variances are averages over batches. ValueError for fewer than
    `FEWEST_FACES`, and for a model without batch-norm.
    """
    network = unfolded_network(model).to(device)
    norms = [module for module in network.modules() if isinstance(module, _BatchNorm)]
    if not norms:
        raise ValueError(f"{model.source} has no batch-norm layer: there are no statistics to take anew")
    parts = inputs_of_groups(model, groups, what="new statistics take")
    inputs = [np.concatenate([part[name] for part in parts]) for name in parts[0]]
    count = len(inputs[0])
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # the mean over all batches
        norm.train()
    order = np.random.default_rng(seed).permutation(count)
    for rows in np.array_split(order, -(-count // _BATCH)):  # of nearly equal size
        network(*(torch.from_numpy(values[rows]).to(device) for values in inputs))
    record = with_adaptation(model, {"num_unlabelled_faces": count})
    return dataclasses.replace(model, weights=weights_of(network), record=record)


def inputs_of_groups(model: AuModel, groups: Iterable[Faces], *, what: str) -> list[dict[str, NDArray[Any]]]:
    """`network_inputs` of every group with a face. ValueError saying `what` takes `FEWEST_FACES` and more."""
    parts = [network_inputs(model, group.crops_NHWC, group.mesh_N468x3) for group in groups if len(group)]
    count = sum(len(part["pixels"]) for part in parts)
    if count < FEWEST_FACES:
        raise ValueError(f"{count} faces found; {what} {FEWEST_FACES}")
    return parts


def record_of_adaptation(
    model: AuModel, adapted: Adapted, frames: LabelledFrames, *, dataset: str, licence: str
) -> dict[str, Any]:
    """The model's record with one adaptation more."""
    facts = {
        "data": dataset,
        "licence": licence,
        "num_frames": frames.num_frames,
        "num_subjects": len(np.unique(frames.subject_N)),
        "frames_digest": frame_list_digest(frames),
        "recalibrated": {name: _rounded(asdict(change)) for name, change in adapted.changes.items()},
        "left_alone": dict(adapted.left_alone),
        "left_out": adapted.left_out,
    }
    return with_adaptation(model, facts)


def with_adaptation(model: AuModel, facts: Mapping[str, Any]) -> dict[str, Any]:
    """The model's record with one adaptation more."""
    source = {"file": Path(model.source).name, "digest": model.digest}
    adaptation = {"from": source, **facts, "mien_version": __version__}
    return {**model.record, "adaptations": [*model.record.get("adaptations", []), adaptation]}


def _rounded(values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: round(value, 4) if isinstance(value, float) else value for name, value in values.items()}


def labels_for(units: tuple[int, ...], frames: LabelledFrames) -> NDArray[np.float32]:
    """(N, A) labels in the order of these units; NaN for those that the frames do not code."""
    labels_NA = np.full((frames.num_frames, len(units)), np.nan, np.float32)
    for column, number in enumerate(units):
        if number in frames.action_units:
            labels_NA[:, column] = frames.occurrence_NA[:, frames.action_units.index(number)]
    return labels_NA


@dataclass(frozen=True, eq=False)
class _Evidence:
    """Labels of N frames and U units, NaN where not coded, and the model's log-odds, rows in time order.

    group_N: people, or, where there is only one, stretches of the table: what is left out together.
    """

    log_odds_NU: Floats
    label_NU: Floats
    subject_N: NDArray[Any]
    group_N: NDArray[Any]

    @classmethod
    def of(cls, log_odds_NU: Floats, label_NU: Floats, subject_N: NDArray[Any]) -> _Evidence:
        stretch_N = (np.arange(len(subject_N)) * _BLOCKS) // max(1, len(subject_N))
        several = len(np.unique(subject_N)) > 1
        return cls(log_odds_NU, label_NU, subject_N, subject_N if several else stretch_N)

    def column(self, unit: int) -> _Evidence:
        """One unit's, of the same groups."""
        own = slice(unit, unit + 1)
        return dataclasses.replace(self, log_odds_NU=self.log_odds_NU[:, own], label_NU=self.label_NU[:, own])

    def rows(self, chosen_N: NDArray[np.bool_]) -> _Evidence:
        """Of these rows, as if there were no others."""
        return _Evidence.of(self.log_odds_NU[chosen_N], self.label_NU[chosen_N], self.subject_N[chosen_N])

    def folds(self) -> NDArray[np.int64]:
        """Groups dealt to five folds at most; all in one where there is one group."""
        groups = len(np.unique(self.group_N))
        return subject_folds(self.group_N, num_folds=min(_MAX_FOLDS, groups))

    @property
    def is_coded(self) -> NDArray[np.bool_]:
        return np.asarray((~np.isnan(self.label_NU)).any(axis=1))

    def weight_of_people(self, rows_N: NDArray[np.bool_]) -> float:
        """How many independent frames these count as."""
        _, counts = np.unique(self.subject_N[rows_N], return_counts=True)
        return float(np.minimum(counts, MOST_OF_A_PERSON).sum())

    def line(self, rows_N: NDArray[np.bool_], prior: LinePrior) -> Curve:
        """Fitted on these frames."""
        rows_N = rows_N & self.is_coded
        if not rows_N.any():
            return Curve()
        coded_MU = ~np.isnan(self.label_NU[rows_N])
        odds, labels = self.log_odds_NU[rows_N][coded_MU], self.label_NU[rows_N][coded_MU]
        return fit_line(odds, labels, prior=prior, weight=self.weight_of_people(rows_N) / int(rows_N.sum()))

    def line_if_better(self, prior: LinePrior, *, errors: float) -> Curve | None:
        """The line of all frames, if lines fitted without a group do better on it by so many standard errors.

        Of fewer than five groups, all must gain.
        """
        log_odds_NU, fold_N = self.log_odds_NU.copy(), self.folds()
        for fold in np.unique(fold_N) if len(np.unique(fold_N)) > 1 else ():
            own_N = fold_N == fold
            log_odds_NU[own_N] = self.line(~own_N, prior).log_odds(self.log_odds_NU[own_N])
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
            is_better = len(gains) > 1 and min(gains) > 0
        else:
            is_better = bool(np.mean(gains) > errors * np.std(gains, ddof=1) / len(gains) ** 0.5)
        return self.line(np.ones(len(self.subject_N), bool), prior) if is_better else None


@dataclass(frozen=True)
class _Move:
    """A unit's new line and threshold."""

    what: str
    line: Curve
    threshold: float


def _moves(evidence: _Evidence, threshold_A: Floats) -> list[_Move | str]:
    """What changes for each unit, or why nothing does."""
    common = None
    if min((evidence.label_NU == 1).sum(), (evidence.label_NU == 0).sum()) >= FEWEST_FOR_LINE:
        common = evidence.line_if_better(_LINE, errors=_ERRORS_OF_ALL)
    units = (evidence.column(column) for column in range(len(threshold_A)))
    return [_move(unit, common, float(threshold)) for unit, threshold in zip(units, threshold_A, strict=True)]


def _move(unit: _Evidence, common: Curve | None, threshold: float) -> _Move | str:
    label_N = unit.label_NU[:, 0]
    present, absent = int((label_N == 1).sum()), int((label_N == 0).sum())
    fewest = min(present, absent)
    if not present + absent:
        return "not coded"
    own = None
    line = common or Curve()
    prior, what = (_LINE, "line") if fewest >= FEWEST_FOR_LINE else (_OFFSET, "offset")
    if fewest >= FEWEST_FOR_OFFSET:
        after_common = dataclasses.replace(unit, log_odds_NU=line.log_odds(unit.log_odds_NU))
        own = after_common.line_if_better(prior, errors=_ERRORS_OF_ONE)
    if own is None and common is None:
        few = f"{present} frames show it and {absent} do not; it takes {FEWEST_FOR_OFFSET} of both"
        return few if fewest < FEWEST_FOR_OFFSET else "no better on faces left out"
    line = line.followed_by(own or Curve())
    people = len(np.unique(unit.subject_N[unit.is_coded]))
    if fewest >= FEWEST_FOR_LINE and people >= _FEWEST_FOR_ERRORS:
        threshold = _threshold(unit, line, threshold)
    return _Move("common" if own is None else what, line, threshold)


def _threshold(unit: _Evidence, line: Curve, before: float) -> float:
    """The best here, shrunk towards the old one, which weighs `FEWEST_FOR_LINE` frames."""
    label_N = unit.label_NU[unit.is_coded, 0]
    probability_N = sigmoid(line.log_odds(unit.log_odds_NU[unit.is_coded, 0]))
    best = chosen_thresholds(label_N[:, None], probability_N[:, None])[0]
    shown = unit.weight_of_people(unit.label_NU[:, 0] == 1)
    share = shown / (shown + FEWEST_FOR_LINE)
    return float(sigmoid(np.array(share * _logit(best) + (1.0 - share) * _logit(before))))


def _adapted_without_own_fold(evidence: _Evidence, threshold_A: Floats) -> tuple[Floats, NDArray[np.bool_]]:
    """(N, U) log-odds and presence after all of this was done without the row's fold, decisions included."""
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
    move: _Move, unit: _Evidence, threshold: float, left_out_N: Floats, present_N: NDArray[np.bool_]
) -> Change:
    """left_out_N, present_N: log-odds and presence without the row's fold."""
    coded_N = unit.is_coded
    label_N, before_N = unit.label_NU[coded_N, 0], unit.log_odds_NU[coded_N, 0]
    present_before_N = before_N > _logit(threshold)
    present_N2 = np.stack([present_before_N, present_N[coded_N]], axis=1)
    f1_before, f1 = f1_per_column(np.stack([label_N, label_N], axis=1), present_N2)
    return Change(
        what=move.what,
        scale=move.line.scale,
        bias=move.line.bias,
        threshold_before=threshold,
        threshold=move.threshold,
        num_present=int((label_N == 1).sum()),
        num_absent=int((label_N == 0).sum()),
        log_loss_before=log_loss(before_N, label_N),
        log_loss=log_loss(left_out_N[coded_N], label_N),
        f1_before=float(f1_before),
        f1=float(f1),
        share_present_before=float(present_before_N.mean()),
        share_present=float((move.line.log_odds(before_N) > _logit(move.threshold)).mean()),
    )


def _logit(probability: float) -> float:
    bounded = min(max(probability, 1e-5), 1.0 - 1e-5)
    return float(np.log(bounded / (1.0 - bounded)))
