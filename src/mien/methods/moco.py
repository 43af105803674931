"""MoCo: a view finds the other view's slowly moving key among the keys of earlier frames. EmoCo: per emotion.

He et al., Momentum Contrast for Unsupervised Visual Representation Learning, CVPR 2020 (v1); Chen et al.,
Improved Baselines with Momentum Contrastive Learning, arXiv 2003.04297 (v2). v1: hidden_dims = [],
temperature = 0.07; the views that go with each are the recipe's. The bank starts with keys, not with noise.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mien.backbones import Backbone
from mien.layers.memory_bank import BankRows, MemoryBank
from mien.layers.mlp import mlp
from mien.layers.momentum import MomentumEncoder
from mien.losses.info_nce import info_nce_logits, rows_of_first
from mien.losses.precision import full_precision
from mien.losses.unit import unit
from mien.methods._diagnostics import effective_rank
from mien.methods._keys import KeyMethod, rows_for_corpus
from mien.train.method import METHODS, ClipBatch, ClipRequest, StepOutput, Views

UNKNOWN = -1  # emotion


@METHODS.register("moco")
class Moco(KeyMethod):
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

    @classmethod
    def fit_to_corpus(cls, settings: Settings, *, num_videos: int) -> Settings:
        """A bank left open (0) is to this corpus what 65 536 rows are to the paper's."""
        size = settings.bank_size or rows_for_corpus(65536, num_videos=num_videos)
        return replace(settings, bank_size=size)

    def encoder_rows(self, clips: int) -> int:
        """One query a frame; keys have no gradient."""
        return clips

    def before_step(self) -> None:
        """Let the momentum encoder follow."""
        self.momentum.update(self.backbone, self.head, mu=self.settings.mu)

    def training_step(self, batch: ClipBatch, views: Views, generator: torch.Generator) -> StepOutput:
        """InfoNCE of each query with its key against the bank; the keys wait for `after_step`."""
        query_views = views.independent(batch.far_BLHWC).flatten(0, 1)
        self._keys_of_step = self._keys(batch, views, generator=generator)
        return self._loss(self.backbone(query_views), *self._keys_of_step)

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

    def _keys(self, batch: ClipBatch, views: Views, *, generator: torch.Generator | None) -> tuple[BankRows]:
        key_views = views.independent(batch.far_BLHWC).flatten(0, 1)
        rows = self.settings.key_batch_norm_rows
        key_ND = unit(self.momentum.keys(key_views, rows_per_group=rows, generator=generator))
        return (BankRows(key_ND, batch.identity_B, batch.video_B),)


@METHODS.register("emoco")
class EmoCo(Moco):
    """MoCo whose negatives share the query's emotion, and a linear classifier of emotion on the feature.

    Sun, Zeng & Shan, EmoCo, FG 2021, reconstructed from the abstract alone: faces of the same emotion are
    told apart, so that the features separate more than emotions. It needs labels of emotion, so it is left
    out of a comparison on unlabelled video.
    """

    @dataclass(frozen=True)
    class Settings(Moco.Settings):
        """MoCo v2's values; the classifier's are AffectNet's."""

        num_emotions: int = 8
        label_column: str = "emotion"  # of the table data.labels: 0 to num_emotions - 1
        emotion_weight: float = 1.0

    settings: Settings

    def __init__(self, backbone: Backbone, settings: Settings) -> None:
        super().__init__(backbone, settings)
        self.classifier = nn.Linear(backbone.feature_dim, settings.num_emotions)

    @classmethod
    def clip_request(cls, settings: Settings) -> ClipRequest:
        """One frame a video, with its emotion."""
        return replace(super().clip_request(settings), label_columns=(settings.label_column,))

    @full_precision
    def _loss(self, features_ND: Tensor, keys: BankRows) -> StepOutput:
        contrast = super()._loss(features_ND, keys)
        logits_NE, emotion_N = self.classifier(features_ND), keys.identity_M
        known_N = emotion_N != UNKNOWN
        losses_N = F.cross_entropy(logits_NE, emotion_N, ignore_index=UNKNOWN, reduction="none")
        emotion_loss = losses_N.sum() / known_N.sum().clamp_min(1)
        num_right = (known_N & (logits_NE.argmax(dim=1) == emotion_N)).sum()
        accuracy = num_right / known_N.sum()  # NaN, undefined, where none is known
        logs = contrast.logs | {"loss_emotion": emotion_loss.detach(), "emotion_accuracy": accuracy}
        return StepOutput(contrast.loss + self.settings.emotion_weight * emotion_loss, logs)

    def _masked(self, keys: BankRows) -> Tensor:
        return keys.identity_M[:, None] != self.bank.identity_M[: self.bank.filled]

    def _keys(self, batch: ClipBatch, views: Views, *, generator: torch.Generator | None) -> tuple[BankRows]:
        """Keys whose identity is the emotion: it says which rows of the bank are negatives."""
        emotion_N = batch.far_labels()[:, 0, 0].nan_to_num(nan=UNKNOWN).long()
        (keys,) = super()._keys(batch, views, generator=generator)
        return (replace(keys, identity_M=emotion_N),)
