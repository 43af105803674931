"""How well a labelled store's action units can be read from an encoder's frozen features, and who it is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mien.data.labels import FrameLabels
from mien.data.store import TrackStore
from mien.evaluate.features import embed_frames
from mien.evaluate.folds import subject_folds
from mien.evaluate.metrics import confusion_counts, mean_defined, mean_of_folds
from mien.evaluate.readout import auc_by_fold, choose_strength, fit_readout, identity_accuracy
from mien.train.encoder_file import Encoder

Floats = NDArray[np.floating[Any]]
READ_AT_ONCE = 64


@dataclass(frozen=True)
class ScoredFrames:
    """The N frames of a store that encoders are scored on, each source frame once.

    occurrence_NA: 1 present, 0 absent, NaN not coded. rows_of_track: their positions in each track.
    """

    store: TrackStore
    rows_of_track: list[NDArray[np.int64]]
    path_N: NDArray[np.str_]
    frame_N: NDArray[np.int64]
    subject_N: NDArray[np.str_]
    video_N: NDArray[np.str_]
    occurrence_NA: Floats


def scored_frames(
    store: TrackStore, labels: FrameLabels, *, occurs_at: float, every_frames: int = 1
) -> ScoredFrames:
    """Every `every_frames`-th frame of each track; a label of `occurs_at` or more is present."""
    chosen = [_distinct(store, track)[::every_frames] for track in range(store.num_tracks)]
    labels_NA = np.concatenate([labels.of(track, rows) for track, rows in enumerate(chosen)])
    counts = [len(rows) for rows in chosen]
    path_N, subject_N, video_N = (
        np.repeat(_column(store, name), counts) for name in ("source_path", "identity", "video")
    )
    frames = [store.source_frame_indices(track)[rows] for track, rows in enumerate(chosen)]
    occurrence_NA = np.where(np.isnan(labels_NA), np.nan, (labels_NA >= occurs_at).astype(np.float64))
    frame_N = np.concatenate(frames).astype(np.int64)
    return ScoredFrames(store, chosen, path_N, frame_N, subject_N, video_N, occurrence_NA)


@dataclass(frozen=True)
class OutOfFold:
    """What a read-out that has seen nobody of a row's fold says of it, per action unit.

    Present is predicted above the middle between the mean training scores of absent and present rows, which
    weighs the two alike however rare an action unit is; infinite where the training rows lack one of them.
    """

    score_NA: Floats
    middle_NA: Floats
    fold_N: NDArray[np.int64]

    @property
    def predicted(self) -> NDArray[np.bool_]:
        """(N, A) whether each action unit is predicted present."""
        return self.score_NA > self.middle_NA


@dataclass(frozen=True)
class StoreScores:
    """Scores of a linear read-out that has seen none of the tested people, per action unit; NaN: undefined.

    auc_A, f1_A: means over the folds. centred_auc_A: after each video's mean feature is taken away, which
    leaves what changes within a video. identity_accuracy: share of frames whose person is named from other
    videos; identity_chance: what naming at random gives.
    """

    auc_A: Floats
    f1_A: Floats
    centred_auc_A: Floats
    identity_accuracy: float
    identity_chance: float
    num_frames: int
    out_of_fold: OutOfFold

    @property
    def means(self) -> dict[str, float]:
        """One number a score, the unweighted mean over the action units where it is defined."""
        return {
            "auc": mean_defined(self.auc_A),
            "f1": mean_defined(self.f1_A),
            "auc_video_centred": mean_defined(self.centred_auc_A),
            "identity_accuracy": self.identity_accuracy,
            "identity_chance": self.identity_chance,
        }


def score_encoder(encoder: Encoder, frames: ScoredFrames, *, num_folds: int = 3) -> StoreScores:
    """Scores on these frames; ContractMismatchError if faces were cropped otherwise than the encoder's."""
    store = frames.store
    encoder.contract.require_same(store.contract, ours=encoder.source, theirs=str(store.path))
    features_ND = np.concatenate(
        [_embed(encoder, store, track, rows) for track, rows in enumerate(frames.rows_of_track)]
    )
    return score_features(
        features_ND, frames.occurrence_NA, frames.subject_N, frames.video_N, num_folds=num_folds
    )


