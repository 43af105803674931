"""Encoders through a protocol: fitted and tested fold by fold, their predictions kept as files."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from mien import __version__
from mien.backbones import build_backbone
from mien.backbones.weights import load_public_weights
from mien.config import require_same, to_dict
from mien.datasets.base import LabelledFrames
from mien.evaluate.features import cached_features
from mien.evaluate.labelled_faces import LabelledFaces
from mien.evaluate.predictions import (
    About,
    Predictions,
    output_names,
    read_about,
    read_predictions,
    write_predictions,
)
from mien.evaluate.probe import (
    ProbeSettings,
    Targets,
    TrunkMode,
    chosen_thresholds,
    fit_head,
    fit_tuned,
    predict,
    predict_tuned,
    targets_of,
)
from mien.evaluate.protocols import Fold, Protocol, frame_list_digest, share_of_subjects, subject_folds
from mien.evaluate.readout import fit_intensity
from mien.train.encoder_file import Encoder, load_encoder

Rows = NDArray[np.int64]
Features = dict[str, NDArray[np.float32]]
"""(N, D) by the name of a system."""

FitPredict = Callable[[Targets, Rows, Rows], NDArray[np.float32]]
"""Targets, training rows, test rows -> (tested, A) probabilities by a model fitted on the training rows."""


@dataclass(frozen=True, eq=False)
class System:
    """An encoder under the name that the report shows; `sha256` of its file, "" for weights of no file."""

    name: str
    encoder: Encoder
    sha256: str
    modes: tuple[TrunkMode, ...]


class Trial(NamedTuple):
    """One system in one mode with a share of the training people's labels."""

    system: System
    mode: TrunkMode
    share: float


def system_from_file(
    path: Path, *, name: str, modes: tuple[TrunkMode, ...], device: torch.device | str
) -> System:
    """An encoder file; TensorFileError if it is none."""
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    return System(name, load_encoder(path, device=device), sha256, modes)


