"""Encoders through a protocol: fitted and tested fold by fold, their predictions kept as files."""

from __future__ import annotations

import copy
import hashlib
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from mien import __version__
from mien.backbones import build_backbone
from mien.backbones.weights import load_public_weights
from mien.config import require_same, to_dict
from mien.data.jobs import Died, Finished, Report, run_jobs
from mien.datasets.base import LabelledFrames
from mien.evaluate.features import cached_features
from mien.evaluate.labelled_faces import LabelledFaces
from mien.evaluate.person_independence import person_independence, sample_of
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
from mien.evaluate.scoring import Result, label_of
from mien.train.encoder_file import Encoder, load_encoder

_BRIGHTNESS_PX = 32

Rows = NDArray[np.int64]
Features = dict[str, NDArray[np.float32]]
"""(N, D) by the name of a system."""

FitPredict = Callable[[Targets, Rows, Rows], NDArray[np.float32]]
"""Targets, training rows, test rows -> (tested, A) probabilities by a model fitted on the training rows."""


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
    workers: int = 0  # processes that read pictures


def contestant_from_file(
    path: Path, *, name: str, modes: tuple[TrunkMode, ...], device: torch.device | str
) -> Contestant:
    """An encoder file; TensorFileError if it is none."""
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    return Contestant(name, load_encoder(path, device=device), sha256, modes)


def of_architecture(like: Encoder, backbone_name: str) -> Encoder:
    """Another backbone in its default shape, with the inputs of `like`; for `newly_initialised`."""
    return replace(like, backbone_name=backbone_name, backbone_settings={})


def newly_initialised(
    like: Encoder,
    *,
    name: str,
    modes: tuple[TrunkMode, ...],
    weights: Path | None = None,
    seed: int = 0,
) -> Contestant:
    """The same architecture and inputs with random weights, or public ones from a file (ImageNet's, say).

    WeightsError when these do not fit.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        backbone = build_backbone(like.backbone_name, **like.backbone_settings).eval().to(like.device)
    sha256 = load_public_weights(backbone, weights) if weights is not None else ""
    return Contestant(name, replace(like, backbone=backbone, training={}, source=name), sha256, modes)


def features_of(contestant: Contestant, data: LabelledFaces, *, workers: int = 0) -> NDArray[np.float32]:
    """(N, D) features by the encoder as it is; ContractMismatchError when faces were cropped otherwise."""
    encoder, store = contestant.encoder, data.faces.store
    encoder.contract.require_same(store.contract, ours=encoder.source, theirs=str(store.path))
    return cached_features(encoder.backbone.eval(), encoder.inputs, data.faces, workers=workers)


def frozen_probe(features_ND: NDArray[np.float32], settings: ProbeSettings) -> FitPredict:
    """A linear head on cached features."""
    features = torch.from_numpy(features_ND)

    def fit_predict(targets: Targets, train: Rows, test: Rows) -> NDArray[np.float32]:
        return predict(features, fit_head(features, targets, train, settings), targets, test)

    return fit_predict


def tuned_probe(trial: Trial, encoder: Encoder, mode: TrunkMode) -> FitPredict:
    """A head fitted on pictures together with the parts of the encoder that `mode` names."""
    faces, settings, workers = trial.data.faces, trial.settings, trial.workers
    fit = partial(fit_tuned, encoder.backbone, encoder.inputs, faces, mode=mode, settings=settings)

    def fit_predict(targets: Targets, train: Rows, test: Rows) -> NDArray[np.float32]:
        model = fit(targets, train, workers=workers)
        return predict_tuned(model, faces, targets, test, workers=workers)

    return fit_predict


@dataclass(frozen=True)
class Tested:
    """The tested rows in order, with the fold that tested each; arrays are (len(rows), A)."""

    rows: Rows
    fold_M: NDArray[np.str_]
    probability_MA: NDArray[np.float32]
    threshold_MA: NDArray[np.float32]


def run_folds(
    fit_predict: FitPredict,
    frames: LabelledFrames,
    folds: list[Fold],
    *,
    share_of_labels: float = 1.0,
    choose_thresholds: bool,
    seed: int = 0,
) -> Tested:
    """Every fold fitted on (a share of) its training subjects and tested."""
    targets = targets_of(frames)
    shape = frames.num_frames, targets.num_outputs
    probability_NA, threshold_NA = np.zeros(shape, np.float32), np.full(shape, np.nan, np.float32)
    fold_N = np.full(frames.num_frames, "", object)
    for fold in folds:
        train = share_of_subjects(frames.subject_N, fold.train, share=share_of_labels, seed=seed)
        fold_N[fold.test] = fold.name
        probability_NA[fold.test] = fit_predict(targets, train, fold.test)
        if choose_thresholds and frames.expression_N is None:
            threshold_NA[fold.test] = _thresholds_from_training_subjects(fit_predict, targets, frames, train)
    rows = np.flatnonzero(fold_N != "")
    return Tested(rows, fold_N[rows].astype(np.str_), probability_NA[rows], threshold_NA[rows])


def _thresholds_from_training_subjects(
    fit_predict: FitPredict, targets: Targets, frames: LabelledFrames, train: Rows
) -> NDArray[np.floating[Any]]:
    """Chosen on a third of the training subjects by a model fitted on the others; 0.5 below three."""
    subject_N = frames.subject_N[train]
    if len(np.unique(subject_N)) < 3:
        return np.full(targets.num_outputs, 0.5)
    held_N = subject_folds(subject_N, num_folds=3) == 0
    held, rest = train[held_N], train[~held_N]
    return chosen_thresholds(frames.occurrence_NA[held], fit_predict(targets, rest, held))


def intensity_readout(
    features_ND: NDArray[np.float32], frames: LabelledFrames, folds: list[Fold], rows: Rows
) -> NDArray[np.float32] | None:
    """(len(rows), A) intensities, 0 to 5, by ridge regression fold by fold; None where the set codes none.

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
    return predicted_NA[rows]


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
    frames, intensities = trial.data.frames, None
    if frozen := mode is TrunkMode.FROZEN:
        assert features_ND is not None
        fit_predict = frozen_probe(features_ND, trial.settings)
    else:
        fit_predict = tuned_probe(trial, contestant.encoder, mode)
    tested = run_folds(
        fit_predict,
        frames,
        trial.folds,
        share_of_labels=share_of_labels,
        choose_thresholds=frozen,  # there it costs little
        seed=trial.settings.seed,
    )
    if frozen and features_ND is not None and share_of_labels == 1.0:
        intensities = intensity_readout(features_ND, frames, trial.folds, tested.rows)
    about = about_trial(trial, contestant, mode, share_of_labels, seconds=time.monotonic() - began)
    frames = frames.rows(tested.rows)
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


