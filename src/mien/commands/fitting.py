"""What `mien fit` does, stage by stage: labels, faces, folds, the model, its record."""

from __future__ import annotations

import dataclasses
import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from mien import __version__
from mien.config import to_dict
from mien.datasets.base import DatasetError, LabelledFrames
from mien.detect.au_model import AuModel, save_au_model
from mien.detect.fitting import FittedModel, Material, fit_au_model, learnable_units, measured_scores
from mien.evaluate.features import cached_features
from mien.evaluate.labelled_faces import (
    FacesRequest,
    LabelledFaces,
    folds_of,
    labelled_faces,
    labelled_set,
    require_protocol,
    say,
    tested_people,
    told_counts,
)
from mien.evaluate.probe import ProbeSettings, TrunkMode
from mien.evaluate.protocols import Protocol, frame_list_digest
from mien.facs import action_unit
from mien.train.encoder_file import Encoder, load_encoder, pick_device
from mien.train.pretrained_people import warning_of_people


@dataclass(frozen=True)
class FitRequest:
    """The command line, checked."""

    faces: FacesRequest
    encoder: Path
    out: Path
    mode: str
    licence: str
    with_intensity: bool
    device: str
    settings: ProbeSettings


def fit(request: FitRequest) -> AuModel:
    """Everything; what is finished is told as it comes. The model that was written."""
    encoder = load_encoder(request.encoder, device=pick_device(request.device))
    request.out.parent.mkdir(parents=True, exist_ok=True)  # what stands in its way is told before the work
    labelled = labelled_set(request.faces)
    frames = labelled.frames()
    if not frames.action_units:
        raise DatasetError(f"{request.faces.dataset} codes expressions; a model is fitted to action units")
    told_counts(labelled, frames)
    require_protocol(request.faces, frames)
    data, _ = labelled_faces(request.faces, frames, [encoder])
    units, left_out = learnable_units(data.frames)
    for number, why in left_out.items():
        say(f"AU{number:02d} is left out: {why}")
    data = dataclasses.replace(data, frames=units)
    protocol, folds = folds_of(request.faces, units)
    material = _material(request, encoder, data)
    known = warning_of_people(encoder.training, tested_people(units, folds))
    if known:
        say(f"warning: {known}")
    fitted = fit_au_model(material, folds, with_intensity=request.with_intensity, tell=say)
    record = _record(request, material, protocol, fitted, left_out)
    model = dataclasses.replace(fitted.model, record=record, source=str(request.out))
    save_au_model(request.out, model)
    return model


def _material(request: FitRequest, encoder: Encoder, data: LabelledFaces) -> Material:
    mode = TrunkMode(request.mode)
    features_ND = np.zeros((0, encoder.feature_dim), np.float32)
    if mode is TrunkMode.FROZEN:
        say(f"features of {data.frames.num_frames:,} faces")
        workers = request.faces.workers
        features_ND = cached_features(encoder.backbone.eval(), encoder.inputs, data.faces, workers=workers)
    return Material(encoder, data, features_ND, mode, request.settings, request.faces.workers)


def _record(
    request: FitRequest,
    material: Material,
    protocol: Protocol,
    fitted: FittedModel,
    left_out: dict[int, str],
) -> dict[str, Any]:
    tested = material.frames.rows(fitted.held_out.rows)
    return {
        "mien_version": __version__,
        "torch_version": torch.__version__,
        "training_data": _training_data(request, material, left_out),
        "protocol": {"name": protocol.name, "source": protocol.source, "digest": protocol.digest},
        "encoder": {
            "file": request.encoder.name,
            "sha256": hashlib.sha256(request.encoder.read_bytes()).hexdigest(),
            "mode": request.mode,
            "warning": warning_of_people(material.encoder.training, tested.subject_N.tolist()),
        },
        "settings": to_dict(request.settings),
        "calibration": {
            action_unit(number).column: {
                "kind": choice.curve.kind,
                "log_loss": {kind: round(value, 4) for kind, value in choice.log_loss.items()},
            }
            for number, choice in zip(tested.action_units, fitted.choices, strict=True)
        },
        "scores": measured_scores(fitted.held_out, tested),
        "adaptations": [],
    }


def _training_data(request: FitRequest, material: Material, left_out: dict[int, str]) -> dict[str, Any]:
    frames: LabelledFrames = material.frames
    return {
        "name": request.faces.dataset,
        "licence": request.licence,
        "num_frames": frames.num_frames,
        "num_subjects": len(np.unique(frames.subject_N)),
        "num_without_face": material.data.num_without_face,
        "frames_digest": frame_list_digest(frames),
        "units_left_out": {action_unit(number).column: why for number, why in left_out.items()},
    }