def newly_initialised(
    like: Encoder,
    *,
    name: str,
    modes: tuple[TrunkMode, ...],
    weights: Path | None = None,
    seed: int = 0,
) -> System:
    """The same architecture and inputs with random weights, or public ones from a file (ImageNet's, say).

    WeightsError when these do not fit.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        backbone = build_backbone(like.backbone_name, **like.backbone_settings).eval().to(like.device)
    sha256 = load_public_weights(backbone, weights) if weights is not None else ""
    return System(name, replace(like, backbone=backbone, training={}, source=name), sha256, modes)


@dataclass(frozen=True)
class Evaluation:
    """What every system meets: the same faces, folds and settings; and the folder of their predictions."""

    dataset: str
    data: LabelledFaces
    protocol: Protocol
    folds: list[Fold]
    settings: ProbeSettings
    folder: Path
    workers: int = 0  # processes that read pictures

    def about(self, trial: Trial, *, seconds: float = 0.0) -> About:
        """The record in the predictions of a trial."""
        encoder, mode = trial.system.encoder, trial.mode.value
        inputs = {"backbone": encoder.backbone_name, **encoder.backbone_settings}
        inputs["input_size_px"] = encoder.inputs.input_size_px
        return About(
            dataset=self.dataset,
            system=trial.system.name,
            mode=mode,
            share_of_labels=trial.share,
            encoder=encoder.source,
            encoder_sha256=trial.system.sha256,
            contract_digest=encoder.contract.digest,
            protocol=self.protocol.name,
            protocol_source=self.protocol.source,
            protocol_digest=self.protocol.digest,
            frames_digest=frame_list_digest(self.data.frames),
            settings=to_dict(self.settings) | {"mode": mode, "inputs": inputs},
            mien_version=__version__,
            seconds=seconds,
        )

    def path(self, trial: Trial) -> Path:
        """The file of its predictions."""
        name = f"{trial.system.name} {trial.mode.value} {100 * trial.share:g}"
        return self.folder / f"{name.replace('/', '_').replace(' ', '.')}.parquet"

    def refuse_other_settings(self, trials: Sequence[Trial]) -> None:
        """ValueError that names what differs where an earlier run kept predictions of other settings."""
        for trial in trials:
            if (path := self.path(trial)).exists():
                before, now = (vars(about).copy() for about in (read_about(path), self.about(trial)))
                for name in ("encoder", "seconds", "notes"):  # they may differ
                    del now[name]
                require_same(before, now, where=path)

    def try_and_keep(self, trial: Trial, features_ND: NDArray[np.float32] | None) -> Predictions:
        """Fit and test one system, and write its predictions.

        `features_ND` are those of `features_of`; only the frozen mode needs them.
        """
        began = time.monotonic()
        frames, intensities, is_frozen = self.data.frames, None, trial.mode is TrunkMode.FROZEN
        if is_frozen:
            assert features_ND is not None
            fit_predict = frozen_probe(features_ND, self.settings)
        else:
            fit_predict = self._tuned_probe(trial)
        fold_N, probability_NA, threshold_NA = run_folds(
            fit_predict,
            frames,
            self.folds,
            share_of_labels=trial.share,
            choose_thresholds=is_frozen,  # there it costs little
            seed=self.settings.seed,
        )
        rows = np.flatnonzero(fold_N != "")
        if features_ND is not None and is_frozen and trial.share == 1:
            intensities = intensity_readout(features_ND, frames, self.folds)
        about, tested = self.about(trial, seconds=time.monotonic() - began), frames.rows(rows)
        found = Predictions(
            about=about,
            outputs=output_names(frames.action_units, frames.expressions),
            path_N=tested.path_N,
            frame_N=tested.frame_N,
            seconds_N=tested.seconds_N,
            subject_N=tested.subject_N,
            fold_N=fold_N[rows],
            probability_NA=probability_NA[rows],
            label_NA=tested.occurrence_NA,
            threshold_NA=threshold_NA[rows] if frames.expression_N is None else tested.occurrence_NA,
            class_N=tested.expression_N,
            intensity_NA=tested.intensity_NA if intensities is not None else None,
            predicted_intensity_NA=None if intensities is None else intensities[rows],
        )
        write_predictions(self.path(trial), found)
        return found

    def _tuned_probe(self, trial: Trial) -> FitPredict:
        """A head fitted on pictures together with the parts of the encoder that the mode names."""
        encoder, faces, workers = trial.system.encoder, self.data.faces, self.workers
        fit = partial(fit_tuned, encoder.backbone, encoder.inputs, faces, mode=trial.mode, workers=workers)

        def fit_predict(targets: Targets, train: Rows, test: Rows) -> NDArray[np.float32]:
            model = fit(targets, train, settings=self.settings)
            return predict_tuned(model, faces, targets, test, workers=workers)

        return fit_predict


def trials_of(systems: Sequence[System], shares: Sequence[float]) -> list[Trial]:
    """In the order of the report; fewer labels in the modes in which they are usually reported."""
    return [
        Trial(system, mode, share)
        for system in systems
        for mode in system.modes
        for share in (shares if mode in (TrunkMode.FROZEN, TrunkMode.ALL) else (max(shares),))
    ]


def features_of(system: System, data: LabelledFaces, *, workers: int = 0) -> NDArray[np.float32]:
    """(N, D) features by the encoder as it is; ContractMismatchError when faces were cropped otherwise."""
    encoder, store = system.encoder, data.faces.store
    encoder.contract.require_same(store.contract, ours=encoder.source, theirs=str(store.path))
    return cached_features(encoder.backbone.eval(), encoder.inputs, data.faces, workers=workers)


def embed_systems(
    evaluation: Evaluation, systems: Sequence[System], *, say: Callable[[str], None]
) -> Features:
    """Features of the first system, and of all that are not trained on labels alone."""
    features = {}
    for one in systems:
        if one is systems[0] or one.modes != (TrunkMode.ALL,):
            say(f"{one.name}: features of {evaluation.data.frames.num_frames:,} faces")
            features[one.name] = features_of(one, evaluation.data, workers=evaluation.workers)
    return features


def frozen_probe(features_ND: NDArray[np.float32], settings: ProbeSettings) -> FitPredict:
    """A linear head on cached features."""
    features = torch.from_numpy(features_ND)

    def fit_predict(targets: Targets, train: Rows, test: Rows) -> NDArray[np.float32]:
        return predict(features, fit_head(features, targets, train, settings), targets, test)

    return fit_predict


def run_folds(
    fit_predict: FitPredict,
    frames: LabelledFrames,
    folds: list[Fold],
    *,
    share_of_labels: float = 1.0,
    choose_thresholds: bool,
    seed: int = 0,
) -> tuple[NDArray[np.str_], NDArray[np.float32], NDArray[np.float32]]:
    """Every fold fitted on (a share of) its training subjects and tested.

    (N,) the fold that tested each row ("": none), (N, A) probabilities and thresholds.
    """
    targets = targets_of(frames)
    shape = frames.num_frames, targets.num_outputs
    probability_NA, threshold_NA = np.zeros(shape, np.float32), np.full(shape, np.nan, np.float32)
    fold_N = np.full(frames.num_frames, "", object)
    for fold in folds:
        train = share_of_subjects(frames.subject_N, fold.train, share=share_of_labels, seed=seed)
        fold_N[fold.test] = fold.name
        probability_NA[fold.test] = fit_predict(targets, train, fold.test)
        if choose_thresholds and frames.expression_N is None:
            subject_N = frames.subject_N[train]
            threshold_NA[fold.test] = 0.5
            if len(np.unique(subject_N)) >= 3:  # chosen on a third of them by a model fitted on the others
                held_N = subject_folds(subject_N, num_folds=3) == 0
                held, rest = train[held_N], train[~held_N]
                held_MA = fit_predict(targets, rest, held)
                threshold_NA[fold.test] = chosen_thresholds(frames.occurrence_NA[held], held_MA)
    return fold_N.astype(np.str_), probability_NA, threshold_NA


def intensity_readout(
    features_ND: NDArray[np.float32], frames: LabelledFrames, folds: list[Fold]
) -> NDArray[np.float32] | None:
    """(N, A) intensities, 0 to 5, by ridge regression fold by fold; None where the set codes none.

    NaN for an action unit whose intensity is never coded in a fold's training rows.
    """
    if frames.intensity_NA is None or np.isnan(frames.intensity_NA).all():
        return None
    predicted_NA = np.full(frames.intensity_NA.shape, np.nan, np.float32)
    for fold in folds:
        for column, intensity_N in enumerate(frames.intensity_NA.T):
            train = fold.train[~np.isnan(intensity_N[fold.train])]
            if len(train) > 1:
                model = fit_intensity(features_ND[train], intensity_N[train])
                predicted_NA[fold.test, column] = model.predict(features_ND[fold.test]).clip(0, 5)
    return predicted_NA


def results_of(
    evaluation: Evaluation, trials: Sequence[Trial], features: Features, *, say: Callable[[str], None]
) -> Iterator[Predictions]:
    """The predictions of every trial, in order; those that an earlier run kept are used again."""
    for trial in trials:
        path = evaluation.path(trial)
        if is_kept := path.exists():
            result = read_predictions(path)
        else:
            result = evaluation.try_and_keep(trial, features.get(trial.system.name))
        mean = result.mean_score
        when = "kept from an earlier run" if is_kept else f"in {result.about.seconds:.0f} s"
        name = "F1" if result.action_units else "class accuracy"
        interval = f"{100 * mean.value:.1f} % ({100 * mean.low:.1f} to {100 * mean.high:.1f})"
        say(f"{result.label}: mean {name} {interval} {when}")
        yield result
