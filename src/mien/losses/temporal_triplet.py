"""Temporal contrastive learning: frames nearer in time lie nearer (Li & Shan, TIP 2023, Eq. 1)."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from mien.losses.precision import full_precision

WeightForm = Literal["inv_sqrt", "one", "inv", "exp"]


def triplet_weights(form: WeightForm, *, clip_len: int, start: int = 2) -> Tensor:
    """(clip_len - 2,) float64: lambda_j = 1/sqrt(j), 1, 1/j or exp(-j) for j = start, start + 1, ...

    `start` = 2 reads Eq. 1 literally, where j is the positive's place in the clip counted from 1;
    1 reads j as the interval between anchor and positive.
    """
    j = torch.arange(start, start + max(clip_len - 2, 0), dtype=torch.float64)
    forms = {"inv_sqrt": j.rsqrt(), "one": torch.ones_like(j), "inv": 1.0 / j, "exp": torch.exp(-j)}
    if form not in forms:
        raise ValueError(f"triplet weights {form!r}: expected one of {', '.join(forms)}")
    return forms[form]


@full_precision
def temporal_triplet_losses(embeddings_BTD: Tensor, *, weights_P: Tensor, margin: float) -> Tensor:
    """(B,) sum over the P = T - 2 triplets of each clip; the loss of a batch is their mean.

    embeddings_BTD: unit rows. Anchor is the first frame, (positive, negative) are the frames (2, 3), (3, 4),
    ..., (T - 1, T); each adds weight * max(0, distance to positive - distance to negative + margin), the
    distance Euclidean and not squared. `margin * weights.sum()` where all frames coincide, with gradient 0
    there; 0 for T = 2. Flip the T axis for the reversed clip.
    """
    distances_BT = torch.linalg.vector_norm(embeddings_BTD[:, :1] - embeddings_BTD[:, 1:], dim=-1)
    hinges_BP = torch.relu(distances_BT[:, :-1] - distances_BT[:, 1:] + margin)
    return (hinges_BP * weights_P.to(hinges_BP)).sum(dim=1)
