"""How much of identity, pose and light the features contain, besides the action units.

All are measured on the same frames for every encoder. Read-outs of action units, pose and light are tested on
people who were not in their training rows. Identity is read from other videos of the same people.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.linear_model import Ridge
from sklearn.metrics import r2_score, silhouette_score
from sklearn.model_selection import GroupKFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from mien.datasets.base import LabelledFrames
from mien.evaluate.metrics import mean_defined
from mien.evaluate.readout import identity_named

Floats = NDArray[np.floating[Any]]

MAX_FRAMES = 3000
NUM_QUERIES = 300
POSE_PENALTY = 100.0


def person_independence(
    features_ND: Floats,
    frames: LabelledFrames,
    *,
    pose_N3: Floats,
    brightness_N: Floats,
    action_unit_auc: float,
) -> dict[str, float]:
    """Numbers of at most 3 000 frames (see `sample_of`), NaN where undefined (one video per person).

    identity_accuracy: share of frames whose person a linear read-out names from that person's other videos.
    identity_retrieval: share of frames whose nearest frame of another video shows the same person.
    silhouette_by_*: -1 to 1, of the standardised features; by action unit the mean over them.
    r2_*: of ridge regression across people; 1 is read exactly, 0 or less is not read.
    index: action units less identity, (2 AUC - 1) - (accuracy - chance) / (1 - chance), each from 0 (chance)
    to 1 (all). An untrained encoder lies near what its pixels give; +1 would be every action unit and nobody,
    -1 everybody and no action unit.
    """
    subject_N, video_N = frames.subject_N, frames.videos()
    by_au, by_subject = _silhouettes(features_ND, frames.occurrence_NA, subject_N)
    accuracy, chance = _identity(features_ND, subject_N, video_N)
    return {
        "action_unit_auc": action_unit_auc,
        "identity_accuracy": accuracy,
        "identity_chance": chance,
        "identity_retrieval": _retrieval(features_ND, subject_N, video_N),
        "silhouette_by_action_unit": by_au,
        "silhouette_by_subject": by_subject,
        "r2_yaw": _r2_across_people(features_ND, pose_N3[:, 0], subject_N),
        "r2_pitch": _r2_across_people(features_ND, pose_N3[:, 1], subject_N),
        "r2_brightness": _r2_across_people(features_ND, brightness_N, subject_N),
        "num_frames": len(subject_N),
        "num_subjects": len(np.unique(subject_N)),
        "index": 2 * action_unit_auc - 1 - (accuracy - chance) / (1 - chance),
    }


def sample_of(frames: LabelledFrames, *, num_frames: int = MAX_FRAMES, seed: int = 0) -> NDArray[np.int64]:
    """Sorted rows, as evenly over videos as they go, the same for every encoder."""
    order = np.random.default_rng(seed).permutation(frames.num_frames)
    nth = pd.Series(order).groupby(frames.videos()[order]).cumcount().to_numpy()
    chosen: NDArray[np.int64] = np.sort(order[np.argsort(nth, kind="stable")[:num_frames]])
    return chosen


def silhouette(rows_ND: Floats, group_N: NDArray[Any]) -> float:
    """NaN unless there are two groups or more, and fewer than rows."""
    defined = 1 < len(np.unique(group_N)) < len(group_N)
    return float(silhouette_score(rows_ND, group_N)) if defined else float("nan")


def _identity(features_ND: Floats, subject_N: NDArray[Any], video_N: NDArray[Any]) -> tuple[float, float]:
    """Accuracy and chance among the people with two videos or more."""
    pairs = np.unique(np.stack([subject_N, video_N], axis=1), axis=0)
    subjects, videos = np.unique(pairs[:, 0], return_counts=True)
    several = subjects[videos > 1]
    if len(several) < 2:
        return float("nan"), float("nan")
    return float(identity_named(features_ND, subject_N, video_N)[0].mean()), 1 / len(several)


def _retrieval(features_ND: Floats, subject_N: NDArray[Any], video_N: NDArray[Any]) -> float:
    """Of frames whose person has another video: is the nearest frame of all other videos that person's?"""
    rows_ND = standardised(features_ND)
    hits = []
    for query in _queries(len(rows_ND)):
        elsewhere = video_N != video_N[query]
        if not (subject_N[elsewhere] == subject_N[query]).any():
            continue
        likeness_N = np.where(elsewhere, rows_ND @ rows_ND[query], -np.inf)
        hits.append(float(subject_N[likeness_N.argmax()] == subject_N[query]))
    return mean_defined(hits)


