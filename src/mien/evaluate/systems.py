"""One system through one protocol: fitted and tested fold by fold, its predictions collected."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.linear_model import Ridge
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

from mien.backbones import Backbone
from mien.datasets.base import LabelledFrames
from mien.evaluate.features import StoredFaces
from mien.evaluate.probe import ProbeSettings, Targets, chosen_thresholds, fit_head, predict, targets_of
from mien.evaluate.protocols import Fold, share_of_subjects, subject_folds
from mien.evaluate.tune import TrunkMode, fit_tuned, predict_tuned
from mien.train.encoder_file import InputContract

Floats = NDArray[np.floating[Any]]
Rows = NDArray[np.int64]

INTENSITY_PENALTY = 100.0
"""Ridge penalty of the intensity read-out, on standardised features."""


class System(Protocol):
    """Something that is fitted on some rows and gives probabilities for others."""

    def fit_predict(self, targets: Targets, train: Rows, test: Rows) -> NDArray[np.float32]:
        """(len(test), A) probabilities of the test rows by a model fitted on the training rows."""


@dataclass(frozen=True)
class FrozenSystem:
    """A linear head on cached features."""

    features_ND: NDArray[np.float32]
    settings: ProbeSettings

    def fit_predict(self, targets: Targets, train: Rows, test: Rows) -> NDArray[np.float32]:
        """Fit a head, test it."""
        features = torch.from_numpy(self.features_ND)
        return predict(features, fit_head(features, targets, train, self.settings), targets, test)


@dataclass(frozen=True)
class TunedSystem:
    """A head together with what `mode` lets move of the encoder, on pictures."""

    backbone: Backbone
    inputs: InputContract
    faces: StoredFaces
    mode: TrunkMode
    settings: ProbeSettings
    workers: int = 0

    def fit_predict(self, targets: Targets, train: Rows, test: Rows) -> NDArray[np.float32]:
        """Fit head and trunk, test them."""
        model = fit_tuned(
            self.backbone,
            self.inputs,
            self.faces,
            targets,
            train,
            mode=self.mode,
            settings=self.settings,
            workers=self.workers,
        )
        return predict_tuned(model, self.faces, targets, test, workers=self.workers)


@dataclass(frozen=True)
class Tested:
    """The tested rows in order, with the fold that tested each; arrays are (len(rows), A)."""

    rows: Rows
    fold_M: NDArray[np.str_]
    probability_MA: NDArray[np.float32]
    threshold_MA: NDArray[np.float32]


def run_folds(
    system: System,
    frames: LabelledFrames,
    folds: list[Fold],
    *,
    share_of_labels: float = 1.0,
    choose_thresholds: bool,
    seed: int = 0,
) -> Tested:
    """Every fold fitted on (a share of) its training subjects and tested."""
    targets = targets_of(frames)
    probabilities, thresholds = [], []
    for fold in folds:
        train = share_of_subjects(frames.subject_N, fold.train, share=share_of_labels, seed=seed)
        probability_MA = system.fit_predict(targets, train, fold.test)
        threshold_A = np.full(targets.num_outputs, np.nan)
        if choose_thresholds and frames.expression_N is None:
            threshold_A = _thresholds_from_training_subjects(system, targets, frames, train)
        probabilities.append(probability_MA)
        thresholds.append(np.broadcast_to(threshold_A, probability_MA.shape))
    names = np.repeat([fold.name for fold in folds], [len(fold.test) for fold in folds])
    rows = np.concatenate([fold.test for fold in folds])
    order = np.argsort(rows, kind="stable")
    return Tested(
        rows[order],
        names[order],
        np.concatenate(probabilities)[order],
        np.concatenate(thresholds)[order].astype(np.float32),
    )


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


def fit_intensity(features_MD: NDArray[np.float32], intensity_M: NDArray[np.float32]) -> Pipeline:
    """Ridge regression on standardised features."""
    return make_pipeline(StandardScaler(), Ridge(INTENSITY_PENALTY)).fit(features_MD, intensity_M)


def _thresholds_from_training_subjects(
    system: System, targets: Targets, frames: LabelledFrames, train: Rows
) -> Floats:
    """Chosen on a third of the training subjects by a model fitted on the others; 0.5 below three."""
    subject_N = frames.subject_N[train]
    if len(np.unique(subject_N)) < 3:
        return np.full(targets.num_outputs, 0.5)
    held_N = subject_folds(subject_N, num_folds=3) == 0
    held, rest = train[held_N], train[~held_N]
    return chosen_thresholds(frames.occurrence_NA[held], system.fit_predict(targets, rest, held))
