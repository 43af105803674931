"""The floors of the rendered benchmark: what chance, always-on, raw pixels and HOG read, subject-exclusive.

    python benchmarks/render_pictures.py --part OUT/main --out pictures.npz
    python benchmarks/render_floors.py --part OUT/main --pictures pictures.npz

Folds by person as the set states them; PCA to 200 dimensions and a logistic regression a unit. Prints by unit
its base rate, F1 of always-on, and AUC with its standard error by resampling people.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from render_pictures import read_pictures
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from mien.datasets.base import LabelledFrames
from mien.facs import ACTION_UNITS


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--part", type=Path, required=True)
    parser.add_argument("--pictures", type=Path, required=True)
    args = parser.parse_args()
    pictures, coded = read_pictures(args.pictures, args.part)
    grey = pictures.astype(np.float32).mean(axis=3)
    pixels = _cross_validated(grey.reshape(len(grey), -1), coded)
    histograms = _cross_validated(np.stack([hog(picture) for picture in grey]), coded)
    print(f"{len(pictures)} pictures of {len(np.unique(coded.subject_N))} people")
    print("unit   base rate   F1 always on   pixels           HOG")
    rates = coded.occurrence_NA.mean(axis=0)
    for at, number in enumerate(coded.action_units):
        rate, target_N = rates[at], coded.occurrence_NA[:, at]
        both = "   ".join(auc_and_error(target_N, score[:, at], coded) for score in (pixels, histograms))
        print(f"{ACTION_UNITS[number].column} {rate:11.3f} {2 * rate / (1 + rate):14.3f}   {both}")
    means = [np.nanmean(_aucs(coded.occurrence_NA, score)) for score in (pixels, histograms)]
    print(
        f"mean {rates.mean():11.3f} {(2 * rates / (1 + rates)).mean():14.3f}   {means[0]:.3f}  {means[1]:.3f}"
    )


def hog(picture: NDArray[np.float32], *, cell_px: int = 8, bins: int = 8) -> NDArray[np.float32]:
    """Histograms of oriented gradients, 2 x 2 cells normalised together (Dalal & Triggs, CVPR 2005)."""
    down, along = np.gradient(picture)
    strength = np.hypot(down, along)
    which = (np.arctan2(down, along) % np.pi / np.pi * bins).astype(int) % bins
    cells = picture.shape[0] // cell_px
    row, column = (axis // cell_px for axis in np.indices(picture.shape))
    place = (row * cells + column) * bins + which
    counted = np.bincount(place.reshape(-1), strength.reshape(-1), minlength=cells * cells * bins)
    histogram = counted.reshape(cells, cells, bins)
    blocks = np.concatenate(
        [histogram[:-1, :-1], histogram[:-1, 1:], histogram[1:, :-1], histogram[1:, 1:]], axis=2
    )
    normalised = blocks / (np.linalg.norm(blocks, axis=2, keepdims=True) + 1)
    return normalised.reshape(-1).astype(np.float32)


def auc_and_error(target_N: NDArray[np.float32], score_N: NDArray[np.floating], coded: LabelledFrames) -> str:
    """AUC and its standard error over 50 draws of people; NaN scores are left out."""
    known = ~np.isnan(score_N)
    target_N, score_N, person_N = target_N[known], score_N[known], coded.subject_N[known]
    rows_of = [np.flatnonzero(person_N == person) for person in np.unique(person_N)]
    random = np.random.default_rng(0)
    drawn = []
    for _ in range(50):
        rows = np.concatenate([rows_of[at] for at in random.integers(0, len(rows_of), len(rows_of))])
        drawn.append(_auc(target_N[rows], score_N[rows]))
    return f"{_auc(target_N, score_N):.3f} +- {np.nanstd(drawn):.3f}"


def _cross_validated(features_ND: NDArray[np.float32], coded: LabelledFrames) -> NDArray[np.float64]:
    """Scores (N, A) by models that never saw the person; NaN where a fold's training has no example."""
    fold_N = coded.split_N
    assert fold_N is not None
    score_NA = np.full(coded.occurrence_NA.shape, np.nan)
    for fold in np.unique(fold_N):
        train = fold_N != fold
        dimensions = min(200, int(train.sum()) - 1)
        reduce = make_pipeline(StandardScaler(), PCA(dimensions, random_state=0), StandardScaler())
        reduced_train = reduce.fit_transform(features_ND[train])
        reduced_test = reduce.transform(features_ND[~train])
        for at in range(score_NA.shape[1]):
            target = coded.occurrence_NA[train, at]
            if target.sum() >= 2:
                model = LogisticRegression(C=0.003, class_weight="balanced", max_iter=200)
                score_NA[~train, at] = model.fit(reduced_train, target).decision_function(reduced_test)
    return score_NA


def _aucs(target_NA: NDArray[np.float32], score_NA: NDArray[np.floating]) -> list[float]:
    return [_auc(target_NA[:, at], score_NA[:, at]) for at in range(target_NA.shape[1])]


def _auc(target_N: NDArray[np.float32], score_N: NDArray[np.floating]) -> float:
    known = ~np.isnan(score_N)
    if not 0 < target_N[known].sum() < known.sum():
        return float("nan")
    return float(roc_auc_score(target_N[known], score_N[known]))


if __name__ == "__main__":
    main()
