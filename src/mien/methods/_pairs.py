"""Two frames of one person in a random order: the loader gives them as they lie in time."""

from __future__ import annotations

import torch
from torch import Tensor


def in_random_order(views_B2CHW: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """(B, C, H, W) twice: the two frames of each row, which comes first left to chance."""
    swapped_B = torch.rand(len(views_B2CHW), generator=generator) < 0.5
    swapped_B111 = swapped_B.to(views_B2CHW.device)[:, None, None, None]
    earlier, later = views_B2CHW.unbind(dim=1)
    return torch.where(swapped_B111, later, earlier), torch.where(swapped_B111, earlier, later)
