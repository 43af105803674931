"""One encoder in one mode through a protocol, from labelled faces to predictions."""

from __future__ import annotations

import dataclasses
import hashlib
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from mien import __version__
from mien.backbones import build_backbone
from mien.backbones.weights import load_public_weights
from mien.config import to_dict
from mien.evaluate.features import cached_features
from mien.evaluate.matching import LabelledFaces
from mien.evaluate.predictions import About, Predictions, output_names
from mien.evaluate.probe import ProbeSettings
from mien.evaluate.protocols import Fold, Protocol, frame_list_digest
from mien.evaluate.systems import FrozenSystem, System, Tested, TunedSystem, intensity_readout, run_folds
from mien.evaluate.tune import TrunkMode
from mien.train.encoder_file import Encoder, load_encoder


@dataclass(frozen=True)
class Contestant:
    """An encoder under the name that the report shows; `sha256` of its file, "" for weights of no file."""

    name: str
    encoder: Encoder
    sha256: str
    modes: tuple[TrunkMode, ...]


@dataclass(frozen=True)
class Trial:
    """What every contestant meets: the same faces, folds and settings."""

    dataset: str
    data: LabelledFaces
    protocol: Protocol
    folds: list[Fold]
    settings: ProbeSettings
    choose_thresholds: bool = True  # in frozen mode, where it costs little
    workers: int = 0


def contestant_from_file(path: Path, *, name: str, modes: tuple[TrunkMode, ...], device: str) -> Contestant:
    """An encoder file; TensorFileError if it is none."""
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    return Contestant(name, load_encoder(path, device=device), sha256, modes)


def of_architecture(like: Encoder, backbone_name: str) -> Encoder:
    """Another backbone in its default shape, random weights, fed as `like` is."""
    return dataclasses.replace(
        like, backbone_name=backbone_name, backbone_settings={}, source=f"a new {backbone_name}"
    )


def newly_initialised(like: Encoder, *, name: str, modes: tuple[TrunkMode, ...], seed: int = 0) -> Contestant:
    """The same architecture and inputs, untrained: what learning has to beat."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        backbone = build_backbone(like.backbone_name, **like.backbone_settings).eval().to(like.device)
    encoder = dataclasses.replace(like, backbone=backbone, training={}, source=name)
    return Contestant(name, encoder, "", modes)


def from_public_weights(like: Encoder, path: Path, *, name: str, modes: tuple[TrunkMode, ...]) -> Contestant:
    """The same architecture with ImageNet weights, say, from a file; WeightsError when they do not fit."""
    contestant = newly_initialised(like, name=name, modes=modes)
    sha256 = load_public_weights(contestant.encoder.backbone, path)
    return dataclasses.replace(contestant, sha256=sha256)


def features_of(contestant: Contestant, data: LabelledFaces, *, workers: int = 0) -> NDArray[np.float32]:
    """(N, D) features by the encoder as it is; ContractMismatchError when faces were cropped otherwise."""
    encoder = contestant.encoder
    encoder.contract.require_same(
        data.faces.store.contract, ours=encoder.source, theirs=str(data.faces.store.path)
    )
    return cached_features(encoder.backbone.eval(), encoder.inputs, data.faces, workers=workers)


def try_system(
    trial: Trial,
    contestant: Contestant,
    mode: TrunkMode,
    features_ND: NDArray[np.float32] | None,
    *,
    share_of_labels: float = 1.0,
) -> Predictions:
    """Fit and test one encoder in one mode with a share of the training subjects.

    `features_ND` are those of `features_of`; only the frozen mode needs them.
    """
    began = time.monotonic()
    frozen = mode is TrunkMode.FROZEN
    tested = run_folds(
        _system(trial, contestant, mode, features_ND),
        trial.data.frames,
        trial.folds,
        share_of_labels=share_of_labels,
        choose_thresholds=trial.choose_thresholds and frozen,
        seed=trial.settings.seed,
    )
    intensities = None
    if frozen and features_ND is not None and share_of_labels == 1.0:
        intensities = intensity_readout(features_ND, trial.data.frames, trial.folds, tested.rows)
    about = about_trial(trial, contestant, mode, share_of_labels, seconds=time.monotonic() - began)
    return _predictions(trial, tested, about, intensities)


def about_trial(
    trial: Trial, contestant: Contestant, mode: TrunkMode, share_of_labels: float, *, seconds: float
) -> About:
    """What the predictions of such a trial say of themselves."""
    return About(
        dataset=trial.dataset,
        system=contestant.name,
        mode=mode.value,
        share_of_labels=share_of_labels,
        encoder=contestant.encoder.source,
        encoder_sha256=contestant.sha256,
        contract_digest=contestant.encoder.contract.digest,
        protocol=trial.protocol.name,
        protocol_source=trial.protocol.source,
        protocol_digest=trial.protocol.digest,
        frames_digest=frame_list_digest(trial.data.frames),
        settings=to_dict(trial.settings) | {"mode": mode.value, "inputs": _inputs(contestant.encoder)},
        mien_version=__version__,
        seconds=seconds,
    )


def _system(
    trial: Trial, contestant: Contestant, mode: TrunkMode, features_ND: NDArray[np.float32] | None
) -> System:
    if mode is TrunkMode.FROZEN:
        assert features_ND is not None
        return FrozenSystem(features_ND, trial.settings)
    encoder = contestant.encoder
    return TunedSystem(
        encoder.backbone, encoder.inputs, trial.data.faces, mode, trial.settings, workers=trial.workers
    )


def _inputs(encoder: Encoder) -> dict[str, Any]:
    return {
        "backbone": encoder.backbone_name,
        **encoder.backbone_settings,
        "input_size_px": encoder.inputs.input_size_px,
    }


def _predictions(
    trial: Trial, tested: Tested, about: About, intensities: NDArray[np.float32] | None
) -> Predictions:
    frames = trial.data.frames.rows(tested.rows)
    return Predictions(
        about=about,
        outputs=output_names(frames.action_units, frames.expressions),
        path_N=frames.path_N,
        frame_N=frames.frame_N,
        seconds_N=frames.seconds_N,
        subject_N=frames.subject_N,
        fold_N=tested.fold_M,
        probability_NA=tested.probability_MA,
        label_NA=frames.occurrence_NA,
        threshold_NA=tested.threshold_MA if frames.expression_N is None else frames.occurrence_NA,
        class_N=frames.expression_N,
        intensity_NA=frames.intensity_NA if intensities is not None else None,
        predicted_intensity_NA=intensities,
    )
