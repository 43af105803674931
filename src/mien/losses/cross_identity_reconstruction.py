"""Cross-identity reconstruction: a feature from other people's features (Li & Shan, TIP 2023, Eqs. 2-4)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from mien.losses.info_nce import info_nce_logits, rows_of_first
from mien.losses.precision import full_precision
from mien.losses.unit import unit


@dataclass(frozen=True)
class Reconstruction:
    """N queries rebuilt from C candidates."""

    logits_NC: Tensor  # cosines over temperature, nothing masked
    alpha_NC: Tensor  # attention; rows sum to 1, 0 where masked, a row of zeros where all is masked
    rebuilt_ND: Tensor  # sum of alpha times candidate; length at most 1
    possible_N: Tensor  # bool: at least one candidate is not masked


@dataclass(frozen=True)
class ReconstructionLoss:
    """The losses of N rows and what they were made of."""

    loss: Tensor  # mean over the possible rows; 0 when there is none
    loss_N: Tensor  # 0 where no reconstruction was possible
    logits_NM: Tensor  # of the rebuilt query with its key (first) and the negatives; -inf where masked
    reconstruction: Reconstruction


@full_precision
def reconstruct(
    query_ND: Tensor, candidates_CD: Tensor, *, temperature: float, masked_NC: Tensor | None = None
) -> Reconstruction:
    """Soft attention of each query over the candidates (unit rows), True in `masked_NC` left out.

    The gradient reaches the query only through alpha. At temperature -> 0 alpha picks the nearest candidate,
    at infinity the rebuilt query is the candidates' mean.
    """
    logits_NC = unit(query_ND) @ candidates_CD.T / temperature
    if masked_NC is None:
        masked_NC = torch.zeros_like(logits_NC, dtype=torch.bool)
    possible_N = ~masked_NC.all(dim=1)
    # A row whose candidates are all masked would be NaN: it is computed unmasked, then set to zero.
    hidden_NC = masked_NC & possible_N[:, None]
    alpha_NC = logits_NC.masked_fill(hidden_NC, -torch.inf).softmax(dim=1) * possible_N[:, None]
    return Reconstruction(logits_NC, alpha_NC, alpha_NC @ candidates_CD, possible_N)


@full_precision
def cross_identity_reconstruction(
    query_ND: Tensor,
    key_ND: Tensor,
    candidates_CD: Tensor,
    negatives_MD: Tensor,
    *,
    temperature: float,
    reconstruction_temperature: float | None = None,
    masked_NC: Tensor | None = None,
    masked_NM: Tensor | None = None,
) -> ReconstructionLoss:
    """InfoNCE of each rebuilt query with its key against the negatives.

    key, candidates and negatives are constants; the last two unit rows. `reconstruction_temperature` is that
    of the attention, by default the same as InfoNCE's. Rows without a candidate left count neither in the sum
    nor in the mean. log(1 + M) where all cosines are equal.
    """
    reconstruction = reconstruct(
        query_ND,
        candidates_CD,
        temperature=temperature if reconstruction_temperature is None else reconstruction_temperature,
        masked_NC=masked_NC,
    )
    logits_NM = info_nce_logits(
        reconstruction.rebuilt_ND, key_ND, negatives_MD, temperature=temperature, masked_NM=masked_NM
    )
    possible_N = reconstruction.possible_N
    loss_N = rows_of_first(logits_NM) * possible_N
    loss = loss_N.sum() / possible_N.sum().clamp_min(1)
    return ReconstructionLoss(loss, loss_N, logits_NM, reconstruction)
