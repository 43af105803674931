"""Linear read-outs of frozen features by ridge regression: action units across people, and identity.

Deterministic. The penalty is chosen by subject-exclusive folds within the training people; tested people
decide nothing. The sweep and the study score encoders with it; `mien evaluate` fits the probe of the paper.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit
from sklearn.linear_model import Ridge
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

from mien import __version__
from mien.data.store import TrackStore
from mien.evaluate.features import StoredFaces, cached_features
from mien.evaluate.metrics import confusion_counts, f1_of_counts, mean_defined, roc_auc_per_column
from mien.evaluate.predictions import About, Predictions
from mien.evaluate.protocols import frames_digest, subject_folds
from mien.train.encoder_file import Encoder

if TYPE_CHECKING:
    from mien.data.labels import FrameLabels

Floats = NDArray[np.floating[Any]]

STRENGTHS = (1e-3, 1e-2, 1e-1, 1.0, 10.0)
"""Ridge penalties tried, as multiples of the number of training rows."""

INTENSITY_PENALTY = 100.0
"""Ridge penalty of the intensity read-out, on standardised features."""

STORE_FPS = 25.0


@dataclass(frozen=True)
class LinearReadout:
    """`scores = standardised features @ weights_DA + bias_A`."""

    scaler: StandardScaler
    weights_DA: Floats
    bias_A: Floats

    def scores(self, features_ND: Floats) -> Floats:
        """(N, A) real numbers, higher where the label is more likely 1."""
        standard_ND = self.scaler.transform(features_ND.astype(np.float64))  # it keeps single precision else
        scores_NA: Floats = standard_ND @ self.weights_DA + self.bias_A
        return scores_NA


def fit_readout(features_ND: Floats, labels_NA: Floats, *, strength: float) -> LinearReadout:
    """Ridge regression on labels 0/1 with a penalty of `strength` times the number of coded rows.

    NaN labels (not coded) have no weight. A column that is all one value reads out as that value, a column
    without any label as NaN.
    """
    scaler = StandardScaler().fit(features_ND.astype(np.float64))
    standard_ND = scaler.transform(features_ND.astype(np.float64))
    weights_DA = np.zeros((features_ND.shape[1], labels_NA.shape[1]))
    bias_A = np.full(labels_NA.shape[1], np.nan)
    coded_GN, group_A = np.unique(~np.isnan(labels_NA).T, axis=0, return_inverse=True)
    for group, coded_N in enumerate(coded_GN):  # columns that are coded in the same rows are solved at once
        if coded_N.any():
            columns = np.flatnonzero(group_A == group)
            ridge = Ridge(strength * coded_N.sum(), solver="cholesky")
            ridge.fit(standard_ND[coded_N], labels_NA[coded_N][:, columns].astype(np.float64))
            weights_DA[:, columns], bias_A[columns] = np.atleast_2d(ridge.coef_).T, ridge.intercept_
    return LinearReadout(scaler, weights_DA, bias_A)


def fit_intensity(features_MD: Floats, intensity_M: Floats) -> Pipeline:
    """Ridge regression of one action unit's intensity on standardised features."""
    return make_pipeline(StandardScaler(), Ridge(INTENSITY_PENALTY)).fit(features_MD, intensity_M)


def choose_strength(
    features_ND: Floats,
    labels_NA: Floats,
    subject_N: NDArray[Any],
    *,
    strengths: Sequence[float] = STRENGTHS,
) -> float:
    """The strength with the best mean ROC-AUC on a third of these people, fitted on the other two thirds."""
    held_N = subject_folds(subject_N, num_folds=3) == 0
    means = []
    for strength in strengths:
        readout = fit_readout(features_ND[~held_N], labels_NA[~held_N], strength=strength)
        means.append(mean_defined(roc_auc_per_column(labels_NA[held_N], readout.scores(features_ND[held_N]))))
    return strengths[int(np.nanargmax(means))] if not np.isnan(means).all() else 1.0


@dataclass(frozen=True)
class OutOfFold:
    """Scores (N, A) of every row by a read-out that has seen nobody of that row's fold.

    Present is predicted above the middle between the mean training scores of absent and present rows, which
    weighs the two alike however rare an action unit is; infinite where the training rows lack one of them.
    """

    score_NA: Floats
    middle_NA: Floats
    fold_N: NDArray[np.int64]

    def auc(self, labels_NA: Floats) -> Floats:
        """(A,) mean of the folds' ROC-AUC; NaN where no fold has both classes."""
        return self._mean_of_folds(roc_auc_per_column, labels_NA, self.score_NA)

    def f1(self, labels_NA: Floats) -> Floats:
        """(A,) mean of the folds' F1."""
        return self._mean_of_folds(
            lambda *rows: f1_of_counts(confusion_counts(*rows)), labels_NA, self.score_NA > self.middle_NA
        )

    def _mean_of_folds(
        self, score: Callable[..., Floats], labels_NA: Floats, found_NA: NDArray[Any]
    ) -> Floats:
        folds = [self.fold_N == fold for fold in np.unique(self.fold_N)]
        scores_FA = [score(labels_NA[rows], found_NA[rows]) for rows in folds]
        return np.array([mean_defined(score_F) for score_F in zip(*scores_FA, strict=True)])


