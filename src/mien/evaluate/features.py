"""Features of many faces: pictures, or the tracks of a store, through an encoder, a batch at a time."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mien.data.store import TrackStore
from mien.data.views import Normalisation, evaluation_views
from mien.train.encoder_file import Encoder, InputContract

Images = NDArray[np.uint8]
Features = NDArray[np.float32]


@dataclass(frozen=True)
class TrackFeatures:
    """Features of some positions of one track: features_ND is float32, row n that of positions_N[n]."""

    track: int
    positions_N: NDArray[np.int64]
    features_ND: Features

    def __post_init__(self) -> None:
        if self.features_ND.shape[0] != len(self.positions_N):
            raise ValueError(f"{self.features_ND.shape[0]} features for {len(self.positions_N)} positions")


def centre_views(frames_NHWC: Tensor, inputs: InputContract) -> Tensor:
    """(N, 3, h, w) float32: uint8 frames as an encoder takes them, cut and normalised by its own contract."""
    normalisation = Normalisation(inputs.mean, inputs.std)
    return evaluation_views(frames_NHWC, output_size_px=inputs.input_size_px, normalisation=normalisation)


@torch.inference_mode()
def embed_frames(encoder: Encoder, frames_NHWC: Images) -> Features:
    """(N, feature_dim) float32 features of uint8 RGB frames of the encoder's own frame size, in one batch."""
    size_px = encoder.inputs.frame_size_px
    if frames_NHWC.shape[1:] != (size_px, size_px, 3):
        raise ValueError(f"expected frames of {size_px} x {size_px} x 3, got {frames_NHWC.shape[1:]}")
    frames = torch.from_numpy(np.ascontiguousarray(frames_NHWC)).to(encoder.device)
    views = centre_views(frames, encoder.inputs)
    features: Features = encoder.backbone(views).float().cpu().numpy()
    return features


def embed_crops(encoder: Encoder, crops: Iterable[Images], *, batch_size: int = 64) -> Iterator[Features]:
    """The (feature_dim,) feature of each face crop (crop_size_px square), in their order, as they come."""
    for batch in _batched(crops, batch_size):
        frames = np.stack([resize_crop(crop, encoder.inputs.frame_size_px) for crop in batch])
        yield from embed_frames(encoder, frames)


def embed_store(
    encoder: Encoder, store: TrackStore, *, tracks: Sequence[int] | None = None, batch_size: int = 64
) -> Iterator[TrackFeatures]:
    """The features of every distinct source frame of the tracks (None: all), track by track, in batches.

    ContractMismatchError if the store's faces were cropped otherwise than the encoder's.
    """
    encoder.contract.require_same(store.contract, ours=encoder.source, theirs=str(store.path))
    for track in range(store.num_tracks) if tracks is None else tracks:
        distinct = np.flatnonzero(np.diff(store.source_frame_indices(track).astype(np.int64), prepend=-1))
        for first in range(0, len(distinct), batch_size):
            positions = distinct[first : first + batch_size]
            frames = store.read_frames(track, positions.tolist(), size_px=encoder.inputs.frame_size_px)
            yield TrackFeatures(track, positions, embed_frames(encoder, frames))


def resize_crop(crop_HWC: Images, size_px: int) -> Images:
    """A crop at another size, by area, as the store reads its pictures."""
    if crop_HWC.shape[:2] == (size_px, size_px):
        return crop_HWC
    resized: Images = cv2.resize(crop_HWC, (size_px, size_px), interpolation=cv2.INTER_AREA)
    return resized


def _batched(items: Iterable[Images], size: int) -> Iterator[list[Images]]:
    iterator = iter(items)
    while batch := list(itertools.islice(iterator, size)):
        yield batch
