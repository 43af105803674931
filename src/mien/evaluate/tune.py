"""A head fitted together with part of the encoder, or all of it, on pictures read from a store."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from mien.backbones import Backbone
from mien.data.loader import begin_worker, worker_context
from mien.data.store import TrackStore
from mien.data.views import FaceViews, Normalisation, ViewSettings
from mien.evaluate.features import centre_views
from mien.evaluate.head import ProbeHead
from mien.evaluate.probe import ProbeSettings, Schedule, new_head, shuffled_batches
from mien.evaluate.targets import Targets
from mien.evaluate.trunk import TrunkMode, prepared_trunk, trainable
from mien.train.encoder_file import InputContract


@dataclass(frozen=True)
class StoredFaces:
    """Where the picture of each row lies; row n is track_N[n] at position_N[n]."""

    store: TrackStore
    track_N: NDArray[np.int64]
    position_N: NDArray[np.int64]

    def read(self, rows: NDArray[np.int64], *, size_px: int) -> NDArray[np.uint8]:
        """(len(rows), S, S, 3) RGB."""
        frames = np.empty((len(rows), size_px, size_px, 3), np.uint8)
        for track in np.unique(self.track_N[rows]):
            chosen = np.flatnonzero(self.track_N[rows] == track)
            positions = self.position_N[rows[chosen]].tolist()
            frames[chosen] = self.store.read_frames(int(track), positions, size_px=size_px)
        return frames


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
    for rows, frames in _pictures(faces, shuffled_batches(train_rows, settings, generator), inputs, workers):
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
    for _, frames in _pictures(faces, batches, model.inputs, workers):
        images = centre_views(frames.to(device), model.inputs)
        found.append(targets.probabilities(model.head(model.trunk(images))).cpu().numpy())
    return np.concatenate(found)


@torch.inference_mode()
def cached_features(
    backbone: Backbone, inputs: InputContract, faces: StoredFaces, *, batch_size: int = 128, workers: int = 0
) -> NDArray[np.float32]:
    """(N, D) features of every row's centre crop; the backbone must be in evaluation mode."""
    device = next(backbone.parameters()).device
    features_ND = np.empty((len(faces.track_N), backbone.feature_dim), np.float32)
    for rows, frames in _pictures(
        faces, torch.split(torch.arange(len(features_ND)), batch_size), inputs, workers
    ):
        images = centre_views(frames.to(device), inputs)
        features_ND[rows.numpy()] = backbone(images).float().cpu().numpy()
    return features_ND


def _flip_and_crop(inputs: InputContract) -> ViewSettings:
    return ViewSettings(
        output_size_px=inputs.input_size_px,
        rotation_degrees=0.0,
        flip_probability=0.5,
        colour_probability=0.0,
    )


class _Pictures(Dataset[Tensor]):
    """Row numbers to their pictures."""

    def __init__(self, faces: StoredFaces, size_px: int) -> None:
        self.faces, self.size_px = faces, size_px

    def __getitem__(self, rows: NDArray[np.int64]) -> Tensor:
        return torch.from_numpy(self.faces.read(rows, size_px=self.size_px))


def _pictures(
    faces: StoredFaces, batches: Iterable[Tensor], inputs: InputContract, workers: int
) -> Iterator[tuple[Tensor, Tensor]]:
    """(rows, uint8 pictures) for each batch, in order.

    Rows travel to the workers as arrays, by value, and do not come back. The batches are views of one tensor:
    sending any of them between processes would move their common storage while another is being read.
    """
    rows_of_batches = list(batches)
    loader = DataLoader(
        _Pictures(faces, inputs.frame_size_px),
        batch_size=None,
        sampler=[rows.numpy() for rows in rows_of_batches],
        num_workers=workers,
        worker_init_fn=begin_worker,
        multiprocessing_context=worker_context() if workers else None,
    )
    return zip(rows_of_batches, loader, strict=True)
