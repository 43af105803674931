"""From an encoder and labelled faces to an AU model whose scores were measured on people it had not seen.

For the scores, every fold of the protocol is done as a whole: head, calibration and thresholds come from its
training people alone, the latter two by heads that have not seen the person. The model that is kept is fitted
on everybody; its calibration and thresholds come from the folds' predictions, each made without its person.

Calibration: per action unit, temperature scaling (Guo et al., ICML 2017), a line (Platt, 1999), isotonic
regression (Zadrozny & Elkan, KDD 2002) or none, whichever has the least log-loss on people left out.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import minimize
from sklearn.isotonic import IsotonicRegression

from mien.backbones import Backbone
from mien.datasets.base import LabelledFrames
from mien.detect.au_model import AuModel
from mien.detect.calibration import AS_IT_IS, ISOTONIC, PLATT, TEMPERATURE, Calibration, Curve, sigmoid
from mien.detect.network import FittedParts, IntensityHead
from mien.evaluate.features import StoredFaces, cached_features
from mien.evaluate.head import ProbeHead
from mien.evaluate.labelled_faces import LabelledFaces
from mien.evaluate.metrics import (
    Interval,
    always_on_f1,
    icc_3_1,
    mean_defined,
    occurrence_intervals,
    scores_of,
)
from mien.evaluate.probe import (
    OccurrenceTargets,
    ProbeSettings,
    TrunkMode,
    chosen_thresholds,
    fit_head,
    fit_tuned,
)
from mien.evaluate.protocols import Fold, subject_folds
from mien.evaluate.readout import fit_intensity
from mien.facs import action_unit
from mien.train.encoder_file import Encoder

Floats = NDArray[np.floating[Any]]
Rows = NDArray[np.int64]

Keep = Callable[[str, Callable[[], Mapping[str, NDArray[Any]]]], dict[str, NDArray[Any]]]

NO_THRESHOLD = 0.5
"""Where there are too few people to choose one."""

_SMALLEST_SCALE = 0.01
_MAX_FOLDS = 5


@dataclass(frozen=True)
class Material:
    """What a model is fitted on. features_ND: of the encoder as it is; only the frozen mode reads them."""

    encoder: Encoder
    data: LabelledFaces
    features_ND: NDArray[np.float32]
    mode: TrunkMode
    settings: ProbeSettings
    workers: int = 0

    @property
    def frames(self) -> LabelledFrames:
        """The coded frames that have a face."""
        return self.data.frames


@dataclass(frozen=True, eq=False)
class HeldOut:
    """M tested faces, each read by a model that has not seen its person.

    rows: their numbers in the labelled set. logit_MA: of the head. probability_MA, threshold_MA: calibrated
    and chosen on training people. intensity_MA: 0 to 5, NaN for units without; None where the set codes none.
    """

    rows: Rows
    fold_M: NDArray[np.str_]
    logit_MA: NDArray[np.float32]
    probability_MA: NDArray[np.float32]
    threshold_MA: NDArray[np.float32]
    intensity_MA: NDArray[np.float32] | None = None

    @classmethod
    def joined(cls, parts: Sequence[HeldOut]) -> HeldOut:
        """Several folds as one, in the order of the rows."""
        order = np.argsort(np.concatenate([part.rows for part in parts]), kind="stable")
        columns: dict[str, Any] = {name: [vars(part)[name] for part in parts] for name in vars(parts[0])}
        whole: dict[str, Any] = {
            name: None if column[0] is None else np.concatenate(column)[order]
            for name, column in columns.items()
        }
        return cls(**whole)


@dataclass(frozen=True)
class ChosenCurve:
    """A curve fitted on all held-out frames, and the mean log-loss of every kind on people left out."""

    curve: Curve
    log_loss: Mapping[str, float]


@dataclass(frozen=True)
class FittedModel:
    """The model (its record still empty), its held-out readings, and why each curve was chosen."""

    model: AuModel
    held_out: HeldOut
    choices: tuple[ChosenCurve, ...]


def fit_au_model(
    material: Material,
    folds: list[Fold],
    *,
    with_intensity: bool = True,
    tell: Callable[[str], None] = lambda line: None,
    keep: Keep = lambda _name, make: dict(make()),
) -> FittedModel:
    """The model fitted on all faces, measured on the folds; `tell` gets one line per step.

    keep: gets the name of each fold's part and a function that makes it; it may return what an earlier run
    kept under that name.
    """
    frames = material.frames
    with_intensity = with_intensity and frames.intensity_NA is not None
    held = []
    for number, fold in enumerate(folds, start=1):
        tell(
            f"fold {number} of {len(folds)}: {len(fold.train):,} faces to fit on, {len(fold.test):,} to test"
        )
        make = partial(_held_out, material, fold, with_intensity=with_intensity)
        held.append(HeldOut(**keep(f"fold-{number}", partial(_arrays_of, make))))
    held_out = HeldOut.joined(held)
    tell(f"the model itself, on all {frames.num_frames:,} faces")
    every = np.arange(frames.num_frames)
    reader = _fit(material, every)
    choices = _choose_curves(held_out.logit_MA, frames.rows(held_out.rows))
    calibration, threshold_A = _calibrated(choices, held_out.logit_MA, frames.rows(held_out.rows))
    parts = FittedParts(
        encoder=dataclasses.replace(material.encoder, backbone=reader.trunk),
        head=reader.head,
        intensity=_intensity_head(material, reader, every) if with_intensity else None,
    )
    return FittedModel(parts.model(frames.action_units, calibration, threshold_A), held_out, choices)


def learnable_units(frames: LabelledFrames) -> tuple[LabelledFrames, dict[int, str]]:
    """The frames with the units that can be learned and tested across people, and why others are left out."""
    left_out: dict[int, str] = {}
    for number, labels_N in zip(frames.action_units, frames.occurrence_NA.T, strict=True):
        people = len(np.unique(frames.subject_N[labels_N == 1]))
        if people < 2:
            left_out[number] = f"present in {people} people; it takes 2"
        elif not (labels_N == 0).any():
            left_out[number] = "never coded as absent"
    kept = [column for column, number in enumerate(frames.action_units) if number not in left_out]
    if not kept:
        raise ValueError("no action unit is present in two people or more: there is nothing to learn")
    intensity_NA = frames.intensity_NA
    units = dataclasses.replace(
        frames,
        action_units=tuple(frames.action_units[column] for column in kept),
        occurrence_NA=frames.occurrence_NA[:, kept],
        intensity_NA=None if intensity_NA is None else intensity_NA[:, kept],
    )
    return units, left_out


def measured_scores(held_out: HeldOut, frames: LabelledFrames) -> dict[str, Any]:
    """JSON: `units`, a dictionary per action unit, and their `mean`; None for what is undefined.

    frames: the tested ones, row m that of held_out.rows[m]. F1 is the mean over the folds at the thresholds
    chosen on training people, ROC-AUC is over pairs of the same fold, both with 95 % intervals that draw
    people; calibration error and Brier score are over all tested faces, `before` by the sigmoid of the logit.
    """
    labels_MA, probability_MA = frames.occurrence_NA, held_out.probability_MA
    before = scores_of(labels_MA, sigmoid(held_out.logit_MA).clip(0.0, 1.0))  # of rounding errors above 1
    after = scores_of(labels_MA, probability_MA)
    always_on_A = always_on_f1(after.base_rate)
    icc_A = np.full(len(frames.action_units), math.nan)
    if held_out.intensity_MA is not None and frames.intensity_NA is not None:
        icc_A = icc_3_1(frames.intensity_NA, held_out.intensity_MA)
    present_MA = probability_MA > held_out.threshold_MA
    f1, f1_mean, auc = occurrence_intervals(
        labels_MA, present_MA, held_out.logit_MA, frames.subject_N, held_out.fold_M
    )
    units: dict[str, dict[str, Any]] = {}
    for column, number in enumerate(frames.action_units):
        present_M = labels_MA[:, column] == 1
        num_coded = int((~np.isnan(labels_MA[:, column])).sum())
        units[action_unit(number).column] = {
            "num_coded": num_coded,
            "num_present": int(present_M.sum()),
            "num_people_showing_it": len(np.unique(frames.subject_N[present_M])),
            "base_rate": _number(present_M.sum() / num_coded if num_coded else math.nan),
            "f1": _plain(f1[column]),
            "always_on_f1": _number(always_on_A[column]),
            "roc_auc": _plain(auc[column]),
            "calibration_error": _number(after.calibration_error[column]),
            "calibration_error_before": _number(before.calibration_error[column]),
            "brier": _number(after.brier[column]),
            "brier_before": _number(before.brier[column]),
            "intensity_icc": _number(icc_A[column]),
        }
    means = {
        "roc_auc": _mean([unit["roc_auc"]["value"] for unit in units.values()]),
        "calibration_error": _mean([unit["calibration_error"] for unit in units.values()]),
        "calibration_error_before": _mean([unit["calibration_error_before"] for unit in units.values()]),
    }
    return {
        "num_frames": len(held_out.rows),
        "num_subjects": len(np.unique(frames.subject_N)),
        "num_folds": len(np.unique(held_out.fold_M)),
        "units": units,
        "mean": {"f1": _plain(f1_mean), **means},
    }


@dataclass(frozen=True)
class LinePrior:
    """Standard deviations of a normal prior around the identity line."""

    scale_deviation: float = 1.0  # around 1
    bias_deviation: float = 3.0  # around 0, in log-odds; 0: the offset is fixed at 0


WEAK = LinePrior()
"""For hundreds of frames and more."""


def choose_curve(logit_N: Floats, label_N: Floats, subject_N: NDArray[Any]) -> ChosenCurve:
    """The kind with the least log-loss across people, the simpler one where two are equal.

    NaN labels are left out. The identity where only one class, or one person, is there to learn from.
    """
    coded_N = ~np.isnan(label_N)
    logit_N, label_N, subject_N = logit_N[coded_N], label_N[coded_N], subject_N[coded_N]
    num_subjects = len(np.unique(subject_N))
    if num_subjects < 2 or len(np.unique(label_N)) < 2:
        return ChosenCurve(Curve(), {})
    fold_N = subject_folds(subject_N, num_folds=min(_MAX_FOLDS, num_subjects))
    losses = {}
    for kind, fit in _FITS.items():
        log_odds_N = np.zeros(len(logit_N))
        for fold in np.unique(fold_N):
            own_N = fold_N == fold
            log_odds_N[own_N] = fit(logit_N[~own_N], label_N[~own_N]).log_odds(logit_N[own_N])
        losses[kind] = log_loss(log_odds_N, label_N)
    best = min(losses, key=lambda kind: round(losses[kind], 6))
    return ChosenCurve(_FITS[best](logit_N, label_N), losses)


def fit_line(
    logit_N: Floats, label_N: Floats, *, prior: LinePrior = WEAK, weight: float = 1.0, kind: str = PLATT
) -> Curve:
    """The line with the highest posterior: `weight` times the log-likelihood, and the prior. Convex.

    `weight` below 1 is for frames that resemble each other: N of them count as weight * N independent ones.
    scikit-learn's logistic regression has no prior around a slope of 1, and none on the offset.
    """
    sign_N = np.where(label_N > 0.5, -1.0, 1.0)
    deviation_2 = (prior.scale_deviation, prior.bias_deviation or 1.0)
    logit_N = logit_N.astype(np.float64)

    def loss(line_2: Floats) -> tuple[float, Floats]:
        odds_N = line_2[0] * logit_N + line_2[1]
        slope_N = weight * sign_N * sigmoid(sign_N * odds_N)
        away_2 = (line_2 - (1.0, 0.0)) / deviation_2
        value = weight * np.logaddexp(0.0, sign_N * odds_N).sum() + 0.5 * (away_2**2).sum()
        return float(value), np.array([slope_N @ logit_N, slope_N.sum()]) + away_2 / deviation_2

    bounds = [(_SMALLEST_SCALE, None), (None, None) if prior.bias_deviation else (0.0, 0.0)]
    found = minimize(loss, np.array([1.0, 0.0]), jac=True, bounds=bounds, method="L-BFGS-B")
    return Curve(kind, float(found.x[0]), float(found.x[1]))


def fit_isotonic(logit_N: Floats, label_N: Floats) -> Curve:
    """A rising curve through the level steps of isotonic regression, a knot in the middle of each.

    So it has no jumps, and two engines that differ a little give nearly the same probability. Probabilities
    stay one frame away from 0 and 1.
    """
    logit_N = logit_N.astype(np.float64)
    level_N = IsotonicRegression(out_of_bounds="clip").fit(logit_N, label_N).predict(logit_N)
    level_K, step_N, size_K = np.unique(level_N, return_inverse=True, return_counts=True)
    middle_K = np.bincount(step_N, logit_N) / size_K
    edge = 1.0 / (len(label_N) + 2.0)
    probability_K = np.clip(level_K, edge, 1.0 - edge)
    log_odds_K = np.log(probability_K / (1.0 - probability_K))
    return Curve(ISOTONIC, 1.0, 0.0, np.stack([middle_K, log_odds_K], axis=1))


def log_loss(log_odds_N: Floats, label_N: Floats) -> float:
    """Mean cross-entropy per frame, in nats."""
    return float(np.logaddexp(0.0, np.where(label_N > 0.5, -log_odds_N, log_odds_N)).mean())


fit_temperature = partial(fit_line, prior=LinePrior(bias_deviation=0.0), kind=TEMPERATURE)
"""A line through the origin."""

_FITS: dict[str, Callable[[Floats, Floats], Curve]] = {
    AS_IT_IS: lambda _logit_N, _label_N: Curve(),
    TEMPERATURE: fit_temperature,
    PLATT: fit_line,
    ISOTONIC: fit_isotonic,
}


@dataclass(frozen=True)
class _Reader:
    """A trunk and the head that was fitted on it; both in evaluation mode."""

    trunk: Backbone
    head: ProbeHead


def _fit(material: Material, train: Rows) -> _Reader:
    targets = OccurrenceTargets(torch.from_numpy(material.frames.occurrence_NA))
    encoder, settings = material.encoder, material.settings
    if material.mode is TrunkMode.FROZEN:
        features = torch.from_numpy(material.features_ND)
        return _Reader(encoder.backbone, fit_head(features, targets, train, settings).cpu())
    tuned = fit_tuned(
        encoder.backbone,
        encoder.inputs,
        material.data.faces,
        targets,
        train,
        mode=material.mode,
        settings=settings,
        workers=material.workers,
    )
    return _Reader(tuned.trunk, tuned.head.cpu())


def _features(material: Material, reader: _Reader, rows: Rows) -> NDArray[np.float32]:
    """(len(rows), D) by the reader's trunk."""
    if material.mode is TrunkMode.FROZEN:
        return material.features_ND[rows]
    faces = material.data.faces
    chosen = StoredFaces(faces.store, faces.track_N[rows], faces.position_N[rows])
    return cached_features(reader.trunk, material.encoder.inputs, chosen, workers=material.workers)


