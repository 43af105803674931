"""CVC (CycleContrast): a frame finds another frame of its video, directly and through other videos' frames.

Wu & Wang, Contrastive Learning of Image Representations with Cross-Video Cycle-Consistency, ICCV 2021. Its
cycle is the model of CLP's cross-identity reconstruction: there the key is another view of the same frame.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from mien.backbones import Backbone
from mien.layers.gather import gather_rows
from mien.layers.memory_bank import MemoryBank
from mien.layers.mlp import mlp
from mien.layers.momentum import MomentumEncoder
from mien.losses.cross_identity_reconstruction import cross_identity_reconstruction
from mien.losses.info_nce import info_nce
from mien.losses.precision import full_precision
from mien.losses.unit import unit
from mien.methods._bank_size import rows_for_corpus
from mien.methods._diagnostics import effective_rank
from mien.methods._pairs import in_random_order
from mien.train.method import METHODS, ClipBatch, ClipRequest, Method, StepOutput, Views


@dataclass(frozen=True)
class _Keys:
    main_ND: Tensor
    cycle_ND: Tensor
    identity_N: Tensor
    video_N: Tensor


@METHODS.register("cvc")
class Cvc(Method):
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
        self._keys_of_step: _Keys | None = None

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

    def warm_start(self, batch: ClipBatch, views: Views) -> bool:
        """Enqueue the keys of one batch; True when both banks are full."""
        if not self._banks_full():
            key_views = views.independent(batch.far_BLHWC[:, :1]).flatten(0, 1)
            self._enqueue(self._keys(key_views, batch, generator=None))
        return self._banks_full()

    def before_step(self) -> None:
        """Let the momentum encoder follow."""
        self.momentum.update(self.backbone, self.heads, mu=self.settings.mu)

    def training_step(self, batch: ClipBatch, views: Views, generator: torch.Generator) -> StepOutput:
        """InfoNCE within the video + cycle_weight * InfoNCE of what the cycle brings back."""
        query_views, key_views = in_random_order(views.independent(batch.far_BLHWC), generator)
        self._keys_of_step = self._keys(key_views, batch, generator=generator)
        return self._loss(self.backbone(query_views), self._keys_of_step, generator)

    def after_step(self) -> None:
        """Put the step's keys into the banks, after backward: autograd reads them until then."""
        if self._keys_of_step is not None:
            self._enqueue(self._keys_of_step)
        self._keys_of_step = None

    @full_precision
    def _loss(self, features_ND: Tensor, keys: _Keys, generator: torch.Generator) -> StepOutput:
        main_ND, cycle_ND = self.heads(features_ND).chunk(2, dim=1)
        intra = info_nce(
            main_ND,
            keys.main_ND,
            self.bank.rows_MD[: self.bank.filled],
            temperature=self.settings.temperature,
        ).mean()
        candidates, negatives = self.cycle_bank.split(self._num_candidates, generator=generator)
        cycle = cross_identity_reconstruction(
            cycle_ND,
            keys.cycle_ND,
            candidates.rows_MD,
            negatives.rows_MD,
            temperature=self.settings.temperature,
            reconstruction_temperature=self.settings.temperature_of_cycle,
        ).loss
        logs = {"loss_intra": intra.detach(), "loss_cycle": cycle.detach()}
        logs["effective_rank"] = effective_rank(features_ND, diagnosing=self.diagnosing)
        return StepOutput(intra + self.settings.cycle_weight * cycle, logs)

    def _keys(self, key_views: Tensor, batch: ClipBatch, *, generator: torch.Generator | None) -> _Keys:
        rows = self.settings.key_batch_norm_rows
        key_ND = self.momentum.keys(key_views, rows_per_group=rows, generator=generator)
        main_ND, cycle_ND = key_ND.chunk(2, dim=1)
        return _Keys(unit(main_ND), unit(cycle_ND), batch.identity_B, batch.video_B)

    def _enqueue(self, keys: _Keys) -> None:
        identity_N, video_N = gather_rows(keys.identity_N), gather_rows(keys.video_N)
        self.bank.enqueue(gather_rows(keys.main_ND), identity_N, video_N)
        self.cycle_bank.enqueue(gather_rows(keys.cycle_ND), identity_N, video_N)

    def _banks_full(self) -> bool:
        return all(bank.filled == bank.size for bank in (self.bank, self.cycle_bank))


class _TwoHeads(nn.Module):
    """(N, 2 D): the main head's rows beside the cycle head's."""

    def __init__(self, main: nn.Module, cycle: nn.Module) -> None:
        super().__init__()
        self.main = main
        self.cycle = cycle

    def forward(self, features_ND: Tensor) -> Tensor:
        return torch.cat([self.main(features_ND), self.cycle(features_ND)], dim=1)