def about_trial(
    trial: Trial, contestant: Contestant, mode: TrunkMode, share_of_labels: float, *, seconds: float
) -> About:
    """The record in the predictions of such a trial."""
    encoder = contestant.encoder
    inputs = {"backbone": encoder.backbone_name, **encoder.backbone_settings}
    inputs["input_size_px"] = encoder.inputs.input_size_px
    return About(
        dataset=trial.dataset,
        system=contestant.name,
        mode=mode.value,
        share_of_labels=share_of_labels,
        encoder=encoder.source,
        encoder_sha256=contestant.sha256,
        contract_digest=encoder.contract.digest,
        protocol=trial.protocol.name,
        protocol_source=trial.protocol.source,
        protocol_digest=trial.protocol.digest,
        frames_digest=frame_list_digest(trial.data.frames),
        settings=to_dict(trial.settings) | {"mode": mode.value, "inputs": inputs},
        mien_version=__version__,
        seconds=seconds,
    )


class Attempt(NamedTuple):
    """One system (by its number) in one mode with a share of the labels."""

    system: int
    mode: TrunkMode
    share: float


@dataclass(frozen=True)
class Trials:
    """All systems in all modes, and the folder in which each attempt's predictions are kept."""

    trial: Trial
    contestants: Sequence[Contestant]
    features: Features  # of the systems that are embedded
    folder: Path

    def attempts(self, shares: Sequence[float]) -> Iterator[Attempt]:
        """In the order of the report; fewer labels in the modes in which they are usually reported."""
        for number, contestant in enumerate(self.contestants):
            for mode in contestant.modes:
                few = mode in (TrunkMode.FROZEN, TrunkMode.ALL)
                for share in shares if few else (max(shares),):
                    yield Attempt(number, mode, share)

    def about(self, attempt: Attempt) -> About:
        """The record in its predictions."""
        contestant = self.contestants[attempt.system]
        return about_trial(self.trial, contestant, attempt.mode, attempt.share, seconds=0)

    def path(self, attempt: Attempt) -> Path:
        """The file of its predictions."""
        system = self.contestants[attempt.system].name
        name = f"{system} {attempt.mode.value} {100 * attempt.share:g}".replace("/", "_").replace(" ", ".")
        return self.folder / f"{name}.parquet"

    def refuse_other_settings(self, shares: Sequence[float]) -> None:
        """ValueError that names what differs where an earlier run kept predictions of other settings."""
        for attempt in self.attempts(shares):
            path = self.path(attempt)
            if path.exists():
                before, now = (vars(about).copy() for about in (read_about(path), self.about(attempt)))
                for name in ("encoder", "seconds", "notes"):  # they may differ
                    del now[name]
                require_same(before, now, where=path)

    def try_and_keep(self, attempt: Attempt) -> Predictions:
        """Fit, test and write the predictions."""
        contestant = self.contestants[attempt.system]
        features_ND = self.features.get(contestant.name)
        predictions = try_system(
            self.trial, contestant, attempt.mode, features_ND, share_of_labels=attempt.share
        )
        write_predictions(self.path(attempt), predictions)
        return predictions

    def on_cpu(self) -> Trials:
        """Copies for processes that see other devices; a process reads its pictures itself."""
        moved = [
            replace(one, encoder=replace(one.encoder, backbone=copy.deepcopy(one.encoder.backbone).cpu()))
            for one in self.contestants
        ]
        return replace(self, contestants=moved, trial=replace(self.trial, workers=0))


