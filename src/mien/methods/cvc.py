"""CVC (CycleContrast): a frame finds another frame of its video, directly and through other videos' frames.

Wu & Wang, Contrastive Learning of Image Representations with Cross-Video Cycle-Consistency, ICCV 2021. Its
cycle is the model of CLP's cross-identity reconstruction: there the key is another view of the same frame.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from mien.backbones import Backbone
from mien.layers.memory_bank import BankRows, MemoryBank
from mien.layers.mlp import mlp
from mien.layers.momentum import MomentumEncoder
from mien.losses.cross_identity_reconstruction import cross_identity_reconstruction
from mien.losses.info_nce import info_nce
from mien.losses.precision import full_precision
from mien.losses.unit import unit
from mien.methods._diagnostics import effective_rank
from mien.methods._keys import KeyMethod, rows_for_corpus
from mien.methods._pairs import in_random_order
from mien.train.method import METHODS, ClipBatch, ClipRequest, StepOutput, Views


@METHODS.register("cvc")
class Cvc(KeyMethod):
    """Backbone, a main and a cycle head, a momentum copy of the three, a bank for each head."""

    @dataclass(frozen=True)
    class Settings:
        """The release's values; the hidden map is that of CLP's heads."""

        hidden_dims: tuple[int, ...] = (256,)
        embedding_dim: int = 128
        temperature: float = 0.07
        temperature_of_cycle: float = 0.07  # of the attention over the candidates
        cycle_weight: float = 0.1
        bank_size: int = 65536  # 0: the same share of the corpus (`fit_to_corpus`), likewise the next
        cycle_bank_size: int = 81920
        candidate_share: float = 0.2  # of the cycle bank; the rest are negatives
        mu: float = 0.999  # the momentum encoder keeps this share of itself at each step
        key_batch_norm_rows: int = 128  # keys in a group with batch statistics of its own

        def __post_init__(self) -> None:
            if not 0.0 < self.candidate_share < 1.0:
                raise ValueError(f"candidate_share = {self.candidate_share}: between 0 and 1")

    def __init__(self, backbone: Backbone, settings: Settings) -> None:
        super().__init__(backbone)
        self.settings = settings
        widths = (backbone.feature_dim, *settings.hidden_dims, settings.embedding_dim)
        self.heads = _TwoHeads(mlp(*widths), mlp(*widths))
        self.momentum = MomentumEncoder(backbone, self.heads)
        self.bank = MemoryBank(settings.bank_size, settings.embedding_dim)
        self.cycle_bank = MemoryBank(settings.cycle_bank_size, settings.embedding_dim)
        self._num_candidates = round(settings.candidate_share * settings.cycle_bank_size)

    @classmethod
    def clip_request(cls, settings: Settings) -> ClipRequest:
        """Two frames of a track, any distance apart."""
        return ClipRequest(clip_len=0, num_far_frames=2, min_gap_frames=1)

    @classmethod
    def fit_to_corpus(cls, settings: Settings, *, num_videos: int) -> Settings:
        """Banks left open (0) are to this corpus what 65 536 and 81 920 rows are to the paper's."""
        main, cycle = (rows_for_corpus(rows, num_videos=num_videos) for rows in (65536, 81920))
        return replace(
            settings,
            bank_size=settings.bank_size or main,
            cycle_bank_size=settings.cycle_bank_size or cycle,
        )

    def encoder_rows(self, clips: int) -> int:
        """One query a video; the other frame is a key, without gradient."""
        return clips

    def before_step(self) -> None:
        """Let the momentum encoder follow."""
        self.momentum.update(self.backbone, self.heads, mu=self.settings.mu)

    def training_step(self, batch: ClipBatch, views: Views, generator: torch.Generator) -> StepOutput:
        """InfoNCE within the video + cycle_weight * InfoNCE of what the cycle brings back."""
        query_views, key_views = in_random_order(views.independent(batch.far_BLHWC), generator)
        self._keys_of_step = self._encoded(key_views, batch, generator=generator)
        return self._loss(self.backbone(query_views), *self._keys_of_step, generator=generator)

    @full_precision
    def _loss(
        self, features_ND: Tensor, main: BankRows, cycle: BankRows, *, generator: torch.Generator
    ) -> StepOutput:
        main_ND, cycle_ND = self.heads(features_ND).chunk(2, dim=1)
        intra = info_nce(
            main_ND,
            main.rows_MD,
            self.bank.rows_MD[: self.bank.filled],
            temperature=self.settings.temperature,
        ).mean()
        candidates, negatives = self.cycle_bank.split(self._num_candidates, generator=generator)
        loss_cycle = cross_identity_reconstruction(
            cycle_ND,
            cycle.rows_MD,
            candidates.rows_MD,
            negatives.rows_MD,
            temperature=self.settings.temperature,
            reconstruction_temperature=self.settings.temperature_of_cycle,
        ).loss
        logs = {"loss_intra": intra.detach(), "loss_cycle": loss_cycle.detach()}
        logs["effective_rank"] = effective_rank(features_ND, diagnosing=self.diagnosing)
        return StepOutput(intra + self.settings.cycle_weight * loss_cycle, logs)

    def _keys(
        self, batch: ClipBatch, views: Views, *, generator: torch.Generator | None
    ) -> tuple[BankRows, ...]:
        key_views = views.independent(batch.far_BLHWC[:, :1]).flatten(0, 1)
        return self._encoded(key_views, batch, generator=generator)

    def _encoded(
        self, key_views: Tensor, batch: ClipBatch, *, generator: torch.Generator | None
    ) -> tuple[BankRows, ...]:
        rows = self.settings.key_batch_norm_rows
        key_ND = self.momentum.keys(key_views, rows_per_group=rows, generator=generator)
        both = key_ND.chunk(2, dim=1)
        return tuple(BankRows(unit(rows_ND), batch.identity_B, batch.video_B) for rows_ND in both)


class _TwoHeads(nn.Module):
    """(N, 2 D): the main head's rows beside the cycle head's."""

    def __init__(self, main: nn.Module, cycle: nn.Module) -> None:
        super().__init__()
        self.main = main
        self.cycle = cycle

    def forward(self, features_ND: Tensor) -> Tensor:
        return torch.cat([self.main(features_ND), self.cycle(features_ND)], dim=1)
