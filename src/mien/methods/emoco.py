"""EmoCo: MoCo within each emotion, beside a classifier of the emotion.

Sun, Zeng & Shan, EmoCo, FG 2021, reconstructed from the abstract alone: instance discrimination among faces
of the same emotion, so that the features separate more than emotions. It needs emotion labels and so
stands outside a comparison on unlabelled video.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mien.backbones import Backbone
from mien.layers.memory_bank import BankRows
from mien.losses.precision import full_precision
from mien.methods.moco import Moco
from mien.train.method import METHODS, ClipBatch, ClipRequest, StepOutput, Views

UNKNOWN = -1


@METHODS.register("emoco")
class EmoCo(Moco):
    """MoCo whose negatives share the query's emotion, and a linear classifier on the feature."""

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
    def clip_request(cls, settings: Moco.Settings) -> ClipRequest:
        """One frame a video, with its emotion."""
        assert isinstance(settings, EmoCo.Settings)
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

    def _keys(self, batch: ClipBatch, views: Views, *, generator: torch.Generator | None) -> BankRows:
        """Keys whose identity is the emotion: it says which rows of the bank are negatives."""
        emotion_N = batch.far_labels()[:, 0, 0].nan_to_num(nan=UNKNOWN).long()
        return replace(super()._keys(batch, views, generator=generator), identity_M=emotion_N)
