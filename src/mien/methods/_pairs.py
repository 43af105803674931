"""Two frames of one person: their views, and in which order they come, which the loader leaves to time."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from mien.layers.gather import draw_rows
from mien.train.method import Views

PairViews = Literal["independent", "shared"]


def source_and_target(
    frames_B2HWC: Tensor, views: Views, generator: torch.Generator, *, views_in_pair: PairViews
) -> tuple[Tensor, Tensor]:
    """(B, C, H, W) twice: views of the two frames of each row, which is the source left to chance."""
    draw = views.shared if views_in_pair == "shared" else views.independent
    return in_random_order(draw(frames_B2HWC), generator)


def in_random_order(views_B2CHW: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """(B, C, H, W) twice: the two frames of each row, which comes first left to chance."""
    swapped_B = draw_rows(len(views_B2CHW), generator=generator) < 0.5
    swapped_B111 = swapped_B.to(views_B2CHW.device, non_blocking=True)[:, None, None, None]
    earlier, later = views_B2CHW.unbind(dim=1)
    return torch.where(swapped_B111, later, earlier), torch.where(swapped_B111, earlier, later)
