"""The floors of the rendered benchmark: what chance, always-on, raw pixels and HOG read, subject-exclusive.

    mien prepare OUT/main --out STORE
    python benchmarks/render_floors.py --part OUT/main --store STORE [--every 3]

Crops of the store at 64 px; every n-th coded frame; folds by person as the set states them; PCA to 200
dimensions and a logistic regression a unit. Prints by unit its base rate, F1 of always-on, and AUC.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from mien.data.store import TrackStore
from mien.datasets.base import LabelledFrames
from mien.datasets.rendered import Rendered
from mien.facs import ACTION_UNITS


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--part", type=Path, required=True)
    parser.add_argument("--store", type=Path, required=True)
    parser.add_argument("--every", type=int, default=3)
    args = parser.parse_args()
    frames = Rendered(args.part).frames()
    crops, rows = _crops(TrackStore.open(args.store), frames, every=args.every)
    coded = frames.rows(rows)
    grey = crops.astype(np.float32).mean(axis=3)
    pixels = _cross_validated(grey.reshape(len(grey), -1), coded)
    histograms = _cross_validated(np.stack([hog(picture) for picture in grey]), coded)
    print(f"{len(crops)} crops of {len(np.unique(coded.subject_N))} people")
    print("AU     base rate   F1 always on   pixels AUC   HOG AUC")
    rates = coded.occurrence_NA.mean(axis=0)
    for at, number in enumerate(coded.action_units):
        rate, name = rates[at], ACTION_UNITS[number].column
        print(f"{name} {rate:10.3f} {2 * rate / (1 + rate):14.3f} {pixels[at]:12.3f} {histograms[at]:9.3f}")
    mean = [float(np.nanmean(values)) for values in (rates, 2 * rates / (1 + rates), pixels, histograms)]
    print("mean {:10.3f} {:14.3f} {:12.3f} {:9.3f}".format(*mean))


def hog(picture: NDArray[np.float32], *, cell_px: int = 8, bins: int = 8) -> NDArray[np.float32]:
    """Histograms of oriented gradients, 2 x 2 cells normalised together (Dalal & Triggs, CVPR 2005)."""
    down, along = np.gradient(picture)
    strength = np.hypot(down, along)
    which = (np.arctan2(down, along) % np.pi / np.pi * bins).astype(int) % bins
    cells = picture.shape[0] // cell_px
    histogram = np.zeros((cells, cells, bins), dtype=np.float32)
    row, column = (axis // cell_px for axis in np.indices(picture.shape))
    np.add.at(histogram, (row, column, which), strength)
    blocks = np.concatenate(
        [histogram[:-1, :-1], histogram[:-1, 1:], histogram[1:, :-1], histogram[1:, 1:]], axis=2
    )
    return (blocks / (np.linalg.norm(blocks, axis=2, keepdims=True) + 1)).reshape(-1)


def _crops(
    store: TrackStore, frames: LabelledFrames, *, every: int
) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Crops (N, 64, 64, 3) of every n-th frame that the store has, and their rows in `frames`."""
    crops, rows = [], []
    for track in range(store.num_tracks):
        source = store.tracks["source_path"][track].as_py()
        path = source[source.index("mp4/") :]
        indices = np.asarray(store.source_frame_indices(track))
        positions = [int(at) for at in np.flatnonzero(indices % every == 0)]
        found = frames.positions([path] * len(positions), indices[positions].tolist())
        kept = [at for at, row in zip(positions, found, strict=True) if row >= 0]
        crops.append(store.read_frames(track, kept, size_px=64))
        rows.append(found[found >= 0])
    return np.concatenate(crops), np.concatenate(rows)


def _cross_validated(features_ND: NDArray[np.float32], coded: LabelledFrames) -> NDArray[np.float64]:
    """AUC of every unit over the test frames of all folds; NaN where a fold's training has no example."""
    fold_N = coded.split_N
    assert fold_N is not None
    score_NA = np.full(coded.occurrence_NA.shape, np.nan)
    for fold in np.unique(fold_N):
        train = fold_N != fold
        reduce = make_pipeline(
            StandardScaler(), PCA(min(200, train.sum() - 1), random_state=0), StandardScaler()
        )
        reduced_train, reduced_test = (
            reduce.fit_transform(features_ND[train]),
            reduce.transform(features_ND[~train]),
        )
        for at in range(score_NA.shape[1]):
            target = coded.occurrence_NA[train, at]
            if target.sum() >= 2:
                model = LogisticRegression(C=0.003, class_weight="balanced", max_iter=200).fit(
                    reduced_train, target
                )
                score_NA[~train, at] = model.decision_function(reduced_test)
    return np.array([_auc(coded.occurrence_NA[:, at], score_NA[:, at]) for at in range(score_NA.shape[1])])


def _auc(target_N: NDArray[np.float32], score_N: NDArray[np.float64]) -> float:
    known = ~np.isnan(score_N)
    if not 0 < target_N[known].sum() < known.sum():
        return float("nan")
    return float(roc_auc_score(target_N[known], score_N[known]))


if __name__ == "__main__":
    main()
