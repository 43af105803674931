"""The memory bank: the latest keys with whose they are, split anew at each step."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from mien.layers.gather import gather_rows


@dataclass(frozen=True)
class BankRows:
    """Rows of the bank; a copy that later enqueuing does not touch."""

    rows_MD: Tensor
    identity_M: Tensor
    video_M: Tensor

    def __len__(self) -> int:
        return len(self.rows_MD)


class MemoryBank(nn.Module):
    """A ring of `size` rows, the oldest overwritten first, all of it in the state dict."""

    rows_MD: Tensor
    identity_M: Tensor
    video_M: Tensor

    def __init__(self, size: int, dim: int) -> None:
        super().__init__()
        self.size = size
        self.pointer = 0  # where the next row goes
        self.filled = 0  # rows that hold a key
        self.register_buffer("rows_MD", torch.zeros(size, dim))
        self.register_buffer("identity_M", torch.full((size,), -1))
        self.register_buffer("video_M", torch.full((size,), -1))

    @torch.no_grad()
    def enqueue(self, rows_ND: Tensor, identity_N: Tensor, video_N: Tensor) -> None:
        """Store the N rows of each process in their order; of more than `size` only the last remain.

        To be called after `backward`.
        """
        rows_ND, identity_N, video_N = (gather_rows(rows) for rows in (rows_ND, identity_N, video_N))
        num_rows = len(rows_ND)
        start = self.pointer + max(0, num_rows - self.size)
        places = (start + torch.arange(min(num_rows, self.size), device=rows_ND.device)) % self.size
        for stored, new in ((self.rows_MD, rows_ND), (self.identity_M, identity_N), (self.video_M, video_N)):
            stored[places] = new[-self.size :].to(stored)
        self.pointer = (self.pointer + num_rows) % self.size
        self.filled = min(self.filled + num_rows, self.size)

    def split(self, candidates_of_full: int, *, generator: torch.Generator) -> tuple[BankRows, BankRows]:
        """(candidates, negatives): the filled rows, drawn into two parts.

        `candidates_of_full` of a full bank's rows are candidates, and the same share of a part-filled one's.
        The same generator state gives the same split: all processes' are alike when their generators are.
        """
        order = torch.randperm(self.filled, generator=generator).to(self.rows_MD.device, non_blocking=True)
        num_candidates = round(self.filled * candidates_of_full / self.size)
        return self._rows_at(order[:num_candidates]), self._rows_at(order[num_candidates:])

    def _rows_at(self, places: Tensor) -> BankRows:
        # Read in the order in which they lie: several times as fast, and to a loss the order is nothing.
        places = places.sort().values
        return BankRows(self.rows_MD.index_select(0, places), self.identity_M[places], self.video_M[places])

    def get_extra_state(self) -> Tensor:
        """Pointer and filled count, which live on the host so that no step waits for the device."""
        return torch.tensor([self.pointer, self.filled])

    def set_extra_state(self, state: Tensor) -> None:
        """What `get_extra_state` gave."""
        self.pointer, self.filled = (int(value) for value in state)
