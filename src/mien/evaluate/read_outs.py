"""Several kinds of features of the same labelled faces, read out the same way and set side by side."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mien.evaluate.metrics import mean_defined
from mien.evaluate.person_independence import agreement, nearest_of_others
from mien.evaluate.readout import identity_accuracy, out_of_fold

Floats = NDArray[np.floating[Any]]


@dataclass(frozen=True)
class LabelledFaces:
    """N faces: occurrence_NA 1, 0 or NaN (not coded), who each is and which video it is from."""

    action_units: tuple[int, ...]
    occurrence_NA: Floats
    subject_N: NDArray[np.str_]
    video_N: NDArray[np.str_]


@dataclass(frozen=True)
class ReadOut:
    """What one kind of features tells.

    auc_A: ROC-AUC per action unit on people the read-out has not seen; NaN where undefined, .5 is chance.
    identity_accuracy: share of faces whose person is named from other videos; NaN where nobody has two.
    neighbour_agreement: overlap of action units with the nearest faces of other people, 0 to 1.
    """

    name: str
    auc_A: Floats
    identity_accuracy: float
    neighbour_agreement: float

    @property
    def mean_auc(self) -> float:
        """The unweighted mean over the action units where it is defined."""
        return mean_defined(self.auc_A)


def read_out(
    name: str, features_ND: Floats, faces: LabelledFaces, *, num_folds: int = 3, num_neighbours: int = 5
) -> ReadOut:
    """Read action units, identity and neighbours from frozen features. Deterministic."""
    found = out_of_fold(features_ND, faces.occurrence_NA, faces.subject_N, num_folds=num_folds)
    return ReadOut(
        name,
        found.auc(faces.occurrence_NA),
        identity_accuracy(features_ND, faces.subject_N, faces.video_N),
        _neighbour_agreement(features_ND, faces, num_neighbours),
    )


def chance_agreement(faces: LabelledFaces, *, num_pairs: int = 4000, seed: int = 0) -> float:
    """The overlap of action units of faces of two people drawn at random: what neighbours must beat."""
    generator = np.random.default_rng(seed)
    first_P, second_P = generator.integers(0, len(faces.subject_N), (2, num_pairs))
    apart_P = faces.subject_N[first_P] != faces.subject_N[second_P]
    return agreement(faces.occurrence_NA, first_P[apart_P], second_P[apart_P][:, None])


def _neighbour_agreement(features_ND: Floats, faces: LabelledFaces, num_neighbours: int) -> float:
    wanted = min(num_neighbours, len(np.unique(faces.subject_N)) - 1)
    queries_Q = np.arange(0, len(features_ND), max(1, len(features_ND) // 1000))
    near_QK = nearest_of_others(features_ND, faces.subject_N, num_neighbours=wanted, queries=queries_Q)
    return agreement(faces.occurrence_NA, queries_Q, near_QK)
