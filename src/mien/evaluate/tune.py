"""A head fitted together with part of the encoder, or all of it, on pictures read from a store."""

from __future__ import annotations

import copy
import enum
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from mien.backbones import Backbone
from mien.data.views import FaceViews, Normalisation, ViewSettings
from mien.evaluate.features import StoredFaces, centre_views, stored_pictures
from mien.evaluate.head import ProbeHead
from mien.evaluate.probe import ProbeSettings, Schedule, Targets, new_head, shuffled_batches
from mien.train.encoder_file import InputContract


class TrunkMode(enum.Enum):
    """What moves while a head is fitted; at test time everything stands still in all modes.

    The paper: "the parameters in the encoder were frozen except that in the batch-norm layers".
    """

    FROZEN = "frozen"
    """Nothing: the usual linear protocol, on cached features."""
    STATS = "stats"
    """Running means and variances of the batch-norm layers."""
    AFFINE_STATS = "affine+stats"
    """These and the layers' weights and biases: the paper's words taken literally."""
    ALL = "all"
    """Everything: fine-tuning end to end."""


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
    train_rows: NDArray[np.int64],
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
    loss_of = targets.loss_for(train_rows)
    schedule = Schedule(head, len(train_rows), settings, trunk=trainable(trunk))
    views = FaceViews(_flip_and_crop(inputs), generator, normalisation=Normalisation(inputs.mean, inputs.std))
    for rows, frames in stored_pictures(
        faces, shuffled_batches(train_rows, settings, generator), inputs, workers
    ):
        images = views.independent(frames.to(device)[:, None])[:, 0]
        schedule.step(loss_of(head(trunk(images)), rows))
    return TunedModel(trunk.eval(), head.eval(), inputs)


@torch.inference_mode()
def predict_tuned(
    model: TunedModel,
    faces: StoredFaces,
    targets: Targets,
    rows: NDArray[np.int64],
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


def _flip_and_crop(inputs: InputContract) -> ViewSettings:
    return ViewSettings(
        output_size_px=inputs.input_size_px,
        rotation_degrees=0.0,
        flip_probability=0.5,
        colour_probability=0.0,
    )


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
