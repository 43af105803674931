"""Diagnostics of training, 0-dimensional tensors without gradient, and what CLP warns of by them."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping

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


def clp_warnings(logs: Mapping[str, float], *, masks_own_identity: bool) -> list[str]:
    """One sentence for each problem, from a window's mean of the logs; NaN triggers nothing."""
    value = defaultdict(lambda: math.nan, logs)
    wide = value["attention_support"] > 0.25  # isotropic random rows give about 0.45 at temperature 0.07
    findings = {
        f"{value['rows_skipped']:.0%} of the frames have nothing to be reconstructed from: all the bank "
        "has their identity. Give the videos identities (a CSV with path,identity), or set "
        "method.exclude_same_identity = none": value["rows_skipped"] > 0.5,
        f"{value['clips_collapsed']:.0%} of the clips have collapsed to a point, where the temporal loss has "
        "no gradient. If this stays, raise the rate or start from trained weights": (
            value["clips_collapsed"] > 0.5
        ),
        f"the features have collapsed onto a line (effective rank {value['effective_rank']:.2f})": (
            value["effective_rank"] < 1.5
        ),
        "reconstruction has become plain InfoNCE: the attention spreads over "
        f"{value['attention_support']:.0%} of the bank, so the rebuilt query is only the query again. Lower "
        "method.tau_reconstruction or shrink the bank": wide and value["retrieval_accuracy"] > 0.5,
        f"the rows of the bank look alike (mean cosine {value['cos_query_bank']:.2f}): it learns slowly. "
        "method.batch_norm_output = true usually ends it": (
            wide and value["cos_query_bank"] > 0.3 and value["retrieval_accuracy"] <= 0.5
        ),
        "the attention sits on a single row of the bank, where reconstruction has no gradient: raise "
        "method.tau_reconstruction, or look for copies of a video": value["attention_max"] > 0.95,
        f"{value['attention_on_own_identity']:.0%} of the attention falls on the query's own identity. Set "
        "method.exclude_same_identity = candidates": (
            not masks_own_identity and value["attention_on_own_identity"] > 0.2
        ),
    }
    return [text for text, holds in findings.items() if holds]
