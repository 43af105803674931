"""Where probabilities are shifted and averaged: as logits, with intensities as they are."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

LEAST_PROBABILITY = 1e-6  # what is nearer to 0 or 1 counts as this near: a logit of 13.8 at most


def to_logit_space(values_V: NDArray[np.float32], num_units: int) -> NDArray[np.float64]:
    """(..., V) probabilities and then intensities: the first `num_units` become logits."""
    space_V = values_V.astype(np.float64)
    probability_A = np.clip(space_V[..., :num_units], LEAST_PROBABILITY, 1 - LEAST_PROBABILITY)
    space_V[..., :num_units] = np.log(probability_A) - np.log1p(-probability_A)
    return space_V


def from_logit_space(space_V: NDArray[np.float64], num_units: int) -> NDArray[np.float32]:
    """The values back; intensities are kept within 0 to 5."""
    values_V = np.clip(space_V, 0, 5)
    values_V[..., :num_units] = 1 / (1 + np.exp(-space_V[..., :num_units]))
    return values_V.astype(np.float32)