@torch.inference_mode()
def _logits(reader: _Reader, features_MD: NDArray[np.float32]) -> NDArray[np.float32]:
    logits_MA: NDArray[np.float32] = reader.head(torch.from_numpy(features_MD)).numpy()
    return logits_MA


def _arrays_of(make: Callable[[], HeldOut]) -> dict[str, NDArray[Any]]:
    return {name: values for name, values in vars(make()).items() if values is not None}


def _held_out(material: Material, fold: Fold, *, with_intensity: bool) -> HeldOut:
    calibration, threshold_A = _from_training_people(material, fold.train)
    reader = _fit(material, fold.train)
    features_MD = _features(material, reader, fold.test)
    logit_MA = _logits(reader, features_MD)
    intensity_MA = None
    if with_intensity:
        head = _intensity_head(material, reader, fold.train)
        found_MA = features_MD @ head.weight_AD.numpy().T + head.bias_A.numpy()
        intensity_MA = np.where(head.coded_A, found_MA.clip(0.0, 5.0), np.nan).astype(np.float32)
    return HeldOut(
        rows=fold.test,
        fold_M=np.full(len(fold.test), fold.name),
        logit_MA=logit_MA,
        probability_MA=calibration(logit_MA),
        threshold_MA=np.tile(threshold_A.astype(np.float32), (len(fold.test), 1)),
        intensity_MA=intensity_MA,
    )


