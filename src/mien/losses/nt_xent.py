"""NT-Xent, the loss of SimCLR: each view must pick its other view out of all the others in the batch.

Chen et al., A Simple Framework for Contrastive Learning of Visual Representations, ICML 2020, equation 1.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from mien.losses.precision import full_precision
from mien.losses.unit import unit


@full_precision
def nt_xent(view_a_ND: Tensor, view_b_ND: Tensor, *, temperature: float) -> Tensor:
    """Mean over the 2N rows of the cross-entropy of a row's other view among the 2N - 1 other rows.

    Rows need not be of unit length: similarities are cosines. 0 for N = 1; log(2N - 1) where all rows are
    equal. (The TensorFlow release reports the sum of two half-batch means, twice this.)
    """
    N = view_a_ND.shape[0]
    unit_MD = unit(torch.cat([view_a_ND, view_b_ND]))
    logits_MM = unit_MD @ unit_MD.T / temperature
    logits_MM = logits_MM.masked_fill(_diagonal(2 * N, unit_MD.device), float("-inf"))
    other_view_M = torch.arange(2 * N, device=unit_MD.device).roll(N)
    return F.cross_entropy(logits_MM, other_view_M)


def _diagonal(size: int, device: torch.device) -> Tensor:
    # a projection is not its own negative
    return torch.eye(size, dtype=torch.bool, device=device)