def _try_one(trials: Trials, attempt: Attempt, _report: Report, /) -> float:
    """The work of one process, on the GPU that its environment shows, else on the CPU; seconds."""
    backbone = trials.contestants[attempt.system].encoder.backbone
    backbone.to("cuda" if torch.cuda.is_available() else "cpu")
    return trials.try_and_keep(attempt).about.seconds


def embed_contestants(
    trial: Trial, contestants: Sequence[Contestant], *, say: Callable[[str], None]
) -> Features:
    """Features of the first system, and of all that are not trained on labels alone."""
    features = {}
    for one in contestants:
        if one is contestants[0] or one.modes != (TrunkMode.ALL,):
            say(f"{one.name}: features of {trial.data.frames.num_frames:,} faces")
            features[one.name] = features_of(one, trial.data, workers=trial.workers)
    return features


def results_of(
    trials: Trials,
    shares: Sequence[float],
    environments: Sequence[Mapping[str, str]],
    *,
    say: Callable[[str], None],
) -> Iterator[Result]:
    """Every attempt scored, in the order of the report; predictions that an earlier run kept are used again.

    With several environments the attempts run side by side; one whose process died is tried again here.
    """
    attempts = list(trials.attempts(shares))
    fresh = [attempt for attempt in attempts if not trials.path(attempt).exists()]
    if len(environments) > 1 and len(fresh) > 1:
        work = partial(_try_one, trials.on_cpu())
        for event in run_jobs(work, fresh, workers=len(environments), environments=environments):
            label = label_of(trials.about(event.job))
            if isinstance(event, Died):
                say(f"{label}: its process died ({event.how}); it is tried again when the others are done")
            elif isinstance(event, Finished):
                say(f"{label}: done in {event.result:.0f} s")
    for attempt in attempts:
        path = trials.path(attempt)
        result = Result.of(read_predictions(path) if path.exists() else trials.try_and_keep(attempt))
        about, mean = result.about, result.mean_score
        when = f"in {about.seconds:.0f} s" if attempt in fresh else "kept from an earlier run"
        name = "F1" if result.has_units else "class accuracy"
        interval = f"{100 * mean.value:.1f} % ({100 * mean.low:.1f} to {100 * mean.high:.1f})"
        say(f"{result.label}: mean {name} {interval} {when}")
        yield result


def people_in_features(
    trial: Trial, features: Features, results: Sequence[Result]
) -> dict[str, dict[str, float]]:
    """`person_independence` of every system whose frozen features were probed for action units."""
    rows = sample_of(trial.data.frames)
    frames, pictures = trial.data.frames.rows(rows), trial.data.faces.read(rows, size_px=_BRIGHTNESS_PX)
    return {
        result.about.system: person_independence(
            features[result.about.system][rows],
            frames,
            pose_N3=trial.data.pose_N3[rows],
            brightness_N=pictures.mean(axis=(1, 2, 3)),
            action_unit_auc=result.average("roc_auc"),
        )
        for result in results
        if result.about.mode == "frozen" and result.about.share_of_labels == 1 and result.has_units
    }
