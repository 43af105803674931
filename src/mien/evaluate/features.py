"""Features of faces by an encoder: pictures in memory, or the faces of a store in batches."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from tqdm import tqdm

from mien.backbones import Backbone
from mien.data.jobs import begin_worker, worker_context
from mien.data.store import TrackStore
from mien.data.views import Normalisation, evaluation_views
from mien.faces.contract import InputContract
from mien.train.encoder_file import Encoder

Images = NDArray[np.uint8]
Features = NDArray[np.float32]


@dataclass(frozen=True)
class StoredFaces:
    """Where the picture of each row is stored: row n is position_N[n] of track track_N[n]."""

    store: TrackStore
    track_N: NDArray[np.int64]
    position_N: NDArray[np.int64]

    def read(self, rows: NDArray[np.int64], *, size_px: int) -> Images:
        """(len(rows), S, S, 3) RGB."""
        frames = np.empty((len(rows), size_px, size_px, 3), np.uint8)
        for track in np.unique(self.track_N[rows]):
            chosen = np.flatnonzero(self.track_N[rows] == track)
            positions = self.position_N[rows[chosen]].tolist()
            frames[chosen] = self.store.read_frames(int(track), positions, size_px=size_px)
        return frames


def embed_frames(encoder: Encoder, frames_NHWC: Images) -> Features:
    """(N, feature_dim) float32 features of uint8 RGB frames of the encoder's own frame size, in one batch."""
    size_px = encoder.inputs.frame_size_px
    if frames_NHWC.shape[1:] != (size_px, size_px, 3):
        raise ValueError(f"expected frames of {size_px} x {size_px} x 3, got {frames_NHWC.shape[1:]}")
    return _embed(encoder.backbone, encoder.inputs, torch.from_numpy(np.ascontiguousarray(frames_NHWC)))


def cached_features(
    backbone: Backbone, inputs: InputContract, faces: StoredFaces, *, batch_size: int = 128, workers: int = 0
) -> Features:
    """(N, D) features of every row's centre crop; the backbone must be in evaluation mode."""
    features_ND = np.empty((len(faces.track_N), backbone.feature_dim), np.float32)
    batches = torch.split(torch.arange(len(features_ND)), batch_size)
    for rows, frames in stored_pictures(faces, batches, inputs, workers):
        features_ND[rows.numpy()] = _embed(backbone, inputs, frames)
    return features_ND


def centre_views(frames_NHWC: Tensor, inputs: InputContract) -> Tensor:
    """(N, 3, h, w) float32: the centres of uint8 frames, normalised as `inputs` says."""
    normalisation = Normalisation(inputs.mean, inputs.std)
    return evaluation_views(frames_NHWC, output_size_px=inputs.input_size_px, normalisation=normalisation)


def resize_crop(crop_HWC: Images, size_px: int) -> Images:
    """A crop at another size, by area, as the store reads its pictures."""
    if crop_HWC.shape[:2] == (size_px, size_px):
        return crop_HWC
    resized: Images = cv2.resize(crop_HWC, (size_px, size_px), interpolation=cv2.INTER_AREA)
    return resized


@torch.inference_mode()
def _embed(backbone: Backbone, inputs: InputContract, frames_NHWC: Tensor) -> Features:
    device = next(backbone.parameters()).device
    features: Features = backbone(centre_views(frames_NHWC.to(device), inputs)).float().cpu().numpy()
    return features


class _Pictures(Dataset[Tensor]):
    """Row numbers to their pictures."""

    def __init__(self, faces: StoredFaces, size_px: int) -> None:
        self.faces, self.size_px = faces, size_px

    def __getitem__(self, rows: NDArray[np.int64]) -> Tensor:
        return torch.from_numpy(self.faces.read(rows, size_px=self.size_px))


def stored_pictures(
    faces: StoredFaces, batches: Iterable[Tensor], inputs: InputContract, workers: int
) -> Iterator[tuple[Tensor, Tensor]]:
    """(rows, uint8 pictures) for each batch, in order.

    Rows travel to the workers as arrays, by value, and do not come back. The batches are views of one tensor:
    sending any of them between processes would move their common storage while another is being read. A
    progress bar appears after ten seconds.
    """
    rows_of_batches = list(batches)
    loader = DataLoader(
        _Pictures(faces, inputs.frame_size_px),
        batch_size=None,
        sampler=[rows.numpy() for rows in rows_of_batches],
        num_workers=workers,
        worker_init_fn=begin_worker,
        multiprocessing_context=worker_context(__name__) if workers else None,
    )
    batches_read = zip(rows_of_batches, loader, strict=True)
    return iter(
        tqdm(batches_read, total=len(rows_of_batches), unit=" batches", delay=10, smoothing=0, leave=False)
    )
