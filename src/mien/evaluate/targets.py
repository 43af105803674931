"""What a head is fitted to: action units that occur or not, or one expression of several."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from mien.datasets.base import LabelledFrames
from mien.evaluate.head import class_weights
from mien.losses.action_unit_bce import action_unit_bce, balancing_weights

Loss = Callable[[Tensor, Tensor], Tensor]
"""Logits of some rows and the numbers of these rows, to a 0-dimensional loss."""


class Targets(Protocol):
    """Labels of N rows, and how logits relate to them."""

    @property
    def num_outputs(self) -> int:
        """Logits a row."""

    def loss_for(self, train_rows: NDArray[np.int64]) -> Loss:
        """The loss, weighted by what these rows alone say about the classes."""

    def probabilities(self, logits_NA: Tensor) -> Tensor:
        """(N, A) in [0, 1]."""


@dataclass(frozen=True)
class OccurrenceTargets:
    """One sigmoid an action unit; NaN labels give no loss."""

    occurrence_NA: Tensor

    @property
    def num_outputs(self) -> int:
        """Action units."""
        return self.occurrence_NA.shape[1]

    def loss_for(self, train_rows: NDArray[np.int64]) -> Loss:
        """Binary cross-entropy in which presence and absence weigh the same in the training fold."""
        train_NA = self.occurrence_NA[torch.from_numpy(train_rows)]
        present_A, absent_A = balancing_weights(*((train_NA == value).sum(dim=0) for value in (1, 0)))

        def loss(logits_NA: Tensor, rows: Tensor) -> Tensor:
            device = logits_NA.device
            value: Tensor = action_unit_bce(
                logits_NA,
                self.occurrence_NA[rows].to(device),
                present_weight_A=present_A.to(device),
                absent_weight_A=absent_A.to(device),
            )
            return value

        return loss

    def probabilities(self, logits_NA: Tensor) -> Tensor:
        """Sigmoids."""
        return logits_NA.float().sigmoid()


@dataclass(frozen=True)
class ExpressionTargets:
    """One of C classes."""

    class_N: Tensor

    num_outputs: int

    def loss_for(self, train_rows: NDArray[np.int64]) -> Loss:
        """Cross-entropy with weights inverse to the classes' frequency in the training fold."""
        weight_C = class_weights(self.class_N[torch.from_numpy(train_rows)], self.num_outputs)

        def loss(logits_NC: Tensor, rows: Tensor) -> Tensor:
            device = logits_NC.device
            return F.cross_entropy(logits_NC.float(), self.class_N[rows].to(device), weight_C.to(device))

        return loss

    def probabilities(self, logits_NA: Tensor) -> Tensor:
        """Softmax."""
        return logits_NA.float().softmax(dim=1)


def targets_of(frames: LabelledFrames) -> Targets:
    """Expressions where the set has them, else occurrences."""
    if frames.expression_N is not None:
        return ExpressionTargets(torch.from_numpy(frames.expression_N), len(frames.expressions))
    return OccurrenceTargets(torch.from_numpy(frames.occurrence_NA))
