"""The momentum encoder: a running average of the encoder's weights (Li & Shan, TIP 2023, Eq. 5).

Batch-norm is shuffled: a key shares no batch statistics with its query (MoCo, arXiv 1911.05722, sec. 3.3).
"""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import get_ema_multi_avg_fn

from mien.layers.batch_norm import group_batch_statistics, set_groups
from mien.layers.gather import exchange_rows, gather_rows, rank, world_size


class MomentumEncoder(nn.Module):
    """A backbone and a head that follow another pair's weights and never receive a gradient.

    Starts as a copy. Only parameters are averaged; batch-norm keeps running statistics of its own.
    """

    def __init__(self, backbone: nn.Module, head: nn.Module) -> None:
        super().__init__()
        self.backbone = copy.deepcopy(backbone)
        self.head = copy.deepcopy(head)
        self.requires_grad_(False)
        group_batch_statistics(self)

    @torch.no_grad()
    def forward(self, images_NCHW: Tensor) -> Tensor:
        """(N, D) rows of the head, in float32 or better, not normalised."""
        features_ND: Tensor = self.backbone(images_NCHW)
        features_ND = features_ND.to(torch.promote_types(features_ND.dtype, torch.float32))
        with torch.autocast(features_ND.device.type, enabled=False):
            rows: Tensor = self.head(features_ND)
        return rows

    @torch.no_grad()
    def keys(self, images_NCHW: Tensor, *, rows_per_group: int, generator: torch.Generator | None) -> Tensor:
        """(N, D) rows of this process's N images, normalised by batch-norm in shuffled groups.

        The images of all processes are put in one random order, encoded with batch statistics of each group
        of neighbours, and put back. A group has `rows_per_group` rows or somewhat more and never spans two
        processes; a process with fewer rows has one group. So 128 rows in groups of 32 give the same four
        groups on 1, 2 and 4 processes. Without a `generator` the order stays; with one, it must stand alike
        on all processes. ValueError for groups of one row, which batch-norm would erase.

        Each process sends and receives N images, only the rows are gathered.
        """
        if rows_per_group < 2:
            raise ValueError(f"key_batch_norm_rows = {rows_per_group}: at least 2, better 32")
        num_rows = len(images_NCHW) * world_size()
        order = torch.arange(num_rows) if generator is None else torch.randperm(num_rows, generator=generator)
        # Sent as they lie in memory: views are channels-last, which convolutions prefer.
        ours = exchange_rows(images_NCHW.permute(0, 2, 3, 1), order).permute(0, 3, 1, 2)
        set_groups(self, max(1, len(ours) // rows_per_group))
        shuffled_rows = gather_rows(self(ours))
        set_groups(self, 1)
        places_of_ours = order.argsort().tensor_split(world_size())[rank()]
        return shuffled_rows[places_of_ours.to(shuffled_rows.device, non_blocking=True)]

    @torch.no_grad()
    def update(self, backbone: nn.Module, head: nn.Module, *, mu: float) -> None:
        """weights <- mu * weights + (1 - mu) * the encoder's; mu = 1 freezes, mu = 0 copies."""
        averages = [*self.backbone.parameters(), *self.head.parameters()]
        current = [*backbone.parameters(), *head.parameters()]
        average_all = get_ema_multi_avg_fn(mu)  # type: ignore[no-untyped-call]
        average_all(averages, current, 0)  # in one call
