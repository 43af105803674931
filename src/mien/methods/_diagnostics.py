"""Diagnostics of training: 0-dimensional tensors without gradient, never read back here."""

from __future__ import annotations

import torch
from torch import Tensor

from mien.losses.cross_identity_reconstruction import ReconstructionLoss
from mien.losses.precision import full_precision
from mien.losses.unit import unit

RANK_ROWS = 64


@torch.no_grad()
@full_precision
def effective_rank(features_ND: Tensor, *, diagnosing: bool = True) -> Tensor:
    """exp of the entropy of the normalised singular values (RankMe, arXiv 2210.02885, Eq. 1).

    Between 1 (all rows on a line) and the number of rows used: at most 64, evenly spaced, so that the
    eigenvalues of a small Gram matrix are all it takes. NaN unless `diagnosing`: on a GPU, eigenvalues make
    the host wait.
    """
    if not diagnosing:
        return features_ND.new_full((), torch.nan)
    rows = features_ND[:: max(1, len(features_ND) // RANK_ROWS)][:RANK_ROWS]
    singular_values = torch.linalg.eigvalsh(rows @ rows.T).clamp_min(0.0).sqrt()
    shares = singular_values / singular_values.sum().clamp_min(torch.finfo(rows.dtype).tiny)
    rank: Tensor = torch.special.entr(shares).sum().exp()
    return rank


RECONSTRUCTION_NAMES = (
    "cos_query_rebuilt",
    "cos_query_bank",
    "attention_support",
    "attention_max",
    "attention_on_own_identity",
    "attention_on_own_video",
    "retrieval_accuracy",
    "rows_skipped",
)


def undefined_reconstruction(device: torch.device) -> dict[str, Tensor]:
    """The diagnostics of a step without reconstruction: a loss of 0 and NaN for the rest."""
    nothing = dict.fromkeys(RECONSTRUCTION_NAMES, torch.full((), torch.nan, device=device))
    return {"loss_cir": torch.zeros((), device=device), **nothing}


@torch.no_grad()
def reconstruction_diagnostics(
    result: ReconstructionLoss, query_ND: Tensor, candidates_CD: Tensor, own_NC: Tensor, same_video_NC: Tensor
) -> dict[str, Tensor]:
    """What the attention does; `own_NC` and `same_video_NC` mark the query's own identity and video.

    The mass on these two is that of the attention before masking. Support and mass are means over the rows
    that could be rebuilt; NaN where there is none.
    """
    attention, possible_N = result.reconstruction, result.reconstruction.possible_N
    unmasked_NC = attention.logits_NC.softmax(dim=1)
    support_N = torch.special.entr(attention.alpha_NC).sum(dim=1).exp() / len(candidates_CD)
    query_ND = unit(query_ND)
    cosine_N = (query_ND * unit(attention.rebuilt_ND)).sum(dim=1)
    return {
        "cos_query_rebuilt": _mean(cosine_N, possible_N),
        "cos_query_bank": (query_ND @ candidates_CD.mean(dim=0)).mean(),
        "attention_support": _mean(support_N, possible_N),
        "attention_max": _mean(attention.alpha_NC.amax(dim=1), possible_N),
        "attention_on_own_identity": (unmasked_NC * own_NC).sum(dim=1).mean(),
        "attention_on_own_video": (unmasked_NC * same_video_NC).sum(dim=1).mean(),
        "retrieval_accuracy": _mean(_first_is_highest(result.logits_NM), possible_N),
        "rows_skipped": 1.0 - possible_N.float().mean(),
    }


def _mean(value_N: Tensor, counted_N: Tensor) -> Tensor:
    return (value_N * counted_N).sum() / counted_N.sum()


def _first_is_highest(logits_NM: Tensor) -> Tensor:
    """1.0 where the key beats every negative strictly: a tie, as in a collapse, is no retrieval."""
    if logits_NM.shape[1] == 1:
        return torch.ones_like(logits_NM[:, 0])
    return (logits_NM[:, 0] > logits_NM[:, 1:].amax(dim=1)).to(logits_NM.dtype)
