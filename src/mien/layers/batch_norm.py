"""Batch-norm over the rows of all processes: the statistics of one device that holds the whole batch."""

from __future__ import annotations

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.nn.functional import all_reduce
from torch.nn.modules.batchnorm import _BatchNorm

from mien.layers.gather import world_size
from mien.layers.momentum import MomentumEncoder


def share_batch_statistics(module: nn.Module, *, device_type: str) -> None:
    """Make every batch-norm of `module` one over all processes, in place and under the same names.

    Momentum encoders are left as they are: their batches are shuffled into groups of their own
    (`mien.layers.shuffle`), and statistics over all rows would undo that.
    """
    for name, child in module.named_children():
        if isinstance(child, _BatchNorm):
            setattr(module, name, _over_all_processes(child, device_type))
        elif not isinstance(child, MomentumEncoder):
            share_batch_statistics(child, device_type=device_type)


def _over_all_processes(norm: _BatchNorm, device_type: str) -> nn.Module:
    if device_type == "cuda":
        synchronised: nn.Module = nn.SyncBatchNorm.convert_sync_batchnorm(norm)  # type: ignore[no-untyped-call]
        return synchronised
    ours = _CpuSyncBatchNorm(
        norm.num_features, norm.eps, norm.momentum, norm.affine, norm.track_running_stats
    )
    if norm.running_mean is not None:
        ours.to(norm.running_mean)  # its device and dtype
    ours.load_state_dict(norm.state_dict())
    ours.train(norm.training)
    return ours


class _CpuSyncBatchNorm(_BatchNorm):
    """What torch's SyncBatchNorm is on GPUs; torch has none for the CPU. Each process brings as many rows."""

    def _check_input_dim(self, input: Tensor) -> None:
        if input.ndim < 2:
            raise ValueError(f"batch-norm takes (N, C, ...), got {tuple(input.shape)}")

    def forward(self, input: Tensor) -> Tensor:
        """(N, C, ...) normalised a channel."""
        if not self.training or world_size() == 1:
            return super().forward(input)
        rows_NC = input.movedim(1, -1).flatten(0, -2)
        # The mean first and the squares about it: the difference of two large sums would lose digits.
        mean_C = _mean_over_processes(rows_NC.mean(dim=0))
        variance_C = _mean_over_processes((rows_NC - mean_C).square().mean(dim=0))
        self._follow(mean_C.detach(), variance_C.detach(), num_rows=len(rows_NC) * world_size())
        normal_NC = (rows_NC - mean_C) * torch.rsqrt(variance_C + self.eps)
        if self.affine:
            normal_NC = normal_NC * self.weight + self.bias
        return normal_NC.view(input.movedim(1, -1).shape).movedim(-1, 1)

    @torch.no_grad()
    def _follow(self, mean_C: Tensor, variance_C: Tensor, *, num_rows: int) -> None:
        if self.running_mean is None or self.running_var is None or self.num_batches_tracked is None:
            return
        self.num_batches_tracked.add_(1)
        share = 1.0 / float(self.num_batches_tracked) if self.momentum is None else self.momentum
        self.running_mean.lerp_(mean_C, share)
        self.running_var.lerp_(variance_C * (num_rows / max(1, num_rows - 1)), share)


def _mean_over_processes(value: Tensor) -> Tensor:
    total: Tensor = all_reduce(value, op=dist.ReduceOp.SUM)  # type: ignore[no-untyped-call]
    return total / world_size()
