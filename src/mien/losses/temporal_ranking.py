"""Ranking by temporal distance: of two neighbouring frames the earlier one lies closer to the first frame.

Lu, Tavabi & Soleymani, Self-supervised Learning for Facial Action Unit Recognition through Temporal
Consistency, BMVC 2020. CLP's triplets differ: plain instead of squared distance, weights, a reversed pass.
"""

from __future__ import annotations

from torch import Tensor

from mien.losses.precision import full_precision
from mien.losses.unit import unit


@full_precision
def temporal_ranking(embeddings_BTD: Tensor, *, margin: float) -> Tensor:
    """Sum over the T - 2 neighbouring pairs of max(0, D_t - D_t+1 + margin), mean over the clips.

    D_t is the squared distance of frame t to frame 0 on the unit sphere, in [0, 4]. Rows are normalised here.
    (T - 2) * margin where a clip's frames all coincide; 0 where distance grows by the margin at each frame.
    """
    unit_BTD = unit(embeddings_BTD)
    squared_distance_BT = (unit_BTD[:, 1:] - unit_BTD[:, :1]).square().sum(dim=2)
    violation_BT = squared_distance_BT[:, :-1] - squared_distance_BT[:, 1:] + margin
    return violation_BT.clamp_min(0.0).sum(dim=1).mean()
