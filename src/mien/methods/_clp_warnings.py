"""Warnings that follow from the logs of CLP."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping

WIDE_SUPPORT = 0.25  # of the candidates; isotropic random rows give about 0.45 at temperature 0.07
ALIKE_BANK = 0.3  # mean cosine of the queries with the bank
ONE_HOT = 0.95
COLLAPSED_SHARE = 0.5
COLLAPSED_RANK = 1.5
OWN_MASS = 0.2
SKIPPED_SHARE = 0.5


def clp_warnings(logs: Mapping[str, float], *, masks_own_identity: bool) -> list[str]:
    """One sentence for each problem, from a window's mean of the logs; NaN triggers nothing."""
    value = defaultdict(lambda: math.nan, logs)
    wide = value["attention_support"] > WIDE_SUPPORT
    findings = [
        (
            value["rows_skipped"] > SKIPPED_SHARE,
            f"{value['rows_skipped']:.0%} of the frames have nothing to be reconstructed from: all the bank "
            "holds their own identity. Give the videos their identities (a CSV with path,identity), or set "
            "method.exclude_same_identity = none",
        ),
        (
            value["clips_collapsed"] > COLLAPSED_SHARE,
            f"{value['clips_collapsed']:.0%} of the clips have collapsed: their frames share one embedding, "
            "where the temporal loss has no gradient. Usual in the first steps; if it stays, raise the rate "
            "or start from trained weights",
        ),
        (
            value["effective_rank"] < COLLAPSED_RANK,
            f"the features have collapsed onto a line (effective rank {value['effective_rank']:.2f})",
        ),
        (
            wide and value["retrieval_accuracy"] > 0.5,
            "reconstruction has become plain InfoNCE: the attention spreads over "
            f"{value['attention_support']:.0%} of the bank, so the rebuilt query is only the query again and "
            "nothing crosses identities. Lower method.tau_reconstruction or shrink the bank",
        ),
        (
            wide and value["cos_query_bank"] > ALIKE_BANK and value["retrieval_accuracy"] <= 0.5,
            f"the rows of the bank look alike (mean cosine {value['cos_query_bank']:.2f}): the attention is "
            "near uniform and reconstruction learns slowly. method.batch_norm_output = true usually ends it",
        ),
        (
            value["attention_max"] > ONE_HOT,
            "the attention sits on a single row of the bank, where reconstruction has no gradient: raise "
            "method.tau_reconstruction, or look for near-copies of one video under several names",
        ),
        (
            not masks_own_identity and value["attention_on_own_identity"] > OWN_MASS,
            f"{value['attention_on_own_identity']:.0%} of the attention falls on the query's own identity: "
            "reconstruction teaches who it is. Set method.exclude_same_identity = candidates",
        ),
    ]
    return [text for holds, text in findings if holds]
