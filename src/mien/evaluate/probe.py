"""The linear probe: a head on features of a frozen encoder, or fitted together with parts of the encoder."""

from __future__ import annotations

import copy
import enum
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.modules.batchnorm import _BatchNorm

from mien.backbones import Backbone
from mien.data.views import FaceViews, Normalisation, ViewSettings
from mien.datasets.base import LabelledFrames
from mien.evaluate.features import StoredFaces, centre_views, stored_pictures
from mien.evaluate.head import ProbeHead
from mien.faces.contract import InputContract
from mien.losses.action_unit_bce import action_unit_bce, balancing_weights

Floats = NDArray[np.floating[Any]]
Rows = NDArray[np.int64]

MAX_WEIGHT = 20.0
"""Upper bound of a class weight, as in mien.losses.action_unit_bce."""


class TrunkMode(enum.Enum):
    """Which parts of the encoder are fitted with the head; at test time nothing changes in any mode.

    The paper: "the parameters in the encoder were frozen except that in the batch-norm layers".
    """

    FROZEN = "frozen"
    """None: the usual linear protocol, on cached features."""
    STATS = "stats"
    """Running means and variances of the batch-norm layers."""
    AFFINE_STATS = "affine+stats"
    """These and the layers' weights and biases: the paper's words taken literally."""
    ALL = "all"
    """Everything: fine-tuning end to end."""


@dataclass(frozen=True)
class ProbeSettings:
    """How a head is fitted; the last epoch is the one reported."""

    epochs: int = 15
    min_steps: int = 1000  # a small set gets more epochs, until there are as many updates
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


def fit_head(features_ND: Tensor, targets: Targets, train_rows: Rows, settings: ProbeSettings) -> ProbeHead:
    """A head fitted on the training rows, in evaluation mode; the same seed gives the same head.

    Global random state is left as it was. ValueError with fewer than two rows.
    """
    generator = torch.Generator().manual_seed(settings.seed)
    head = new_head(features_ND.shape[1], targets.num_outputs, seed=settings.seed).to(features_ND.device)
    rows_of_batches = shuffled_batches(train_rows, settings, generator)
    batches = ((rows, features_ND[rows]) for rows in rows_of_batches)
    loss = targets.loss_for(train_rows)
    _fit(head, [], batches, loss, steps=len(rows_of_batches), settings=settings)
    return head.eval()


@torch.inference_mode()
def predict(features_ND: Tensor, head: ProbeHead, targets: Targets, rows: Rows) -> NDArray[np.float32]:
    """(len(rows), A) probabilities."""
    probabilities: NDArray[np.float32] = targets.probabilities(head(features_ND[rows])).cpu().numpy()
    return probabilities


@dataclass(frozen=True)
class TunedModel:
    """A trunk and its head, both in evaluation mode."""

    trunk: Backbone
    head: ProbeHead
    inputs: InputContract


def fit_tuned(
    backbone: Backbone,
    inputs: InputContract,
    faces: StoredFaces,
    targets: Targets,
    train_rows: Rows,
    *,
    mode: TrunkMode,
    settings: ProbeSettings,
    workers: int = 0,
) -> TunedModel:
    """Head and trunk fitted on the training rows with random flips and crops; `backbone` stays as it is."""
    generator = torch.Generator().manual_seed(settings.seed)
    device = next(backbone.parameters()).device
    trunk = prepared_trunk(backbone, mode)
    head = new_head(backbone.feature_dim, targets.num_outputs, seed=settings.seed).to(device)
    flip_and_crop = ViewSettings(
        output_size_px=inputs.input_size_px,
        rotation_degrees=0.0,
        flip_probability=0.5,
        colour_probability=0.0,
    )
    views = FaceViews(flip_and_crop, generator, normalisation=Normalisation(inputs.mean, inputs.std))
    rows_of_batches = shuffled_batches(train_rows, settings, generator)
    batches = (
        (rows, trunk(views.independent(frames.to(device)[:, None])[:, 0]))
        for rows, frames in stored_pictures(faces, rows_of_batches, inputs, workers)
    )
    loss = targets.loss_for(train_rows)
    _fit(head, trainable(trunk), batches, loss, steps=len(rows_of_batches), settings=settings)
    return TunedModel(trunk.eval(), head.eval(), inputs)


@torch.inference_mode()
def predict_tuned(
    model: TunedModel,
    faces: StoredFaces,
    targets: Targets,
    rows: Rows,
    *,
    batch_size: int = 128,
    workers: int = 0,
) -> NDArray[np.float32]:
    """(len(rows), A) probabilities of centre crops."""
    device = next(model.trunk.parameters()).device
    batches = torch.split(torch.from_numpy(rows), batch_size)
    found = [np.zeros((0, targets.num_outputs), np.float32)]
    for _, frames in stored_pictures(faces, batches, model.inputs, workers):
        images = centre_views(frames.to(device), model.inputs)
        found.append(targets.probabilities(model.head(model.trunk(images))).cpu().numpy())
    return np.concatenate(found)


