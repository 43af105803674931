"""Shuffled batch-norm: a key shares no batch statistics with its query (MoCo, arXiv 1911.05722, sec. 3.3)."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from mien.layers.gather import exchange_rows, gather_rows, rank, world_size

FORMER_SETTINGS = {  # of methods with such keys
    "key_batch_norm_groups": "set key_batch_norm_rows, the keys in a group, in place of the number of groups",
}


@torch.no_grad()
def encode_shuffled(
    encode: Callable[[Tensor], Tensor],
    images_NCHW: Tensor,
    *,
    rows_per_group: int,
    generator: torch.Generator | None,
) -> Tensor:
    """(N, D) rows of `encode` on this process's N images, without gradient.

    The images of all processes are put in one random order, encoded in groups of about equal size, each with
    its own batch statistics, and put back. A group has `rows_per_group` rows or somewhat more and never spans
    two processes; a process with fewer rows encodes them as one group. So 128 rows in groups of 32 give the
    same four groups on 1, 2 and 4 processes. Without a `generator` the order stays; with one, it must stand
    alike on all processes. ValueError for groups of one row, which batch-norm would erase.

    Each process sends and receives N images, whatever the number of processes; only the rows are gathered.
    """
    if rows_per_group < 2:
        raise ValueError(f"key_batch_norm_rows = {rows_per_group}: at least 2, better 32")
    order = _order(len(images_NCHW) * world_size(), generator)
    # Sent as they lie in memory: views are channels-last, which convolutions prefer.
    ours = exchange_rows(images_NCHW.permute(0, 2, 3, 1), order).permute(0, 3, 1, 2)
    groups = max(1, len(ours) // rows_per_group)
    shuffled_rows = gather_rows(torch.cat([encode(group) for group in ours.tensor_split(groups)]))
    places_of_ours = order.argsort().tensor_split(world_size())[rank()]
    return shuffled_rows[places_of_ours.to(shuffled_rows.device, non_blocking=True)]


def _order(num_rows: int, generator: torch.Generator | None) -> Tensor:
    return torch.arange(num_rows) if generator is None else torch.randperm(num_rows, generator=generator)
