"""From an encoder and labelled faces to an AU model whose scores were measured on people it had not seen.

For the scores, every fold of the protocol is done as a whole: head, calibration and thresholds come from its
training people alone, the latter two by heads that have not seen the person. The model that is kept is fitted
on everybody; its calibration and thresholds come from the folds' predictions, each made without its person.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from mien.backbones import Backbone
from mien.datasets.base import LabelledFrames
from mien.detect.au_model import AuModel, IntensityHead
from mien.detect.calibration import Calibration
from mien.detect.curve_fitting import ChosenCurve, choose_curve
from mien.detect.measuring import HeldOut
from mien.evaluate.features import StoredFaces, cached_features
from mien.evaluate.head import ProbeHead
from mien.evaluate.labelled_faces import LabelledFaces
from mien.evaluate.probe import OccurrenceTargets, ProbeSettings, chosen_thresholds, fit_head
from mien.evaluate.protocols import Fold, subject_folds
from mien.evaluate.readout import fit_intensity
from mien.evaluate.tune import TrunkMode, fit_tuned
from mien.train.encoder_file import Encoder

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

    @property
    def frames(self) -> LabelledFrames:
        """The coded frames that have a face."""
        return self.data.frames


@dataclass(frozen=True)
class FittedModel:
    """The model (its record still empty), what held-out people say of it, and why each curve was chosen."""

    model: AuModel
    held_out: HeldOut
    choices: tuple[ChosenCurve, ...]


@dataclass(frozen=True)
class _Reader:
    """A trunk and the head that was fitted on it; both in evaluation mode."""

    trunk: Backbone
    head: ProbeHead

    @torch.inference_mode()
    def logits(self, features_MD: NDArray[np.float32]) -> NDArray[np.float32]:
        head = self.head.cpu()
        logits_MA: NDArray[np.float32] = head(torch.from_numpy(features_MD)).numpy()
        return logits_MA


def fit_au_model(
    material: Material,
    folds: list[Fold],
    *,
    with_intensity: bool = True,
    tell: Callable[[str], None] = lambda line: None,
) -> FittedModel:
    """The model fitted on all faces, measured on the folds; `tell` gets a line a step."""
    held_out = _cross_validate(material, folds, with_intensity=with_intensity, tell=tell)
    tell(f"the model itself, on all {material.frames.num_frames:,} faces")
    every = np.arange(material.frames.num_frames)
    reader = _fit(material, every)
    intensity = None
    if with_intensity and material.frames.intensity_NA is not None:
        intensity = _intensity_head(_features(material, reader, every), material.frames.intensity_NA)
    frames = material.frames.rows(held_out.rows)
    choices = _choose_curves(held_out.logit_MA, frames)
    calibration = Calibration(tuple(choice.curve for choice in choices))
    threshold_A = chosen_thresholds(frames.occurrence_NA, calibration(held_out.logit_MA))
    trunk = reader.trunk.eval().requires_grad_(False)
    model = AuModel(
        encoder=dataclasses.replace(material.encoder, backbone=trunk),
        head=reader.head.requires_grad_(False),
        units=material.frames.action_units,
        calibration=calibration,
        threshold_A=threshold_A.astype(np.float32),
        intensity=intensity,
        record={},
        source="a model being fitted",
    )
    return FittedModel(model, held_out, choices)


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


def _cross_validate(
    material: Material, folds: list[Fold], *, with_intensity: bool, tell: Callable[[str], None]
) -> HeldOut:
    parts = []
    for number, fold in enumerate(folds, start=1):
        tell(
            f"fold {number} of {len(folds)}: {len(fold.train):,} faces to fit on, {len(fold.test):,} to test"
        )
        calibration, threshold_A = _from_training_people(material, fold.train)
        reader = _fit(material, fold.train)
        features_MD = _features(material, reader, fold.test)
        logit_MA = reader.logits(features_MD)
        intensity_MA = None
        if with_intensity and material.frames.intensity_NA is not None:
            train_ND = _features(material, reader, fold.train)
            head = _intensity_head(train_ND, material.frames.intensity_NA[fold.train])
            intensity_MA = _intensities(head, features_MD)
        shape = (len(fold.test), 1)
        parts.append(
            HeldOut(
                rows=fold.test,
                fold_M=np.full(len(fold.test), fold.name),
                logit_MA=logit_MA,
                probability_MA=calibration(logit_MA),
                threshold_MA=np.tile(threshold_A.astype(np.float32), shape),
                intensity_MA=intensity_MA,
            )
        )
    return HeldOut.joined(parts)


def _from_training_people(material: Material, train: Rows) -> tuple[Calibration, Floats]:
    """Calibration and thresholds from these people, each seen by a head that was fitted on others of them.

    On all of them with a frozen encoder, where a fit takes seconds; on a third of them where it is tuned.
    """
    A = len(material.frames.action_units)
    subject_N = material.frames.subject_N[train]
    if len(np.unique(subject_N)) < 3:
        return Calibration.none(A), np.full(A, NO_THRESHOLD)
    part_N = subject_folds(subject_N, num_folds=3)
    held_parts = (0, 1, 2) if material.mode is TrunkMode.FROZEN else (0,)
    logits = []
    for part in held_parts:
        reader = _fit(material, train[part_N != part])
        logits.append(reader.logits(_features(material, reader, train[part_N == part])))
    held = np.concatenate([train[part_N == part] for part in held_parts])
    logit_MA, frames = np.concatenate(logits), material.frames.rows(held)
    calibration = Calibration(tuple(choice.curve for choice in _choose_curves(logit_MA, frames)))
    return calibration, chosen_thresholds(frames.occurrence_NA, calibration(logit_MA))


def _choose_curves(logit_MA: Floats, frames: LabelledFrames) -> tuple[ChosenCurve, ...]:
    columns = zip(logit_MA.T, frames.occurrence_NA.T, strict=True)
    return tuple(choose_curve(logit_M, label_M, frames.subject_N) for logit_M, label_M in columns)


def _fit(material: Material, train: Rows) -> _Reader:
    targets = OccurrenceTargets(torch.from_numpy(material.frames.occurrence_NA))
    encoder = material.encoder
    if material.mode is TrunkMode.FROZEN:
        features = torch.from_numpy(material.features_ND)
        return _Reader(encoder.backbone, fit_head(features, targets, train, material.settings))
    tuned = fit_tuned(
        encoder.backbone,
        encoder.inputs,
        material.data.faces,
        targets,
        train,
        mode=material.mode,
        settings=material.settings,
        workers=material.workers,
    )
    return _Reader(tuned.trunk, tuned.head)


def _features(material: Material, reader: _Reader, rows: Rows) -> NDArray[np.float32]:
    """(len(rows), D) by the reader's trunk."""
    if material.mode is TrunkMode.FROZEN:
        return material.features_ND[rows]
    faces = material.data.faces
    chosen = StoredFaces(faces.store, faces.track_N[rows], faces.position_N[rows])
    return cached_features(reader.trunk, material.encoder.inputs, chosen, workers=material.workers)


def _intensity_head(features_ND: NDArray[np.float32], intensity_NA: NDArray[np.float32]) -> IntensityHead:
    """The read-out of `mien evaluate`, its standardisation folded into weights and constants."""
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


def _intensities(head: IntensityHead, features_MD: NDArray[np.float32]) -> NDArray[np.float32]:
    """(M, A) within 0 to 5, NaN where never coded."""
    found_MA = features_MD @ head.weight_AD.numpy().T + head.bias_A.numpy()
    return np.where(head.coded_A, found_MA.clip(0.0, 5.0), np.nan).astype(np.float32)