def out_of_fold(
    features_ND: Floats, labels_NA: Floats, subject_N: NDArray[Any], *, num_folds: int = 3
) -> OutOfFold:
    """Read-outs fitted on all folds but one, for each; occurrence 1, 0 or NaN (not coded)."""
    fold_N = subject_folds(subject_N, num_folds=num_folds)
    score_NA, middle_NA = np.zeros(labels_NA.shape), np.zeros(labels_NA.shape)
    for fold in range(num_folds):
        train_N, test_N = fold_N != fold, fold_N == fold
        train_ND, train_NA = features_ND[train_N], labels_NA[train_N]
        strength = choose_strength(train_ND, train_NA, subject_N[train_N])
        readout = fit_readout(train_ND, train_NA, strength=strength)
        middle_NA[test_N] = _middle(train_NA, readout.scores(train_ND))
        score_NA[test_N] = readout.scores(features_ND[test_N])
    return OutOfFold(score_NA, middle_NA, fold_N)


def identity_named(
    features_ND: Floats, subject_N: NDArray[Any], video_N: NDArray[Any], *, strength: float = 0.1
) -> tuple[NDArray[np.bool_], NDArray[Any]]:
    """(T,) whether a linear read-out, fitted on the same people's other videos, names the subject; (T,) who.

    The first half of each subject's videos (by name) trains, the rest tests; subjects with one video are left
    out. ValueError when nobody has two videos.
    """
    train_N = np.zeros(len(subject_N), dtype=bool)
    for subject in np.unique(subject_N):
        videos = np.unique(video_N[subject_N == subject])
        train_N |= (subject_N == subject) & np.isin(video_N, videos[: len(videos) // 2])
    tested = np.intersect1d(subject_N[train_N], subject_N[~train_N])
    if len(tested) == 0:
        raise ValueError("identity accuracy needs subjects with at least two videos; nobody has two")
    in_N = np.isin(subject_N, tested)
    one_hot_NS = (subject_N[:, None] == tested[None, :]).astype(np.float64)
    readout = fit_readout(features_ND[train_N & in_N], one_hot_NS[train_N & in_N], strength=strength)
    named = tested[readout.scores(features_ND[~train_N & in_N]).argmax(axis=1)]
    shown = subject_N[~train_N & in_N]
    return named == shown, shown


def centred_by_video(features_ND: Floats, video_N: NDArray[Any]) -> Floats:
    """Each row less the mean row of its video, which leaves what changes within a video."""
    _, video_of_row, counts = np.unique(video_N, return_inverse=True, return_counts=True)
    sums_VD = np.zeros((len(counts), features_ND.shape[1]))
    np.add.at(sums_VD, video_of_row, features_ND)
    centred_ND: Floats = features_ND - (sums_VD / counts[:, None])[video_of_row]
    return centred_ND


@dataclass(frozen=True)
class ScoredFrames:
    """The N frames of a store that encoders are scored on, each source frame once.

    occurrence_NA: 1 present, 0 absent, NaN not coded.
    """

    faces: StoredFaces
    path_N: NDArray[np.str_]
    frame_N: NDArray[np.int64]
    subject_N: NDArray[np.str_]
    video_N: NDArray[np.str_]
    occurrence_NA: Floats


def scored_frames(
    store: TrackStore, labels: FrameLabels, *, occurs_at: float, every_frames: int = 1
) -> ScoredFrames:
    """Every `every_frames`-th frame of each track; a label of `occurs_at` or more is present."""
    indices = [store.source_frame_indices(track).astype(np.int64) for track in range(store.num_tracks)]
    chosen = [np.flatnonzero(np.diff(index_T, prepend=-1))[::every_frames] for index_T in indices]
    track_N = np.repeat(np.arange(store.num_tracks), [len(rows) for rows in chosen])
    path_N, subject_N, video_N = (
        np.array(store.tracks[name].to_pylist())[track_N] for name in ("source_path", "identity", "video")
    )
    labels_NA = np.concatenate([labels.of(track, rows) for track, rows in enumerate(chosen)])
    return ScoredFrames(
        StoredFaces(store, track_N, np.concatenate(chosen)),
        path_N,
        np.concatenate([index_T[rows] for index_T, rows in zip(indices, chosen, strict=True)]),
        subject_N,
        video_N,
        np.where(np.isnan(labels_NA), np.nan, (labels_NA >= occurs_at).astype(np.float64)),
    )


class EncoderScores(NamedTuple):
    """Scores per action unit (NaN: undefined) and the read-out behind them.

    means: over the action units where they are defined: auc, f1, auc_video_centred (after each video's mean
    feature is taken away), identity_accuracy (see `identity_named`), identity_chance (of naming at random).
    """

    auc_A: Floats
    f1_A: Floats
    means: dict[str, float]
    out_of_fold: OutOfFold


def score_encoder(encoder: Encoder, frames: ScoredFrames) -> EncoderScores:
    """Scores on these frames; ContractMismatchError if faces were cropped otherwise than the encoder's."""
    store = frames.faces.store
    encoder.contract.require_same(store.contract, ours=encoder.source, theirs=str(store.path))
    features_ND = cached_features(encoder.backbone, encoder.inputs, frames.faces)
    return score_features(features_ND, frames.occurrence_NA, frames.subject_N, frames.video_N)


def score_features(
    features_ND: Floats, occurrence_NA: Floats, subject_N: NDArray[Any], video_N: NDArray[Any]
) -> EncoderScores:
    """The scores of features already made; occurrence 1, 0 or NaN."""
    plain, centred = (
        out_of_fold(rows_ND, occurrence_NA, subject_N)
        for rows_ND in (features_ND, centred_by_video(features_ND, video_N))
    )
    auc_A, f1_A = plain.auc(occurrence_NA), plain.f1(occurrence_NA)
    means = {
        "auc": mean_defined(auc_A),
        "f1": mean_defined(f1_A),
        "auc_video_centred": mean_defined(centred.auc(occurrence_NA)),
        "identity_accuracy": float(identity_named(features_ND, subject_N, video_N)[0].mean()),
        "identity_chance": 1.0 / len(np.unique(subject_N)),
    }
    return EncoderScores(auc_A, f1_A, means, plain)


def readout_predictions(
    frames: ScoredFrames,
    found: OutOfFold,
    *,
    outputs: tuple[str, ...],
    system: str,
    encoder: Encoder,
    encoder_sha256: str,
    settings: dict[str, Any],
) -> Predictions:
    """For `mien compare`: above 0.5 where the read-out predicts presence; ranked, not calibrated."""
    fold_N = np.char.add("fold", found.fold_N.astype(np.str_))
    fold_of_subject = sorted(dict(zip(frames.subject_N.tolist(), fold_N.tolist(), strict=True)).items())
    about = About(
        dataset=str(frames.faces.store.path),
        system=system,
        mode="frozen",
        share_of_labels=1.0,
        encoder=encoder.source,
        encoder_sha256=encoder_sha256,
        contract_digest=encoder.contract.digest,
        protocol=f"{len(np.unique(fold_N))} folds by person",
        protocol_source="mien sweep",
        protocol_digest=hashlib.sha256(json.dumps(fold_of_subject).encode()).hexdigest()[:16],
        frames_digest=frames_digest(frames.path_N, frames.frame_N),
        settings=settings,
        mien_version=__version__,
        seconds=0.0,
        notes=("scores of a ridge read-out: ranked, not calibrated",),
    )
    return Predictions(
        about=about,
        outputs=outputs,
        path_N=frames.path_N,
        frame_N=frames.frame_N,
        seconds_N=frames.frame_N / STORE_FPS,
        subject_N=frames.subject_N,
        fold_N=fold_N,
        probability_NA=expit(found.score_NA - found.middle_NA).astype(np.float32),
        label_NA=frames.occurrence_NA.astype(np.float32),
        threshold_NA=np.full(frames.occurrence_NA.shape, np.nan, np.float32),
    )


def _middle(labels_NA: Floats, scores_NA: Floats) -> Floats:
    """(A,) halfway between the two classes' mean scores; infinite, never exceeded, where one is missing."""
    middle_A = np.full(labels_NA.shape[1], np.inf)
    for column, (labels_N, scores_N) in enumerate(zip(labels_NA.T, scores_NA.T, strict=True)):
        absent, present = scores_N[labels_N == 0], scores_N[labels_N == 1]
        if len(absent) and len(present):
            middle_A[column] = (absent.mean() + present.mean()) / 2
    return middle_A
