"""From an encoder and labelled faces to an AU model whose scores were measured on people it had not seen.

For the scores, every fold of the protocol is done as a whole: head, calibration and thresholds come from its
training people alone, the latter two by heads that have not seen the person. The model that is kept is fitted
on everybody; its calibration and thresholds come from the folds' predictions, each made without its person.

Features and finished folds lie in `MODEL.fit/` until the model is written, so a killed fit goes on.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
import shutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from mien import __version__
from mien.backbones import Backbone
from mien.config import require_same, to_dict
from mien.datasets.base import LabelledFrames
from mien.detect.au_model import AuModel, load_au_model, save_au_model
from mien.detect.calibration import Calibration, choose_curve, sigmoid
from mien.detect.card import units_above_chance
from mien.detect.network import FittedParts, linear
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
from mien.evaluate.protocols import Fold, Protocol, frame_list_digest, subject_folds
from mien.evaluate.readout import fit_intensity
from mien.facs import action_unit
from mien.io import kept_arrays, write_bytes
from mien.train.encoder_file import Encoder, warning_of_people

Floats = NDArray[np.floating[Any]]
Rows = NDArray[np.int64]

NO_THRESHOLD = 0.5
"""Where there are too few people to choose one."""


@dataclass(frozen=True)
class Material:
    """What a model is fitted on. features_ND: of the encoder as it is; only the frozen mode reads them."""

    encoder: Encoder
    data: LabelledFaces
    features_ND: NDArray[np.float32]
    mode: TrunkMode
    settings: ProbeSettings
    workers: int = 0
    with_intensity: bool = True

    @property
    def frames(self) -> LabelledFrames:
        """The coded frames that have a face."""
        return self.data.frames


@dataclass(frozen=True, eq=False)
class HeldOut:
    """M tested faces, each read by a model that has not seen its person.

    rows: their numbers in the labelled set. logit_MA: of the head. probability_MA, threshold_MA: calibrated
    and chosen on training people. intensity_MA: 0 to 5, NaN for units without.
    """

    rows: Rows
    fold_M: NDArray[np.str_]
    logit_MA: NDArray[np.float32]
    probability_MA: NDArray[np.float32]
    threshold_MA: NDArray[np.float32]
    intensity_MA: NDArray[np.float32]


def fit_to_file(
    out: Path,
    material: Material,
    folds: list[Fold],
    settings: Mapping[str, Any],
    *,
    force: bool,
    say: Callable[[str], None],
) -> AuModel:
    """Fit and write `out`; the model. A finished one is read, parts of an earlier run are reused.

    settings: of `settings_of_fit`. ValueError where `out` was fitted, or begun, with other ones, and, unless
    `force`, for a model of which no unit is above chance on held-out people.
    """
    begun_with = {**settings, "intensity": material.with_intensity}
    if out.exists():
        model = load_au_model(out)
        require_same({**model.record, "intensity": model.coded is not None}, begun_with, where=out)
        say(f"{out} was finished by an earlier run")
        return model
    parts = out.with_suffix(".fit")
    begun = parts / "settings.json"
    if begun.exists():
        require_same(json.loads(begun.read_text(encoding="utf-8")), begun_with, where=parts)
    write_bytes(begun, json.dumps(begun_with, indent=2).encode())
    if material.mode is TrunkMode.FROZEN:
        kept = kept_arrays(parts / "features.npz", lambda: {"features_ND": _all_features(material, say)})
        material = dataclasses.replace(material, features_ND=kept["features_ND"])
    fitted, _ = fit_au_model(material, folds, say=say, parts=parts)
    record = {**settings, **fitted.record, "adaptations": []}
    if not (units_above_chance(record) or force):
        raise ValueError(
            "no action unit is above chance on people held out (every 95 % interval of ROC-AUC includes .5): "
            f"{out} was not written. It takes more people or another encoder; --force writes it all the same."
        )
    model = dataclasses.replace(fitted, record=record, source=str(out))
    save_au_model(out, model)
    shutil.rmtree(parts)
    return model


def settings_of_fit(
    material: Material,
    encoder_file: Path,
    protocol: Protocol,
    folds: Sequence[Fold],
    *,
    dataset: str,
    licence: str,
    left_out: Mapping[int, str],
) -> dict[str, Any]:
    """The part of the record that is known before the fit. left_out: units that cannot be fitted, and why."""
    frames = material.frames
    tested = {str(subject) for fold in folds for subject in frames.subject_N[fold.test]}
    return {
        "mien_version": __version__,
        "torch_version": torch.__version__,
        "training_data": {
            "name": dataset,
            "licence": licence,
            "num_frames": frames.num_frames,
            "num_subjects": len(np.unique(frames.subject_N)),
            "num_without_face": material.data.num_without_face,
            "frames_digest": frame_list_digest(frames),
            "units_left_out": {action_unit(number).column: why for number, why in left_out.items()},
        },
        "protocol": {"name": protocol.name, "source": protocol.source, "digest": protocol.digest},
        "encoder": {
            "file": encoder_file.name,
            "sha256": hashlib.sha256(encoder_file.read_bytes()).hexdigest(),
            "mode": material.mode.value,
            "warning": warning_of_people(material.encoder.training, tested),
        },
        "settings": to_dict(material.settings),
    }


def fit_au_model(
    material: Material,
    folds: list[Fold],
    *,
    say: Callable[[str], None] = lambda line: None,
    parts: Path | None = None,
) -> tuple[AuModel, HeldOut]:
    """The model fitted on all faces, its record the scores on the folds; and the readings behind these.

    `say` gets one line per step. parts: a folder that keeps what was read of each fold, and may have it.
    """
    frames, held = material.frames, []
    for number, fold in enumerate(folds, start=1):
        say(f"fold {number} of {len(folds)}: {len(fold.train):,} faces to fit on, {len(fold.test):,} to test")
        make = partial(_held_out, material, fold)
        held.append(kept_arrays(parts / f"fold-{number}.npz", make) if parts else make())
    order = np.argsort(np.concatenate([one["rows"] for one in held]), kind="stable")
    held_out = HeldOut(**{name: np.concatenate([one[name] for one in held])[order] for name in held[0]})
    say(f"the model itself, on all {frames.num_frames:,} faces")
    every, tested = np.arange(frames.num_frames), frames.rows(held_out.rows)
    trunk, head = _fit(material, every)
    calibration, threshold_A, losses = _calibrated(held_out.logit_MA, tested)
    fitted = FittedParts(dataclasses.replace(material.encoder, backbone=trunk), head)
    if material.with_intensity:
        intensity, coded_A = _intensity_head(material, trunk, every)
        fitted = dataclasses.replace(fitted, intensity=intensity, coded_A=coded_A)
    model = fitted.model(frames.action_units, calibration, threshold_A)
    chosen = {
        column: {"kind": curve.kind, "log_loss": {kind: round(loss, 4) for kind, loss in losses_A.items()}}
        for column, curve, losses_A in zip(model.columns, calibration.curves, losses, strict=True)
    }
    scores = measured_scores(held_out, tested)
    return dataclasses.replace(model, record={"calibration": chosen, "scores": scores}), held_out


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
    if frames.intensity_NA is not None:
        icc_A = icc_3_1(frames.intensity_NA, held_out.intensity_MA)
    present_MA = probability_MA > held_out.threshold_MA
    f1, f1_mean, auc = occurrence_intervals(
        labels_MA, present_MA, held_out.logit_MA, frames.subject_N, held_out.fold_M
    )
    units: dict[str, dict[str, Any]] = {}
    for column, number in enumerate(frames.action_units):
        label_M = labels_MA[:, column]
        num_coded, num_present = int((~np.isnan(label_M)).sum()), int((label_M == 1).sum())
        units[action_unit(number).column] = {
            "num_coded": num_coded,
            "num_present": num_present,
            "num_people_showing_it": len(np.unique(frames.subject_N[label_M == 1])),
            "base_rate": _number(num_present / num_coded if num_coded else math.nan),
            "f1": _plain(f1[column]),
            "always_on_f1": _number(always_on_A[column]),
            "roc_auc": _plain(auc[column]),
            "calibration_error": _number(after.calibration_error[column]),
            "calibration_error_before": _number(before.calibration_error[column]),
            "brier": _number(after.brier[column]),
            "brier_before": _number(before.brier[column]),
            "intensity_icc": _number(icc_A[column]),
        }
    means = {"roc_auc": _mean(unit["roc_auc"]["value"] for unit in units.values())}
    for name in ("calibration_error", "calibration_error_before"):
        means[name] = _mean(unit[name] for unit in units.values())
    return {
        "num_frames": len(held_out.rows),
        "num_subjects": len(np.unique(frames.subject_N)),
        "num_folds": len(np.unique(held_out.fold_M)),
        "units": units,
        "mean": {"f1": _plain(f1_mean), **means},
    }


def _all_features(material: Material, say: Callable[[str], None]) -> NDArray[np.float32]:
    say(f"features of {material.frames.num_frames:,} faces")
    backbone, inputs = material.encoder.backbone.eval(), material.encoder.inputs
    return cached_features(backbone, inputs, material.data.faces, workers=material.workers)


def _fit(material: Material, train: Rows) -> tuple[Backbone, ProbeHead]:
    """A trunk and the head that was fitted on it; both in evaluation mode."""
    targets = OccurrenceTargets(torch.from_numpy(material.frames.occurrence_NA))
    encoder, settings = material.encoder, material.settings
    if material.mode is TrunkMode.FROZEN:
        features = torch.from_numpy(material.features_ND)
        return encoder.backbone, fit_head(features, targets, train, settings).cpu()
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
    return tuned.trunk, tuned.head.cpu()


def _features(material: Material, trunk: Backbone, rows: Rows) -> NDArray[np.float32]:
    """(len(rows), D) by the trunk."""
    if material.mode is TrunkMode.FROZEN:
        return material.features_ND[rows]
    faces = material.data.faces
    chosen = StoredFaces(faces.store, faces.track_N[rows], faces.position_N[rows])
    return cached_features(trunk, material.encoder.inputs, chosen, workers=material.workers)


@torch.inference_mode()
def _logits(head: ProbeHead, features_MD: NDArray[np.float32]) -> NDArray[np.float32]:
    logits_MA: NDArray[np.float32] = head(torch.from_numpy(features_MD)).numpy()
    return logits_MA


def _held_out(material: Material, fold: Fold) -> dict[str, NDArray[Any]]:
    """The arrays of `HeldOut`."""
    calibration, threshold_A = _from_training_people(material, fold.train)
    trunk, head = _fit(material, fold.train)
    features_MD = _features(material, trunk, fold.test)
    logit_MA = _logits(head, features_MD)
    intensity_MA = np.full_like(logit_MA, np.nan)
    if material.with_intensity:
        intensity, coded_A = _intensity_head(material, trunk, fold.train)
        found_MA = features_MD @ intensity.weight.numpy().T + intensity.bias.numpy()
        intensity_MA = np.where(coded_A, found_MA.clip(0.0, 5.0), np.nan).astype(np.float32)
    return {
        "rows": fold.test,
        "fold_M": np.full(len(fold.test), fold.name),
        "logit_MA": logit_MA,
        "probability_MA": calibration(logit_MA),
        "threshold_MA": np.tile(threshold_A.astype(np.float32), (len(fold.test), 1)),
        "intensity_MA": intensity_MA,
    }


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
        trunk, head = _fit(material, train[part_N != part])
        held.append(train[part_N == part])
        logits.append(_logits(head, _features(material, trunk, held[-1])))
    return _calibrated(np.concatenate(logits), material.frames.rows(np.concatenate(held)))[:2]


def _calibrated(
    logit_MA: Floats, frames: LabelledFrames
) -> tuple[Calibration, Floats, list[dict[str, float]]]:
    """Calibration, thresholds, and for each unit the log-loss of every kind of curve."""
    columns = zip(logit_MA.T, frames.occurrence_NA.T, strict=True)
    chosen = [choose_curve(logit_M, label_M, frames.subject_N) for logit_M, label_M in columns]
    calibration = Calibration(tuple(curve for curve, _ in chosen))
    thresholds_A = chosen_thresholds(frames.occurrence_NA, calibration(logit_MA))
    return calibration, thresholds_A, [losses for _, losses in chosen]


def _intensity_head(material: Material, trunk: Backbone, train: Rows) -> tuple[nn.Linear, NDArray[np.bool_]]:
    """The ridge read-out of `mien evaluate`, its standardisation folded in; and which units it has learned.

    A unit with fewer than two coded frames has zeros.
    """
    assert material.frames.intensity_NA is not None
    features_ND, intensity_NA = _features(material, trunk, train), material.frames.intensity_NA[train]
    A, D = intensity_NA.shape[1], features_ND.shape[1]
    weight_AD, bias_A = np.zeros((A, D)), np.zeros(A)
    coded_A = (~np.isnan(intensity_NA)).sum(axis=0) >= 2
    for column in np.flatnonzero(coded_A):
        rows = np.flatnonzero(~np.isnan(intensity_NA[:, column]))
        pipeline = fit_intensity(features_ND[rows], intensity_NA[rows, column])
        scaler, ridge = (step for _, step in pipeline.steps)
        weight_AD[column] = ridge.coef_ / scaler.scale_
        bias_A[column] = ridge.intercept_ - weight_AD[column] @ scaler.mean_
    state = {"weight": torch.from_numpy(weight_AD).float(), "bias": torch.from_numpy(bias_A).float()}
    return linear(D, A, state), coded_A


def _plain(interval: Interval) -> dict[str, float | None]:
    return {name: _number(getattr(interval, name)) for name in ("value", "low", "high")}


def _number(value: float) -> float | None:
    """Four digits; JSON has no NaN."""
    return None if math.isnan(value) else round(float(value), 4)


def _mean(values: Iterable[float | None]) -> float | None:
    return _number(mean_defined(math.nan if value is None else value for value in values))
