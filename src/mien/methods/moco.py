"""MoCo: a view finds the other view's slowly moving key among the keys of earlier frames.

He et al., Momentum Contrast for Unsupervised Visual Representation Learning, CVPR 2020 (v1); Chen et al.,
Improved Baselines with Momentum Contrastive Learning, arXiv 2003.04297 (v2). v1: hidden_dims = [],
temperature = 0.07; the views that go with each are the recipe's. The bank starts with keys, not with noise.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from mien.backbones import Backbone
from mien.layers.gather import gather_rows
from mien.layers.memory_bank import BankRows, MemoryBank
from mien.layers.mlp import mlp
from mien.layers.momentum import MomentumEncoder
from mien.losses.info_nce import info_nce_logits, rows_of_first
from mien.losses.precision import full_precision
from mien.losses.unit import unit
from mien.methods._bank_size import rows_for_corpus
from mien.methods._diagnostics import effective_rank
from mien.train.method import METHODS, ClipBatch, ClipRequest, Method, StepOutput, Views


@METHODS.register("moco")
class Moco(Method):
    """Backbone, one head, a momentum copy of both, a bank of keys."""

    @dataclass(frozen=True)
    class Settings:
        """The values of v2; the hidden map is that of CLP's heads."""

        hidden_dims: tuple[int, ...] = (256,)  # none: v1's linear head
        embedding_dim: int = 128
        temperature: float = 0.2
        bank_size: int = 65536  # 0: the same share of the corpus (`fit_to_corpus`)
        mu: float = 0.999  # the momentum encoder keeps this share of itself at each step
        key_batch_norm_rows: int = 64  # keys in a group with batch statistics of its own

    def __init__(self, backbone: Backbone, settings: Settings) -> None:
        super().__init__(backbone)
        self.settings = settings
        self.head = mlp(backbone.feature_dim, *settings.hidden_dims, settings.embedding_dim)
        self.momentum = MomentumEncoder(backbone, self.head)
        self.bank = MemoryBank(settings.bank_size, settings.embedding_dim)
        self._keys_of_step: BankRows | None = None

    @classmethod
    def clip_request(cls, settings: Settings) -> ClipRequest:
        """One frame per video: frames of one clip would be false negatives of each other."""
        return ClipRequest(clip_len=0, num_far_frames=1)

    @classmethod
    def fit_to_corpus(cls, settings: Settings, *, num_videos: int) -> Settings:
        """A bank left open (0) is to this corpus what 65 536 rows are to the paper's."""
        if settings.bank_size:
            return settings
        return replace(settings, bank_size=rows_for_corpus(65536, num_videos=num_videos))

    def encoder_rows(self, clips: int) -> int:
        """One query a frame; keys have no gradient."""
        return clips

    def warm_start(self, batch: ClipBatch, views: Views) -> bool:
        """Enqueue the keys of one batch; True when the bank is full."""
        if self.bank.filled < self.bank.size:
            self._enqueue(self._keys(batch, views, generator=None))
        return self.bank.filled == self.bank.size

    def before_step(self) -> None:
        """Let the momentum encoder follow."""
        self.momentum.update(self.backbone, self.head, mu=self.settings.mu)

    def training_step(self, batch: ClipBatch, views: Views, generator: torch.Generator) -> StepOutput:
        """InfoNCE of each query with its key against the bank; the keys wait for `after_step`."""
        query_views = views.independent(batch.far_BLHWC).flatten(0, 1)
        self._keys_of_step = self._keys(batch, views, generator=generator)
        return self._loss(self.backbone(query_views), self._keys_of_step)

    def after_step(self) -> None:
        """Put the step's keys into the bank, after backward: autograd reads the bank until then."""
        if self._keys_of_step is not None:
            self._enqueue(self._keys_of_step)
        self._keys_of_step = None

    @full_precision
    def _loss(self, features_ND: Tensor, keys: BankRows) -> StepOutput:
        logits_NM = info_nce_logits(
            self.head(features_ND),
            keys.rows_MD,
            self.bank.rows_MD[: self.bank.filled],
            temperature=self.settings.temperature,
            masked_NM=self._masked(keys),
        )
        found_N = (logits_NM.argmax(dim=1) == 0).float()
        logs = {
            "retrieval_accuracy": found_N.mean(),
            "effective_rank": effective_rank(features_ND, diagnosing=self.diagnosing),
        }
        return StepOutput(rows_of_first(logits_NM).mean(), logs)

    def _masked(self, keys: BankRows) -> Tensor | None:
        """True where a row of the bank is no negative of a query; None: all are."""
        return None

    def _keys(self, batch: ClipBatch, views: Views, *, generator: torch.Generator | None) -> BankRows:
        key_views = views.independent(batch.far_BLHWC).flatten(0, 1)
        rows = self.settings.key_batch_norm_rows
        key_ND = unit(self.momentum.keys(key_views, rows_per_group=rows, generator=generator))
        return BankRows(key_ND, batch.identity_B, batch.video_B)

    def _enqueue(self, rows: BankRows) -> None:
        self.bank.enqueue(gather_rows(rows.rows_MD), gather_rows(rows.identity_M), gather_rows(rows.video_M))
