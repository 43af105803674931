"""Folds in which nobody is on both sides."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray


def subject_folds(subject_N: NDArray[Any], *, num_folds: int) -> NDArray[np.int64]:
    """(N,) the fold in which each row is tested; all rows of a subject share one fold.

    Subjects are dealt by number of rows, the largest first, each to the fold that is smallest so far; equal
    sizes go by name, so the folds depend on nothing but the rows. ValueError with fewer subjects than folds.
    """
    subjects, subject_of_row, rows = np.unique(subject_N, return_inverse=True, return_counts=True)
    if len(subjects) < num_folds:
        raise ValueError(f"{num_folds} folds need at least as many subjects, not {len(subjects)}")
    fold_of_subject = np.zeros(len(subjects), dtype=np.int64)
    fold_rows = np.zeros(num_folds, dtype=np.int64)
    for subject in np.argsort(-rows, kind="stable"):
        fold = int(fold_rows.argmin())
        fold_of_subject[subject] = fold
        fold_rows[fold] += rows[subject]
    return fold_of_subject[subject_of_row]
