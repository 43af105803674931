"""The linear probe on cached features of a frozen encoder: labels, loss, fit and prediction."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from mien.datasets.base import LabelledFrames
from mien.evaluate.head import ProbeHead, class_weights
from mien.losses.action_unit_bce import action_unit_bce, balancing_weights

Floats = NDArray[np.floating[Any]]


@dataclass(frozen=True)
class ProbeSettings:
    """How a head is fitted; the last epoch is the one reported."""

    epochs: int = 15
    min_steps: int = 1000  # a small set is gone through more often, until there are as many updates
    batch_size: int = 128
    learning_rate: float = 1e-3  # Adam, cosine to 0
    trunk_learning_rate: float = 1e-4  # of an encoder that is tuned as a whole
    seed: int = 0

    def __post_init__(self) -> None:
        if self.epochs < 1 or self.batch_size < 2:
            raise ValueError(
                f"epochs = {self.epochs}, batch_size = {self.batch_size}: at least 1 and 2 "
                "(batch-norm needs two)"
            )


def fit_head(
    features_ND: Tensor, targets: Targets, train_rows: NDArray[np.int64], settings: ProbeSettings
) -> ProbeHead:
    """A head fitted on the training rows, in evaluation mode; the same seed gives the same head.

    Global random state is left as it was. ValueError with fewer than two rows.
    """
    generator = torch.Generator().manual_seed(settings.seed)
    head = new_head(features_ND.shape[1], targets.num_outputs, seed=settings.seed).to(features_ND.device)
    loss_of = targets.loss_for(train_rows)
    schedule = Schedule(head, len(train_rows), settings)
    for rows in shuffled_batches(train_rows, settings, generator):
        schedule.step(loss_of(head(features_ND[rows]), rows))
    return head.eval()


@torch.inference_mode()
def predict(
    features_ND: Tensor, head: ProbeHead, targets: Targets, rows: NDArray[np.int64]
) -> NDArray[np.float32]:
    """(len(rows), A) probabilities."""
    probabilities: NDArray[np.float32] = targets.probabilities(head(features_ND[rows])).cpu().numpy()
    return probabilities


def new_head(feature_dim: int, num_outputs: int, *, seed: int) -> ProbeHead:
    """A head drawn from its own seed, whatever was drawn before."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return ProbeHead(feature_dim, num_outputs)


def shuffled_batches(
    rows: NDArray[np.int64], settings: ProbeSettings, generator: torch.Generator
) -> Iterator[Tensor]:
    """All epochs' batches; a rest too small to normalise is left for another epoch."""
    for _ in range(epochs_in_all(len(rows), settings)):
        order = torch.from_numpy(rows)[torch.randperm(len(rows), generator=generator)]
        yield from (batch for batch in torch.split(order, settings.batch_size) if len(batch) > 1)


def epochs_in_all(num_rows: int, settings: ProbeSettings) -> int:
    """How often the rows are gone through; ValueError with fewer than two."""
    return max(settings.epochs, -(-settings.min_steps // _batches_of_an_epoch(num_rows, settings)))


def batches_in_all(num_rows: int, settings: ProbeSettings) -> int:
    """How many batches `shuffled_batches` gives; ValueError with fewer than two rows."""
    return epochs_in_all(num_rows, settings) * _batches_of_an_epoch(num_rows, settings)


class Schedule:
    """Adam with a cosine to zero over a known number of steps; the trunk at a rate of its own."""

    def __init__(
        self,
        head: nn.Module,
        num_rows: int,
        settings: ProbeSettings,
        *,
        trunk: list[nn.Parameter] | None = None,
    ) -> None:
        groups: list[dict[str, Any]] = [{"params": list(head.parameters()), "lr": settings.learning_rate}]
        if trunk:
            groups.append({"params": trunk, "lr": settings.trunk_learning_rate})
        self.optimiser = torch.optim.Adam(groups)
        steps = batches_in_all(num_rows, settings)
        self.cosine = torch.optim.lr_scheduler.CosineAnnealingLR(self.optimiser, T_max=steps)

    def step(self, loss: Tensor) -> None:
        """Backward and one update."""
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        self.optimiser.step()
        self.cosine.step()


def chosen_thresholds(labels_NA: Floats, probability_NA: Floats) -> Floats:
    """(A,) the threshold with the best F1 on these rows: training subjects that the model has not seen.

    0.5 for an action unit that is never, or always, present here.
    """
    columns = zip(labels_NA.T, probability_NA.T, strict=True)
    return np.array([_best_threshold(labels_N, probability_N) for labels_N, probability_N in columns])


def _batches_of_an_epoch(num_rows: int, settings: ProbeSettings) -> int:
    if num_rows < 2:
        raise ValueError(f"a probe needs at least 2 rows to fit on, not {num_rows}")
    whole, rest = divmod(num_rows, settings.batch_size)
    return whole + (rest > 1)


def _best_threshold(labels_N: Floats, probability_N: Floats) -> float:
    coded_N = ~np.isnan(labels_N)
    order = np.argsort(-probability_N[coded_N], kind="stable")
    present_N, value_N = labels_N[coded_N][order] == 1, probability_N[coded_N][order].astype(np.float64)
    if not present_N.any() or present_N.all():
        return 0.5
    true_N = np.cumsum(present_N)
    f1_N = 2 * true_N / (np.arange(1, len(order) + 1) + true_N[-1])
    f1_N[:-1][value_N[:-1] == value_N[1:]] = 0  # a threshold cannot part equal values
    best = int(f1_N.argmax())
    below = value_N[best + 1] if best + 1 < len(order) else 0.0
    return float((value_N[best] + below) / 2)


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
