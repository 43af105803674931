"""Shuffled batch-norm: a key shares no batch statistics with its query (MoCo, arXiv 1911.05722, sec. 3.3)."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from mien.layers.gather import gather_rows, rank, shared_permutation, world_size


@torch.no_grad()
def encode_shuffled(
    encode: Callable[[Tensor], Tensor],
    images_NCHW: Tensor,
    *,
    num_chunks: int,
    generator: torch.Generator | None,
) -> Tensor:
    """(N, D) rows of `encode` on this process's N images, without gradient.

    The images of all processes are put in one random order, encoded in `num_chunks` groups of about equal
    size, each with its own batch statistics, and put back. The groups are spread over the processes, at least
    one each, so that 1, 2 or 4 processes give the same groups for num_chunks = 4. A group has at least two
    rows. Without a `generator` the order stays.
    """
    # Gathered as they lie in memory: views are channels-last, which convolutions prefer.
    all_images = gather_rows(images_NCHW.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
    order = _order(len(all_images), generator, images_NCHW.device)
    ours = order.tensor_split(world_size())[rank()]
    groups = max(1, min(num_chunks // world_size(), len(ours) // 2))
    encoded = [encode(all_images[group]) for group in ours.tensor_split(groups)]
    shuffled_rows = gather_rows(torch.cat(encoded))
    rows = torch.empty_like(shuffled_rows)
    rows[order] = shuffled_rows
    return rows.tensor_split(world_size())[rank()]


def _order(num_rows: int, generator: torch.Generator | None, device: torch.device) -> Tensor:
    if generator is None:
        return torch.arange(num_rows, device=device)
    return shared_permutation(num_rows, generator=generator, device=device)
