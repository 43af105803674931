"""Rows of all processes; without torch.distributed there is one process."""

from __future__ import annotations

import torch
import torch.distributed as dist
from torch import Tensor


def world_size() -> int:
    """How many processes train together."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def rank() -> int:
    """This process's number, from 0."""
    return dist.get_rank() if dist.is_available() and dist.is_initialized() else 0


@torch.no_grad()
def gather_rows(rows: Tensor) -> Tensor:
    """The rows of all processes in the order of their ranks, without gradient; each must bring as many."""
    if world_size() == 1:
        return rows.detach()
    rows = rows.detach().contiguous()
    parts = [torch.empty_like(rows) for _ in range(world_size())]
    dist.all_gather(parts, rows)
    return torch.cat(parts)


def shared_permutation(num_rows: int, *, generator: torch.Generator, device: torch.device) -> Tensor:
    """A random order of 0 .. num_rows - 1, the first process's draw on all of them."""
    order = torch.randperm(num_rows, generator=generator).to(device)
    if world_size() > 1:
        dist.broadcast(order, src=0)
    return order