def _silhouettes(features_ND: Floats, occurrence_NA: Floats, subject_N: NDArray[Any]) -> tuple[float, float]:
    rows_ND, coded_NA = standardised(features_ND), ~np.isnan(occurrence_NA)
    columns = zip(occurrence_NA.T, coded_NA.T, strict=True)
    by_au = [silhouette(rows_ND[coded_N], labels_N[coded_N]) for labels_N, coded_N in columns]
    return mean_defined(by_au), silhouette(rows_ND, subject_N)


def _r2_across_people(features_ND: Floats, values_N: Floats, subject_N: NDArray[Any]) -> float:
    """NaN with fewer than three people, or values that do not vary."""
    num_people = len(np.unique(subject_N))
    if num_people < 3 or not np.isfinite(values_N).all() or np.ptp(values_N) == 0:
        return float("nan")
    model = make_pipeline(StandardScaler(), Ridge(POSE_PENALTY))
    folds = GroupKFold(min(5, num_people))
    predicted_N = cross_val_predict(model, features_ND, values_N, groups=subject_N, cv=folds)
    return float(r2_score(values_N, predicted_N))


def _queries(num_rows: int) -> NDArray[np.int64]:
    """Rows that are asked for their neighbours, spread evenly."""
    rows: NDArray[np.int64] = np.unique(np.linspace(0, num_rows - 1, NUM_QUERIES).astype(np.int64))
    return rows


def standardised(features_ND: Floats) -> Floats:
    """Each column with mean 0 and standard deviation 1 (a constant column: 0), then each row of length 1."""
    spread_D = features_ND.std(axis=0)
    centred_ND = (features_ND - features_ND.mean(axis=0)) / np.where(spread_D > 1e-9, spread_D, 1.0)
    length_N1 = np.linalg.norm(centred_ND, axis=1, keepdims=True)
    rows_ND: Floats = centred_ND / np.maximum(length_N1, 1e-12)
    return rows_ND


def nearest_of_others(
    features_ND: Floats,
    subject_N: NDArray[Any],
    *,
    num_neighbours: int,
    queries: NDArray[np.int64] | None = None,
) -> NDArray[np.int64]:
    """(Q, K) rows most alike by cosine of the standardised features, never of the query's own subject.

    Each of the K is of another subject than the K - 1 before it where the set allows, so that one look-alike
    does not fill the list. ValueError when there are fewer than K + 1 subjects.
    """
    if len(np.unique(subject_N)) <= num_neighbours:
        raise ValueError(f"too few people for {num_neighbours} neighbours of other people")
    rows_ND = standardised(features_ND)
    asked = np.arange(len(rows_ND)) if queries is None else queries
    return np.stack([_nearest(rows_ND, subject_N, int(row), num_neighbours) for row in asked])


def _nearest(rows_ND: Floats, subject_N: NDArray[Any], row: int, num_neighbours: int) -> NDArray[np.int64]:
    order_N = np.argsort(-(rows_ND @ rows_ND[row]), kind="stable")
    order_N = order_N[subject_N[order_N] != subject_N[row]]
    _, first = np.unique(subject_N[order_N], return_index=True)
    nearest: NDArray[np.int64] = order_N[np.sort(first)[:num_neighbours]]
    return nearest
