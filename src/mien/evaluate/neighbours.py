"""The nearest frames of other people, and whether they show the same action units."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating[Any]]


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
        raise ValueError(
            f"{num_neighbours} neighbours of other people need {num_neighbours + 1} subjects, "
            f"not {len(np.unique(subject_N))}"
        )
    rows_ND = standardised(features_ND)
    asked = np.arange(len(rows_ND)) if queries is None else queries
    return np.stack([_nearest(rows_ND, subject_N, int(row), num_neighbours) for row in asked])


def agreement(occurrence_NA: Floats, queries_Q: NDArray[np.int64], neighbours_QK: NDArray[np.int64]) -> float:
    """Mean overlap of the action units of query and neighbour: shared / in either, 1 where neither shows any.

    Not-coded action units (NaN) of either count for neither.
    """
    query_Q1A, near_QKA = occurrence_NA[queries_Q][:, None], occurrence_NA[neighbours_QK]
    coded_QKA = ~np.isnan(query_Q1A) & ~np.isnan(near_QKA)
    shared_QK = ((query_Q1A == 1) & (near_QKA == 1) & coded_QKA).sum(axis=2)
    either_QK = (((query_Q1A == 1) | (near_QKA == 1)) & coded_QKA).sum(axis=2)
    return float(np.where(either_QK == 0, 1.0, shared_QK / np.maximum(either_QK, 1)).mean())


def _nearest(rows_ND: Floats, subject_N: NDArray[Any], row: int, num_neighbours: int) -> NDArray[np.int64]:
    chosen: list[int] = []
    used = {subject_N[row]}
    for candidate in np.argsort(-(rows_ND @ rows_ND[row]), kind="stable"):
        if subject_N[candidate] not in used:
            chosen.append(int(candidate))
            used.add(subject_N[candidate])
        if len(chosen) == num_neighbours:
            break
    return np.array(chosen, dtype=np.int64)
