"""A fit that goes on where it stopped, and what a model's file records of its fit and adaptations (JSON).

Features and finished folds lie in `MODEL.fit/` until the model is written.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from mien import __version__
from mien.config import require_same, to_dict
from mien.datasets.base import LabelledFrames
from mien.detect.adapting import Adapted
from mien.detect.au_model import AuModel, load_au_model, save_au_model
from mien.detect.card import units_above_chance
from mien.detect.fitting import FittedModel, Material, fit_au_model, measured_scores
from mien.detect.network import FittedParts
from mien.evaluate.features import cached_features
from mien.evaluate.labelled_faces import LabelledFaces
from mien.evaluate.probe import TrunkMode
from mien.evaluate.protocols import Fold, Protocol, frame_list_digest
from mien.facs import action_unit
from mien.io import kept_arrays, write_bytes
from mien.train.encoder_file import warning_of_people


def fit_to_file(
    out: Path,
    material: Material,
    folds: list[Fold],
    settings: Mapping[str, Any],
    *,
    with_intensity: bool,
    force: bool,
    say: Callable[[str], None],
) -> AuModel:
    """Fit and write `out`; the model. A finished one is read, parts of an earlier run are taken up.

    settings: of `settings_of_fit`. ValueError where `out` was fitted, or begun, with other ones, and, unless
    `force`, for a model of which no unit is above chance on held-out people.
    """
    settings = {**settings, "intensity": with_intensity}
    if out.exists():
        model = load_au_model(out)
        require_same({**model.record, "intensity": model.coded is not None}, settings, where=out)
        say(f"{out} was finished by an earlier run")
        return model
    parts = out.with_suffix(".fit")
    begun = parts / "settings.json"
    if begun.exists():
        require_same(json.loads(begun.read_text(encoding="utf-8")), settings, where=parts)
    write_bytes(begun, json.dumps(settings, indent=2).encode())
    if material.mode is TrunkMode.FROZEN:
        kept = kept_arrays(parts / "features.npz", lambda: {"features_ND": _features_of(material, say)})
        material = dataclasses.replace(material, features_ND=kept["features_ND"])
    fitted = fit_au_model(
        material,
        folds,
        with_intensity=with_intensity,
        tell=say,
        keep=lambda name, make: kept_arrays(parts / f"{name}.npz", make),
    )
    record = record_of_fit(settings, material, fitted)
    if not (units_above_chance(record) or force):
        raise ValueError(
            "no action unit is above chance on people held out (every 95 % interval of ROC-AUC includes .5): "
            f"{out} was not written. It takes more people or another encoder; --force writes it all the same."
        )
    model = dataclasses.replace(fitted.model, record=record, source=str(out))
    save_au_model(out, model)
    shutil.rmtree(parts)
    return model


def _features_of(material: Material, say: Callable[[str], None]) -> NDArray[np.float32]:
    say(f"features of {material.frames.num_frames:,} faces")
    backbone, inputs = material.encoder.backbone.eval(), material.encoder.inputs
    return cached_features(backbone, inputs, material.data.faces, workers=material.workers)


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


def record_of_fit(settings: Mapping[str, Any], material: Material, fitted: FittedModel) -> dict[str, Any]:
    """The whole record: settings, the calibrations chosen, and scores on held-out people."""
    tested = material.frames.rows(fitted.held_out.rows)
    return {
        **{name: value for name, value in settings.items() if name != "intensity"},
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


def record_of_adaptation(
    model: AuModel, adapted: Adapted, frames: LabelledFrames, *, dataset: str, licence: str
) -> dict[str, Any]:
    """The model's record with one adaptation more."""
    adaptation = {
        "from": {"file": Path(model.source).name, "digest": model.digest},
        "data": dataset,
        "licence": licence,
        "num_frames": frames.num_frames,
        "num_subjects": len(np.unique(frames.subject_N)),
        "frames_digest": frame_list_digest(frames),
        "recalibrated": {
            name: _rounded(dataclasses.asdict(change)) for name, change in adapted.changes.items()
        },
        "left_alone": dict(adapted.left_alone),
        "left_out": adapted.left_out,
        "mien_version": __version__,
    }
    return {**model.record, "adaptations": [*model.record.get("adaptations", []), adaptation]}


def record_of_statistics(model: AuModel, num_faces: int) -> dict[str, Any]:
    """The model's record after its batch-norm statistics were taken from so many unlabelled faces."""
    adaptation = {
        "from": {"file": Path(model.source).name, "digest": model.digest},
        "num_unlabelled_faces": num_faces,
        "mien_version": __version__,
    }
    return {**model.record, "adaptations": [*model.record.get("adaptations", []), adaptation]}


@torch.inference_mode()
def logits_of(parts: FittedParts, data: LabelledFaces, *, workers: int = 0) -> NDArray[np.float32]:
    """(N, A) logits of a model's network for the faces of a store."""
    encoder = parts.encoder
    features_ND = cached_features(encoder.backbone, encoder.inputs, data.faces, workers=workers)
    logits_NA: NDArray[np.float32] = parts.head(torch.from_numpy(features_ND)).numpy()
    return logits_NA


def _rounded(values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: round(value, 4) if isinstance(value, float) else value for name, value in values.items()}
