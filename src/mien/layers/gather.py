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


@torch.no_grad()
def mean_over_processes(value: Tensor) -> Tensor:
    """The mean of a tensor over all processes, without gradient, the same bits on each."""
    if world_size() == 1:
        return value.detach()
    total = value.detach().clone()
    dist.all_reduce(total)
    return total / world_size()


@torch.no_grad()
def exchange_rows(rows: Tensor, order: Tensor) -> Tensor:
    """This process's share of all processes' rows put in `order`, without any process holding them all.

    `order` lies on the CPU, is the same on all processes, and numbers the rows by rank: row i of rank r is
    r * len(rows) + i. Equals `gather_rows(rows)[order].tensor_split(world_size())[rank()]`.
    """
    if world_size() == 1:
        return rows.detach()[order.to(rows.device, non_blocking=True)]
    N = len(rows)
    source_WN = (order // N).view(world_size(), N)
    ours_WN = source_WN == rank()
    outgoing = rows.detach()[(order % N).view_as(source_WN)[ours_WN].to(rows.device, non_blocking=True)]
    counts_out: list[int] = ours_WN.sum(dim=1).tolist()
    counts_in: list[int] = source_WN[rank()].bincount(minlength=world_size()).tolist()
    incoming = torch.empty_like(outgoing)
    dist.all_to_all_single(incoming, outgoing.contiguous(), counts_in, counts_out)
    shuffled = torch.empty_like(incoming)
    shuffled[source_WN[rank()].argsort(stable=True).to(rows.device, non_blocking=True)] = incoming
    return shuffled


def draw_rows(num_rows: int, *shape: int, generator: torch.Generator) -> Tensor:
    """(num_rows, *shape) uniform numbers, on the CPU, for this process's rows.

    Drawn for the rows of all processes from a generator that they share, so that a row's numbers do not
    depend on how many processes the rows are spread over.
    """
    drawn = torch.rand(world_size() * num_rows, *shape, generator=generator)
    return drawn[rank() * num_rows :][:num_rows]
