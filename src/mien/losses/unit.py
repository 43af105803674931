"""Rows of length one."""

from __future__ import annotations

import torch
from torch import Tensor

from mien.losses.precision import full_precision

SMALLEST_LENGTH = 1e-12


@full_precision
def unit(rows: Tensor) -> Tensor:
    """Rows (last axis) divided by their Euclidean length; a row of zeros stays zero.

    Rows shorter than 1e-12 are left as they are: their gradient stays finite.
    """
    length = torch.linalg.vector_norm(rows, dim=-1, keepdim=True)
    return rows / torch.where(length > SMALLEST_LENGTH, length, torch.ones_like(length))
