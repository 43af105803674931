"""Agreement among the processes of a run: when to stop, equal states, lost processes."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta

import torch
import torch.distributed as dist
from torch import Tensor

from mien.layers.gather import world_size

TIMEOUT = timedelta(minutes=10)  # a process that does not respond for so long counts as lost
_OF_ONE_PROCESS = re.compile(r"running_mean$|running_var$|num_batches_tracked$")  # batch-norm
_LOST = re.compile(r"connection (closed|reset)|broken pipe|timed out|timeout|socket|unavailable", re.I)


class LostRankError(OSError):
    """Another process of the run is lost; files on the disk are not affected."""


class RanksDisagreeError(ValueError):
    """The processes have different weights or banks, so training further would be useless."""


class Ranks:
    """Collectives over a CPU process group (gloo), which never wait for a device.

    That group also notices a lost process at the next step, where a GPU's collectives would hang.
    """

    def __init__(self) -> None:
        self._group = dist.new_group(backend="gloo", timeout=TIMEOUT) if world_size() > 1 else None

    def any(self, here: bool) -> bool:
        """True on every process when it is true on one; waits for all."""
        if self._group is None:
            return here
        flag = torch.tensor(here, dtype=torch.uint8)
        dist.all_reduce(flag, op=dist.ReduceOp.MAX, group=self._group)
        return bool(flag)

    def mean(self, values: Tensor) -> Tensor:
        """The mean of a CPU tensor over all processes."""
        if self._group is None:
            return values
        total = values.clone()
        dist.all_reduce(total, group=self._group)
        return total / world_size()

    def require_same(self, state: Mapping[str, Tensor], *, step: int) -> None:
        """RanksDisagreeError naming the first tensor that differs between processes.

        Sums of bits are compared, not the tensors. Batch-norm's running statistics are each process's own.
        """
        if self._group is None:
            return
        names = [name for name in state if not _OF_ONE_PROCESS.search(name)]
        sums_N = torch.stack([checksum(state[name]) for name in names]).cpu()
        low_N, high_N = sums_N.clone(), sums_N.clone()
        dist.all_reduce(low_N, op=dist.ReduceOp.MIN, group=self._group)
        dist.all_reduce(high_N, op=dist.ReduceOp.MAX, group=self._group)
        differing = [name for name, low, high in zip(names, low_N, high_N, strict=True) if low != high]
        if differing:
            raise RanksDisagreeError(
                f"the processes hold different values of {differing[0]} ({len(differing)} of {len(names)} "
                f"tensors differ) after step {step}, so the run was ended and not saved there. The same "
                "command goes on from the checkpoint before; if it happens again, the method or the backbone "
                "draws from a state that is not shared"
            )


@torch.no_grad()
def checksum(tensor: Tensor) -> Tensor:
    """An int64 that follows from a tensor's bits and their places, on its device."""
    values = tensor.detach().contiguous().flatten()
    if values.dtype in (torch.float64, torch.int64):
        bits_N = values.view(torch.int64)
    elif values.dtype in (torch.float32, torch.int32):
        bits_N = values.view(torch.int32).long()
    else:
        bits_N = values.view(torch.uint8).long()
    odd_N = 2 * torch.arange(len(bits_N), device=bits_N.device) + 1
    return (bits_N * odd_N).sum()


@contextmanager
def noticing_lost_ranks(*, newest: Callable[[], str]) -> Iterator[None]:
    """Turn the errors of a broken collective into a LostRankError that names the newest checkpoint."""
    try:
        yield
    except RuntimeError as error:
        if world_size() == 1 or not (isinstance(error, dist.DistError) or _LOST.search(str(error))):
            raise
        raise LostRankError(
            f"another of the {world_size()} processes is lost ({str(error).strip().partition(chr(10))[0]}). "
            f"The newest checkpoint is {newest()}; the same command goes on from it"
        ) from error
