"""InfoNCE: pick the key among negatives (van den Oord et al., arXiv 1807.03748; MoCo, arXiv 1911.05722)."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from mien.losses.precision import full_precision
from mien.losses.unit import unit


@full_precision
def info_nce(
    query_ND: Tensor,
    key_ND: Tensor,
    negatives_MD: Tensor,
    *,
    temperature: float,
    masked_NM: Tensor | None = None,
) -> Tensor:
    """(N,) row losses of `info_nce_logits`; the loss of a batch is their mean.

    log(1 + M) where all cosines are equal; between log(1 + M exp(-2 / temperature)) and
    log(1 + M exp(2 / temperature)).
    """
    logits = info_nce_logits(query_ND, key_ND, negatives_MD, temperature=temperature, masked_NM=masked_NM)
    return rows_of_first(logits)


@full_precision
def info_nce_logits(
    query_ND: Tensor,
    key_ND: Tensor,
    negatives_MD: Tensor,
    *,
    temperature: float,
    masked_NM: Tensor | None = None,
) -> Tensor:
    """(N, 1 + M) cosines over temperature: of each query with its own key first, then with all negatives.

    Query and key are normalised here; the negatives are unit rows already, as a memory bank stores them.
    True in `masked_NM` takes a negative out for one query.
    """
    query_ND = unit(query_ND)
    positive_N1 = (query_ND * unit(key_ND)).sum(dim=1, keepdim=True)
    negative_NM = query_ND @ negatives_MD.T
    if masked_NM is not None:
        negative_NM = negative_NM.masked_fill(masked_NM, -torch.inf)
    return torch.cat([positive_N1, negative_NM], dim=1) / temperature


@full_precision
def rows_of_first(logits_NM: Tensor) -> Tensor:
    """(N,) cross-entropies where the first column is the right one."""
    first_N = torch.zeros(logits_NM.shape[0], dtype=torch.int64, device=logits_NM.device)
    return F.cross_entropy(logits_NM, first_N, reduction="none")