def _from_training_people(material: Material, train: Rows) -> tuple[Calibration, Floats]:
    """Calibration and thresholds from these people, each read by a head that was fitted on others of them.

    On all of them with a frozen encoder, where a fit takes seconds; on a third of them where it is tuned.
    """
    A = len(material.frames.action_units)
    subject_N = material.frames.subject_N[train]
    if len(np.unique(subject_N)) < 3:
        return Calibration.none(A), np.full(A, NO_THRESHOLD)
    part_N = subject_folds(subject_N, num_folds=3)
    logits, held = [], []
    for part in (0, 1, 2) if material.mode is TrunkMode.FROZEN else (0,):
        reader = _fit(material, train[part_N != part])
        held.append(train[part_N == part])
        logits.append(_logits(reader, _features(material, reader, held[-1])))
    logit_MA, frames = np.concatenate(logits), material.frames.rows(np.concatenate(held))
    return _calibrated(_choose_curves(logit_MA, frames), logit_MA, frames)


def _choose_curves(logit_MA: Floats, frames: LabelledFrames) -> tuple[ChosenCurve, ...]:
    columns = zip(logit_MA.T, frames.occurrence_NA.T, strict=True)
    return tuple(choose_curve(logit_M, label_M, frames.subject_N) for logit_M, label_M in columns)


