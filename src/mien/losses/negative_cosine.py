"""The loss of SimSiam: a prediction of one view should point where the other view's projection points.

Chen & He, Exploring Simple Siamese Representation Learning, CVPR 2021, equations 1 to 4.
"""

from __future__ import annotations

from torch import Tensor

from mien.losses.precision import full_precision
from mien.losses.unit import unit


@full_precision
def negative_cosine(prediction_ND: Tensor, target_ND: Tensor) -> Tensor:
    """Minus the mean cosine of the rows, in [-1, 1]; no gradient reaches `target_ND`."""
    return -(unit(prediction_ND) * unit(target_ND.detach())).sum(dim=1).mean()


def symmetric_negative_cosine(
    prediction_a_ND: Tensor, target_b_ND: Tensor, prediction_b_ND: Tensor, target_a_ND: Tensor
) -> Tensor:
    """Half the sum of the two views' terms, in [-1, 1]; -1 where both are right, or all has collapsed."""
    first = negative_cosine(prediction_a_ND, target_b_ND)
    second = negative_cosine(prediction_b_ND, target_a_ND)
    return 0.5 * (first + second)
