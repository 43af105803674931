"""Binary cross-entropy over action units, some of them not coded, presence and absence weighed apart."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from mien.losses.precision import full_precision


@full_precision
def action_unit_bce(
    logits_NA: Tensor, occurrence_NA: Tensor, *, present_weight_A: Tensor, absent_weight_A: Tensor
) -> Tensor:
    """Mean over the coded entries of the weighted cross-entropy of each; 0 when nothing is coded.

    occurrence_NA: 1 present, 0 absent, NaN not coded (no loss, no gradient).
    Weights 1 give the plain mean; n / (2 n+) and n / (2 n-) make presence and absence count alike.
    """
    coded_NA = ~torch.isnan(occurrence_NA)
    target_NA = torch.where(coded_NA, occurrence_NA, 0.0)
    losses_NA = F.binary_cross_entropy_with_logits(logits_NA, target_NA, reduction="none")
    weight_NA = torch.where(target_NA > 0.5, present_weight_A, absent_weight_A) * coded_NA
    return (weight_NA * losses_NA).sum() / coded_NA.sum().clamp_min(1)


def balancing_weights(
    num_present_A: Tensor, num_absent_A: Tensor, *, largest: float = 20.0
) -> tuple[Tensor, Tensor]:
    """(A,) weights n / (2 n+) of presence and n / (2 n-) of absence for these counts, at most `largest`.

    1 and 1 for an action unit that is never coded, or always the same.
    """
    both_A = (num_present_A > 0) & (num_absent_A > 0)
    half_A = (num_present_A + num_absent_A) / 2
    present_weight_A = (half_A / num_present_A).clamp_max(largest)
    absent_weight_A = (half_A / num_absent_A).clamp_max(largest)
    one = torch.ones_like(half_A)
    return torch.where(both_A, present_weight_A, one), torch.where(both_A, absent_weight_A, one)
