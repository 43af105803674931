"""Features of a few people in two dimensions (the paper's Figures 5 to 7), with the numbers a map hides."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.decomposition import PCA
from sklearn.manifold import TSNE
from sklearn.metrics import silhouette_score

from mien.datasets.base import LabelledFrames
from mien.evaluate.neighbours import standardised

Floats = NDArray[np.floating[Any]]

NUM_SUBJECTS = 10
FRAMES_PER_SUBJECT = 30
PCA_DIMENSIONS = 50
PERPLEXITY = 30.0


@dataclass(frozen=True)
class FeatureMap:
    """Points of M frames. The silhouettes are of the features, not of the map; NaN if undefined."""

    point_M2: Floats
    present_M: Floats  # 1, 0, NaN: the action unit
    subject_M: NDArray[np.str_]
    silhouette_by_action_unit: float
    silhouette_by_subject: float


def frames_to_map(frames: LabelledFrames, column: int, *, seed: int = 0) -> NDArray[np.int64]:
    """Sorted rows: ten people in whom the action unit comes and goes, 30 frames each, half of each kind.

    Fewer where there are fewer; the same rows for every encoder.
    """
    generator = np.random.default_rng(seed)
    labels_N = frames.occurrence_NA[:, column]
    subjects = [s for s in np.unique(frames.subject_N) if _kinds(labels_N[frames.subject_N == s]) == 2]
    chosen: list[NDArray[np.int64]] = []
    for subject in generator.permutation(subjects)[:NUM_SUBJECTS]:
        for kind in (0, 1):
            rows = np.flatnonzero((frames.subject_N == subject) & (labels_N == kind))
            chosen.append(generator.permutation(rows)[: FRAMES_PER_SUBJECT // 2])
    return np.sort(np.concatenate(chosen)) if chosen else np.zeros(0, np.int64)


def column_to_show(frames: LabelledFrames) -> int:
    """AU12 as in the paper; without it the action unit that is nearest to half of the frames."""
    if 12 in frames.action_units:
        return frames.action_units.index(12)
    rate_A = np.nanmean(frames.occurrence_NA, axis=0)
    return int(np.abs(rate_A - 0.5).argmin())


def feature_map(features_MD: Floats, present_M: Floats, subject_M: NDArray[np.str_]) -> FeatureMap:
    """Standardised features, PCA to 50, t-SNE from the principal axes with a fixed seed."""
    rows_MD = standardised(features_MD)
    dimensions = min(PCA_DIMENSIONS, *rows_MD.shape)
    reduced = PCA(dimensions, random_state=0).fit_transform(rows_MD)
    perplexity = min(PERPLEXITY, (len(rows_MD) - 1) / 3)
    points_M2 = TSNE(2, perplexity=perplexity, init="pca", random_state=0).fit_transform(reduced)
    return FeatureMap(
        points_M2,
        present_M,
        subject_M,
        _silhouette(rows_MD, present_M),
        _silhouette(rows_MD, np.unique(subject_M, return_inverse=True)[1]),
    )


def _kinds(labels_N: Floats) -> int:
    return len(np.unique(labels_N[~np.isnan(labels_N)]))


def _silhouette(rows_MD: Floats, group_M: NDArray[Any]) -> float:
    defined = 1 < len(np.unique(group_M)) < len(group_M)
    return float(silhouette_score(rows_MD, group_M)) if defined else float("nan")
