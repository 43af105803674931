"""Batch-norm whose statistics are not those of one device's batch: of all devices, or of groups of rows."""

from __future__ import annotations

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.nn.functional import all_reduce
from torch.nn.modules.batchnorm import _BatchNorm

from mien.layers.gather import world_size


def share_batch_statistics(module: nn.Module, *, device_type: str) -> None:
    """Make every batch-norm of `module` one over all processes, in place and under the same names.

    Those in groups are left as they are: statistics over all rows would undo the groups.
    """
    _replace(module, nn.SyncBatchNorm if device_type == "cuda" else _CpuSyncBatchNorm)


def group_batch_statistics(module: nn.Module) -> None:
    """Make every batch-norm of `module` a `GroupedBatchNorm`, in place and under the same names."""
    _replace(module, GroupedBatchNorm)


def set_groups(module: nn.Module, groups: int) -> None:
    """Into how many groups each `GroupedBatchNorm` of `module` splits its rows."""
    for part in module.modules():
        if isinstance(part, GroupedBatchNorm):
            part.groups = groups


def _replace(module: nn.Module, kind: type[_BatchNorm]) -> None:
    for name, child in module.named_children():
        if not isinstance(child, _BatchNorm):
            _replace(child, kind)
        elif not isinstance(child, GroupedBatchNorm):
            new = kind(child.num_features, child.eps, child.momentum, child.affine, child.track_running_stats)
            for tensor_name, tensor in (*child.named_parameters(), *child.named_buffers()):
                setattr(new, tensor_name, tensor)
            setattr(module, name, new.train(child.training))


class _OfAnyShape(_BatchNorm):
    def _check_input_dim(self, input: Tensor) -> None:
        if input.ndim < 2:
            raise ValueError(f"batch-norm takes (N, C, ...), got {tuple(input.shape)}")


class GroupedBatchNorm(_OfAnyShape):
    """Batch-norm of `groups` parts of a batch, one after another, as if run once for each."""

    groups = 1

    def forward(self, input: Tensor) -> Tensor:
        """(N, C, ...) normalised per channel and group; groups are neighbours of about equal size."""
        if not self.training or self.groups == 1:
            return super().forward(input)
        return torch.cat([_BatchNorm.forward(self, rows) for rows in input.tensor_split(self.groups)])


class _CpuSyncBatchNorm(_OfAnyShape):
    """What torch's SyncBatchNorm is on GPUs; torch has none for the CPU. Each process brings as many rows."""

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
