from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from mien.data.store import TrackStore
from mien.data.views import IMAGENET_MEAN, IMAGENET_STD
from mien.evaluate.features import embed_crops, embed_frames, embed_store
from mien.faces.contract import ContractMismatchError
from mien.train.encoder_file import load_encoder


@pytest.mark.parametrize(("mean", "std"), [(IMAGENET_MEAN, IMAGENET_STD), ((0.5, 0.4, 0.3), (0.5, 1.0, 0.2))])
def test_features_are_those_of_the_centre_crop_normalised_as_the_encoder_says(disc_encoder, mean, std):
    encoder = load_encoder(disc_encoder)
    encoder = dataclasses.replace(encoder, inputs=dataclasses.replace(encoder.inputs, mean=mean, std=std))
    frames = np.random.default_rng(0).integers(0, 256, (3, 36, 36, 3), dtype=np.uint8)
    centre = (frames[:, 2:34, 2:34] / 255.0 - mean) / std
    with torch.no_grad():
        expected = encoder.backbone(torch.from_numpy(centre).float().permute(0, 3, 1, 2))
    assert np.allclose(embed_frames(encoder, frames), expected.numpy(), atol=1e-5)


def test_frames_of_another_size_are_refused(disc_encoder):
    with pytest.raises(ValueError, match="expected frames of 36 x 36 x 3"):
        embed_frames(load_encoder(disc_encoder), np.zeros((1, 64, 64, 3), np.uint8))


def test_a_feature_does_not_depend_on_its_batch(disc_encoder):
    encoder = load_encoder(disc_encoder)
    crops = list(np.random.default_rng(0).integers(0, 256, (7, 64, 64, 3), dtype=np.uint8))
    together, apart = (np.stack(list(embed_crops(encoder, crops, batch_size=size))) for size in (7, 2))
    assert np.allclose(together, apart, atol=1e-5)


def test_every_frame_of_every_track_is_embedded_once(disc_encoder, disc_store):
    encoder, store = load_encoder(disc_encoder), TrackStore.open(disc_store)
    parts = list(embed_store(encoder, store, batch_size=16))
    for track in range(store.num_tracks):
        mine = [part for part in parts if part.track == track]
        assert np.concatenate([part.positions_N for part in mine]).tolist() == list(range(40))
    direct = embed_frames(encoder, store.read_frames(3, [5, 6], size_px=36))
    found = next(part for part in parts if part.track == 3).features_ND[5:7]
    assert np.allclose(found, direct, atol=1e-5)


def test_a_store_cropped_otherwise_is_refused(disc_encoder, disc_store):
    encoder = load_encoder(disc_encoder)
    other = dataclasses.replace(encoder.contract, margin=0.5)
    mismatched = dataclasses.replace(encoder, inputs=dataclasses.replace(encoder.inputs, crop=other))
    with pytest.raises(ContractMismatchError, match="margin"):
        next(embed_store(mismatched, TrackStore.open(disc_store)))