def _calibrated(
    choices: Sequence[ChosenCurve], logit_MA: Floats, frames: LabelledFrames
) -> tuple[Calibration, Floats]:
    calibration = Calibration(tuple(choice.curve for choice in choices))
    return calibration, chosen_thresholds(frames.occurrence_NA, calibration(logit_MA))


def _intensity_head(material: Material, reader: _Reader, train: Rows) -> IntensityHead:
    """The ridge read-out of `mien evaluate`, its standardisation folded into weights and constants."""
    assert material.frames.intensity_NA is not None
    features_ND, intensity_NA = _features(material, reader, train), material.frames.intensity_NA[train]
    A, D = intensity_NA.shape[1], features_ND.shape[1]
    weight_AD, bias_A, coded_A = np.zeros((A, D)), np.zeros(A), np.zeros(A, bool)
    for column, intensity_N in enumerate(intensity_NA.T):
        rows = np.flatnonzero(~np.isnan(intensity_N))
        if len(rows) < 2:
            continue
        scaler, ridge = (step for _, step in fit_intensity(features_ND[rows], intensity_N[rows]).steps)
        weight_AD[column] = ridge.coef_ / scaler.scale_
        bias_A[column] = ridge.intercept_ - weight_AD[column] @ scaler.mean_
        coded_A[column] = True
    return IntensityHead(
        torch.from_numpy(weight_AD.astype(np.float32)), torch.from_numpy(bias_A.astype(np.float32)), coded_A
    )


def _plain(interval: Interval) -> dict[str, float | None]:
    return {name: _number(getattr(interval, name)) for name in ("value", "low", "high")}


def _number(value: float) -> float | None:
    """Four digits; JSON has no NaN."""
    return None if math.isnan(value) else round(float(value), 4)


def _mean(values: Sequence[float | None]) -> float | None:
    return _number(mean_defined([math.nan if value is None else value for value in values]))
