"""Supervised training on labelled frames: the row "ResNet-34" of the paper's tables, and what labels can do.

The backbone and one linear layer, end to end, on action units or on expressions.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mien.backbones import Backbone
from mien.facs import action_unit
from mien.losses.action_unit_bce import action_unit_bce, balancing_weights
from mien.losses.precision import full_precision
from mien.train.method import METHODS, ClipBatch, ClipRequest, Method, StepOutput, Views


class _Supervised(Method):
    """A linear layer on the feature of labelled frames."""

    def __init__(self, backbone: Backbone, num_outputs: int) -> None:
        super().__init__(backbone)
        self.classifier = nn.Linear(backbone.feature_dim, num_outputs)

    def encoder_rows(self, clips: int) -> int:
        """One view of each frame."""
        return clips

    def training_step(self, batch: ClipBatch, views: Views, generator: torch.Generator) -> StepOutput:
        """Cross-entropy of the coded labels."""
        labels_NK = batch.far_labels().flatten(0, 1)
        return self._loss(self.backbone(views.independent(batch.far_BLHWC).flatten(0, 1)), labels_NK)

    def _loss(self, features_ND: Tensor, labels_NK: Tensor) -> StepOutput:
        raise NotImplementedError


@METHODS.register("supervised_action_units")
class SupervisedActionUnits(_Supervised):
    """One sigmoid per action unit; presence and absence weigh alike over all frames seen so far."""

    counts_2A: Tensor

    @dataclass(frozen=True)
    class Settings:
        """Which action units, and how their table codes them."""

        action_units: tuple[int, ...] = (1, 2, 4, 6, 7, 10, 12, 14, 15, 17, 23, 24)  # those of BP4D
        occurs_at: float = 1.0  # label from which it counts as present: 1 for occurrence, 2 for intensity

        def __post_init__(self) -> None:
            for number in self.action_units:
                action_unit(number)

    def __init__(self, backbone: Backbone, settings: Settings) -> None:
        super().__init__(backbone, len(settings.action_units))
        self.settings = settings
        self.register_buffer("counts_2A", torch.zeros(2, len(settings.action_units)))  # absent, present

    @classmethod
    def clip_request(cls, settings: Settings) -> ClipRequest:
        """One frame per video, with its action units."""
        columns = tuple(action_unit(number).column for number in settings.action_units)
        return ClipRequest(clip_len=0, num_far_frames=1, label_columns=columns)

    @full_precision
    def _loss(self, features_ND: Tensor, labels_NK: Tensor) -> StepOutput:
        occurs_NA = (labels_NK >= self.settings.occurs_at).float()
        occurrence_NA = torch.where(labels_NK.isnan(), labels_NK, occurs_NA)
        self.counts_2A += torch.stack([(occurrence_NA == value).sum(dim=0) for value in (0, 1)])
        present_weight_A, absent_weight_A = balancing_weights(self.counts_2A[1], self.counts_2A[0])
        loss = action_unit_bce(
            self.classifier(features_ND),
            occurrence_NA,
            present_weight_A=present_weight_A,
            absent_weight_A=absent_weight_A,
        )
        return StepOutput(loss, {"coded": (~occurrence_NA.isnan()).float().mean()})


@METHODS.register("supervised_expression")
class SupervisedExpression(_Supervised):
    """A softmax over expressions."""

    @dataclass(frozen=True)
    class Settings:
        """Which column holds the expression; seven classes as in RAF-DB."""

        num_expressions: int = 7
        label_column: str = "expression"  # of the table data.labels: 0 to num_expressions - 1

    def __init__(self, backbone: Backbone, settings: Settings) -> None:
        super().__init__(backbone, settings.num_expressions)
        self.settings = settings

    @classmethod
    def clip_request(cls, settings: Settings) -> ClipRequest:
        """One frame per video, with its expression."""
        return ClipRequest(clip_len=0, num_far_frames=1, label_columns=(settings.label_column,))

    @full_precision
    def _loss(self, features_ND: Tensor, labels_NK: Tensor) -> StepOutput:
        label_N, logits_NE = labels_NK[:, 0], self.classifier(features_ND)
        coded_N, expression_N = ~label_N.isnan(), label_N.nan_to_num(nan=-1).long()
        losses_N = F.cross_entropy(logits_NE, expression_N, ignore_index=-1, reduction="none")
        right_N = (logits_NE.argmax(dim=1) == expression_N)[coded_N].float()
        return StepOutput(losses_N.sum() / coded_N.sum().clamp_min(1), {"accuracy": right_N.mean()})
