"""MoCo among several frames of each video: the negatives are the bank and the other keys of the step."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from mien.layers.memory_bank import BankRows
from mien.layers.shuffle import encode_shuffled
from mien.losses.info_nce import info_nce_logits, rows_of_first
from mien.losses.precision import full_precision
from mien.losses.unit import unit
from mien.methods._diagnostics import effective_rank
from mien.methods.moco import Moco
from mien.train.method import METHODS, ClipBatch, ClipRequest, StepOutput, Views


@METHODS.register("within_video_moco")
class WithinVideoMoco(Moco):
    """MoCo v2 with L frames a video."""

    @dataclass(frozen=True)
    class Settings(Moco.Settings):
        """MoCo v2's values."""

        frames_per_video: int = 8
        min_gap_frames: int = 8

    settings: Settings

    @classmethod
    def clip_request(cls, settings: Moco.Settings) -> ClipRequest:
        """L frames of a track."""
        assert isinstance(settings, WithinVideoMoco.Settings)
        return ClipRequest(
            clip_len=0, num_far_frames=settings.frames_per_video, min_gap_frames=settings.min_gap_frames
        )

    def encoder_rows(self, clips: int) -> int:
        """One query a frame."""
        return clips * self.settings.frames_per_video

    @full_precision
    def _loss(self, features_ND: Tensor, keys: BankRows) -> StepOutput:
        N, filled = len(keys), self.bank.filled
        masked_NM = torch.zeros(N, filled + N, dtype=torch.bool, device=features_ND.device)
        masked_NM[:, filled:] = torch.eye(N, dtype=torch.bool, device=features_ND.device)
        logits_NM = info_nce_logits(
            self.head(features_ND),
            keys.rows_MD,
            torch.cat([self.bank.rows_MD[:filled], keys.rows_MD]),
            temperature=self.settings.temperature,
            masked_NM=masked_NM,
        )
        found_N = (logits_NM.argmax(dim=1) == 0).float()
        logs = {
            "retrieval_accuracy": found_N.mean(),
            "effective_rank": effective_rank(features_ND, diagnosing=self.diagnosing),
        }
        return StepOutput(rows_of_first(logits_NM).mean(), logs)

    def _keys(self, batch: ClipBatch, views: Views, *, generator: torch.Generator | None) -> BankRows:
        L = self.settings.frames_per_video
        key_views = views.independent(batch.far_BLHWC).flatten(0, 1)
        groups = self.settings.key_batch_norm_groups
        key_ND = unit(encode_shuffled(self.momentum, key_views, num_chunks=groups, generator=generator))
        return BankRows(key_ND, batch.identity_B.repeat_interleave(L), batch.video_B.repeat_interleave(L))
