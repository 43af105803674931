"""What can be read linearly from frozen features: action units across people, and who it is.

Ridge regression on standardised features, in closed form, so that the same features give the same figures.
Its strength is chosen by subject-exclusive folds within the training people; test people decide nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score

from mien.evaluate.folds import subject_folds
from mien.evaluate.metrics import mean_defined

Floats = NDArray[np.floating[Any]]

STRENGTHS = (1e-3, 1e-2, 1e-1, 1.0, 10.0)
"""Ridge penalties tried, as multiples of the number of training rows."""


@dataclass(frozen=True)
class LinearReadout:
    """`scores = standardised features @ weights_DA + bias_A`."""

    mean_D: Floats
    scale_D: Floats
    weights_DA: Floats
    bias_A: Floats

    def scores(self, features_ND: Floats) -> Floats:
        """(N, A) real numbers, higher where the label is more likely 1."""
        standard_ND = (features_ND - self.mean_D) / self.scale_D
        scores_NA: Floats = standard_ND @ self.weights_DA + self.bias_A
        return scores_NA


def fit_readout(features_ND: Floats, labels_NA: Floats, *, strength: float) -> LinearReadout:
    """Least squares on labels 0/1 with a ridge penalty of `strength` times the number of rows.

    NaN labels (not coded) have no weight. A column that is all one value reads out as that value, a column
    without any label as NaN.
    """
    features_ND = features_ND.astype(np.float64)
    mean_D, scale_D = features_ND.mean(axis=0), features_ND.std(axis=0)
    scale_D = np.where(scale_D > 1e-9, scale_D, 1.0)
    standard_ND = (features_ND - mean_D) / scale_D
    weights_DA, bias_A = np.zeros((features_ND.shape[1], labels_NA.shape[1])), np.zeros(labels_NA.shape[1])
    for coded_N, columns in _columns_by_coding(labels_NA):
        weights_DA[:, columns], bias_A[columns] = _ridge(
            standard_ND[coded_N], labels_NA[coded_N][:, columns].astype(np.float64), strength
        )
    return LinearReadout(mean_D, scale_D, weights_DA, bias_A)


def out_of_fold_scores(
    features_ND: Floats, labels_NA: Floats, subject_N: NDArray[Any], *, num_folds: int = 5
) -> Floats:
    """(N, A) scores of every row from a read-out that has seen nobody of that row's fold."""
    fold_N = subject_folds(subject_N, num_folds=num_folds)
    scores_NA = np.zeros(labels_NA.shape)
    for fold in range(num_folds):
        train_N, test_N = fold_N != fold, fold_N == fold
        strength = choose_strength(features_ND[train_N], labels_NA[train_N], subject_N[train_N])
        readout = fit_readout(features_ND[train_N], labels_NA[train_N], strength=strength)
        scores_NA[test_N] = readout.scores(features_ND[test_N])
    return scores_NA


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
        means.append(mean_defined(auc_per_column(labels_NA[held_N], readout.scores(features_ND[held_N]))))
    return strengths[int(np.nanargmax(means))] if not np.isnan(means).all() else 1.0


def auc_per_column(labels_NA: Floats, scores_NA: Floats) -> Floats:
    """(A,) ROC-AUC over the coded rows; NaN where only one class occurs."""
    return np.array(
        [_auc(labels_N, scores_N) for labels_N, scores_N in zip(labels_NA.T, scores_NA.T, strict=True)]
    )


def auc_by_fold(
    labels_NA: Floats, scores_NA: Floats, subject_N: NDArray[Any], *, num_folds: int = 5
) -> Floats:
    """(A,) mean over the folds of the ROC-AUC within each: two read-outs are never ranked together."""
    fold_N = subject_folds(subject_N, num_folds=num_folds)
    auc_FA = np.stack(
        [auc_per_column(labels_NA[fold_N == fold], scores_NA[fold_N == fold]) for fold in range(num_folds)]
    )
    return np.array([mean_defined(auc_F) for auc_F in auc_FA.T])


def identity_accuracy(
    features_ND: Floats, subject_N: NDArray[Any], video_N: NDArray[Any], *, strength: float = 0.1
) -> float:
    """The share of `identity_named` that is named rightly; 1 / number of subjects is chance."""
    return float(identity_named(features_ND, subject_N, video_N, strength=strength)[0].mean())


def identity_named(
    features_ND: Floats, subject_N: NDArray[Any], video_N: NDArray[Any], *, strength: float = 0.1
) -> tuple[NDArray[np.bool_], NDArray[Any]]:
    """(T,) whether a linear read-out, fitted on the same people's other videos, names the subject; (T,) who.

    The first half of each subject's videos (by name) trains, the rest tests; subjects with one video are left
    out. ValueError when nobody has two videos.
    """
    train_N = _first_half_of_videos(subject_N, video_N)
    tested = np.intersect1d(subject_N[train_N], subject_N[~train_N])
    if len(tested) == 0:
        raise ValueError("identity accuracy needs subjects with at least two videos; nobody has two")
    in_N = np.isin(subject_N, tested)
    one_hot_NS = (subject_N[:, None] == tested[None, :]).astype(np.float64)
    readout = fit_readout(features_ND[train_N & in_N], one_hot_NS[train_N & in_N], strength=strength)
    named = tested[readout.scores(features_ND[~train_N & in_N]).argmax(axis=1)]
    shown = subject_N[~train_N & in_N]
    return named == shown, shown


def _columns_by_coding(labels_NA: Floats) -> list[tuple[NDArray[np.bool_], NDArray[np.int64]]]:
    """Columns that are coded in the same rows share their normal equations: (those rows, those columns)."""
    coded_AN, group_A = np.unique(~np.isnan(labels_NA).T, axis=0, return_inverse=True)
    return [(coded_N, np.flatnonzero(group_A == group)) for group, coded_N in enumerate(coded_AN)]


def _ridge(standard_ND: Floats, labels_NA: Floats, strength: float) -> tuple[Floats, Floats]:
    if not len(labels_NA):
        return np.zeros((standard_ND.shape[1], labels_NA.shape[1])), np.full(labels_NA.shape[1], np.nan)
    centre_D, middle_A = standard_ND.mean(axis=0), labels_NA.mean(axis=0)
    centred_ND = standard_ND - centre_D
    gram_DD = centred_ND.T @ centred_ND
    gram_DD[np.diag_indices_from(gram_DD)] += strength * len(labels_NA)
    weights_DA: Floats = np.linalg.solve(gram_DD, centred_ND.T @ (labels_NA - middle_A))
    return weights_DA, middle_A - centre_D @ weights_DA


def _auc(labels_N: Floats, scores_N: Floats) -> float:
    coded_N = ~np.isnan(labels_N)
    if len(np.unique(labels_N[coded_N])) < 2:
        return float("nan")
    return float(roc_auc_score(labels_N[coded_N], scores_N[coded_N]))


def _first_half_of_videos(subject_N: NDArray[Any], video_N: NDArray[Any]) -> NDArray[np.bool_]:
    first_N = np.zeros(len(subject_N), dtype=bool)
    for subject in np.unique(subject_N):
        own_N = subject_N == subject
        videos = np.unique(video_N[own_N])
        first_N |= own_N & np.isin(video_N, videos[: len(videos) // 2])
    return first_N