def prepared_trunk(backbone: Backbone, mode: TrunkMode) -> Backbone:
    """A copy in which exactly what `mode` says is in training mode or has a gradient."""
    trunk = copy.deepcopy(backbone)
    trunk.requires_grad_(mode is TrunkMode.ALL)
    trunk.train(mode is TrunkMode.ALL)
    for module in trunk.modules():
        if isinstance(module, _BatchNorm):
            module.train(mode is not TrunkMode.FROZEN)
            module.requires_grad_(mode in (TrunkMode.AFFINE_STATS, TrunkMode.ALL))
    return trunk


def trainable(trunk: nn.Module) -> list[nn.Parameter]:
    """The parameters that have a gradient."""
    return [parameter for parameter in trunk.parameters() if parameter.requires_grad]


def new_head(feature_dim: int, num_outputs: int, *, seed: int) -> ProbeHead:
    """A head with weights drawn from its own seed; the global random state stays."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return ProbeHead(feature_dim, num_outputs)


def _fit(
    head: ProbeHead,
    trunk: list[nn.Parameter],
    batches: Iterable[tuple[Tensor, Tensor]],
    loss_of: Loss,
    *,
    steps: int,
    settings: ProbeSettings,
) -> None:
    """Adam with a cosine to zero over (rows, features) of all batches; the trunk at its own rate."""
    groups: list[dict[str, Any]] = [{"params": list(head.parameters()), "lr": settings.learning_rate}]
    if trunk:
        groups.append({"params": trunk, "lr": settings.trunk_learning_rate})
    optimiser = torch.optim.Adam(groups)
    cosine = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, T_max=steps)
    for rows, features_ND in batches:
        optimiser.zero_grad(set_to_none=True)
        loss_of(head(features_ND), rows).backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        cosine.step()


def shuffled_batches(rows: Rows, settings: ProbeSettings, generator: torch.Generator) -> list[Tensor]:
    """The batches of all epochs; a rest too small to normalise is left for another epoch.

    ValueError with fewer than two rows.
    """
    if len(rows) < 2:
        raise ValueError(f"a probe needs at least 2 rows to fit on, not {len(rows)}")
    whole, rest = divmod(len(rows), settings.batch_size)
    epochs = max(settings.epochs, -(-settings.min_steps // (whole + (rest > 1))))
    orders = (torch.randperm(len(rows), generator=generator) for _ in range(epochs))
    each = (torch.split(torch.from_numpy(rows)[order], settings.batch_size) for order in orders)
    return [batch for batches in each for batch in batches if len(batch) > 1]


def chosen_thresholds(labels_NA: Floats, probability_NA: Floats) -> Floats:
    """(A,) the threshold with the best F1 on these rows: training subjects that the model has not seen.

    0.5 for an action unit that is never, or always, present here.
    """
    columns = zip(labels_NA.T, probability_NA.T, strict=True)
    return np.array([_best_threshold(labels_N, probability_N) for labels_N, probability_N in columns])


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


@dataclass(frozen=True)
class OccurrenceTargets:
    """One sigmoid per action unit; NaN labels give no loss."""

    occurrence_NA: Tensor

    @property
    def num_outputs(self) -> int:
        """Action units."""
        return self.occurrence_NA.shape[1]

    def loss_for(self, train_rows: Rows) -> Loss:
        """Binary cross-entropy in which presence and absence weigh the same in the training fold."""
        train_NA = self.occurrence_NA[torch.from_numpy(train_rows)]
        present_A, absent_A = balancing_weights(*((train_NA == value).sum(dim=0) for value in (1, 0)))

        def loss(logits_NA: Tensor, rows: Tensor) -> Tensor:
            labels_NA, present, absent = (
                value.to(logits_NA.device) for value in (self.occurrence_NA[rows], present_A, absent_A)
            )
            value: Tensor = action_unit_bce(
                logits_NA, labels_NA, present_weight_A=present, absent_weight_A=absent
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

    def loss_for(self, train_rows: Rows) -> Loss:
        """Cross-entropy with weights inverse to the classes' frequency in the training fold."""
        weight_C = class_weights(self.class_N[torch.from_numpy(train_rows)], self.num_outputs)

        def loss(logits_NC: Tensor, rows: Tensor) -> Tensor:
            device = logits_NC.device
            return F.cross_entropy(logits_NC.float(), self.class_N[rows].to(device), weight_C.to(device))

        return loss

    def probabilities(self, logits_NA: Tensor) -> Tensor:
        """Softmax."""
        return logits_NA.float().softmax(dim=1)


def class_weights(class_N: Tensor, num_classes: int) -> Tensor:
    """(C,) inverse to the class's frequency in the training fold, mean 1 over the rows, at most 20."""
    count_C = torch.bincount(class_N, minlength=num_classes).float()
    return (len(class_N) / (num_classes * count_C.clamp(min=1))).clamp(max=MAX_WEIGHT)


Targets = OccurrenceTargets | ExpressionTargets
"""Labels of N rows, and how logits relate to them."""


def targets_of(frames: LabelledFrames) -> Targets:
    """Expressions where the set has them, else occurrences."""
    if frames.expression_N is not None:
        return ExpressionTargets(torch.from_numpy(frames.expression_N), len(frames.expressions))
    return OccurrenceTargets(torch.from_numpy(frames.occurrence_NA))
