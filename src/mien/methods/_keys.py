"""What MoCo, CVC and CLP share: a momentum encoder's keys, which enter the memory banks after their step."""

from __future__ import annotations

import torch

from mien.layers.memory_bank import BankRows, MemoryBank
from mien.layers.momentum import MomentumEncoder
from mien.train.method import ClipBatch, Method, Views

VIDEOS_OF_PAPER = 48_000
SMALLEST_BANK = 512


class KeyMethod(Method):
    """A method whose memory banks each take in the rows that `_keys` gives for them, in their order."""

    momentum: MomentumEncoder
    _keys_of_step: tuple[BankRows, ...] = ()

    def warm_start(self, batch: ClipBatch, views: Views) -> bool:
        """Enqueue the keys of one batch; True when all banks are full."""
        if not self._banks_full():
            self._keys_of_step = self._keys(batch, views, generator=None)
            self.after_step()
        return self._banks_full()

    def after_step(self) -> None:
        """Put the step's keys into the banks, after backward: autograd reads the banks until then."""
        for bank, rows in zip(self._banks(), self._keys_of_step, strict=False):
            bank.enqueue(rows.rows_MD, rows.identity_M, rows.video_M)
        self._keys_of_step = ()

    def _keys(
        self, batch: ClipBatch, views: Views, *, generator: torch.Generator | None
    ) -> tuple[BankRows, ...]:
        """Rows for each bank, in the order of the batch where there is no generator."""
        raise NotImplementedError

    def _banks(self) -> list[MemoryBank]:
        return [part for part in self.children() if isinstance(part, MemoryBank)]

    def _banks_full(self) -> bool:
        return all(bank.filled == bank.size for bank in self._banks())


def rows_for_corpus(rows_of_paper: int, *, num_videos: int) -> int:
    """The paper's rows a video times `num_videos`: a larger bank holds several stale keys of every video."""
    return max(SMALLEST_BANK, round(rows_of_paper * num_videos / VIDEOS_OF_PAPER))