def score_features(
    features_ND: Floats,
    occurrence_NA: Floats,
    subject_N: NDArray[Any],
    video_N: NDArray[Any],
    *,
    num_folds: int,
) -> StoreScores:
    """The scores of features already made; occurrence 1, 0 or NaN."""
    fold_N = subject_folds(subject_N, num_folds=num_folds)
    plain = _out_of_fold(features_ND, occurrence_NA, subject_N, fold_N)
    centred = _out_of_fold(centred_by_video(features_ND, video_N), occurrence_NA, subject_N, fold_N)
    counts = [
        confusion_counts(occurrence_NA[fold_N == fold], plain.predicted[fold_N == fold])
        for fold in range(num_folds)
    ]
    return StoreScores(
        auc_A=auc_by_fold(occurrence_NA, plain.score_NA, subject_N, num_folds=num_folds),
        f1_A=mean_of_folds(np.stack(counts)),
        centred_auc_A=auc_by_fold(occurrence_NA, centred.score_NA, subject_N, num_folds=num_folds),
        identity_accuracy=identity_accuracy(features_ND, subject_N, video_N),
        identity_chance=1.0 / len(np.unique(subject_N)),
        num_frames=len(features_ND),
        out_of_fold=plain,
    )


def _out_of_fold(
    features_ND: Floats, labels_NA: Floats, subject_N: NDArray[Any], fold_N: NDArray[np.int64]
) -> OutOfFold:
    score_NA, middle_NA = np.zeros(labels_NA.shape), np.zeros(labels_NA.shape)
    for fold in np.unique(fold_N):
        train_N, test_N = fold_N != fold, fold_N == fold
        train_ND, train_NA = features_ND[train_N], labels_NA[train_N]
        strength = choose_strength(train_ND, train_NA, subject_N[train_N])
        readout = fit_readout(train_ND, train_NA, strength=strength)
        middle_NA[test_N] = _middle(train_NA, readout.scores(train_ND))
        score_NA[test_N] = readout.scores(features_ND[test_N])
    return OutOfFold(score_NA, middle_NA, fold_N)


def _middle(labels_NA: Floats, scores_NA: Floats) -> Floats:
    """(A,) halfway between the two classes' mean scores; infinite, never exceeded, where one is missing."""
    columns = list(zip(labels_NA.T, scores_NA.T, strict=True))
    middles = [
        (scores_N[labels_N == 0].mean() + scores_N[labels_N == 1].mean()) / 2
        if (labels_N == 0).any() and (labels_N == 1).any()
        else np.inf
        for labels_N, scores_N in columns
    ]
    return np.array(middles)


def centred_by_video(features_ND: Floats, video_N: NDArray[Any]) -> Floats:
    """Each row less the mean row of its video."""
    _, video_of_row, counts = np.unique(video_N, return_inverse=True, return_counts=True)
    sums_VD = np.zeros((len(counts), features_ND.shape[1]))
    np.add.at(sums_VD, video_of_row, features_ND)
    centred_ND: Floats = features_ND - (sums_VD / counts[:, None])[video_of_row]
    return centred_ND


def _distinct(store: TrackStore, track: int) -> NDArray[np.int64]:
    return np.flatnonzero(np.diff(store.source_frame_indices(track).astype(np.int64), prepend=-1))


def _embed(encoder: Encoder, store: TrackStore, track: int, rows: NDArray[np.int64]) -> Floats:
    size_px = encoder.inputs.frame_size_px
    batches = [rows[first : first + READ_AT_ONCE] for first in range(0, len(rows), READ_AT_ONCE)]
    return np.concatenate(
        [
            embed_frames(encoder, store.read_frames(track, batch.tolist(), size_px=size_px))
            for batch in batches
        ]
    )


def _column(store: TrackStore, name: str) -> NDArray[np.str_]:
    return np.array(store.tracks[name].to_pylist())
