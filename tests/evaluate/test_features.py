from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from mien.data.store import TrackStore
from mien.data.views import IMAGENET_MEAN, IMAGENET_STD
from mien.evaluate.features import StoredFaces, cached_features, embed_frames
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


def test_a_feature_does_not_depend_on_its_batch_or_on_where_its_face_is_stored(disc_encoder, disc_store):
    encoder, store = load_encoder(disc_encoder), TrackStore.open(disc_store)
    track_N, position_N = np.divmod(np.random.default_rng(0).permutation(12 * 40), 40)
    faces = StoredFaces(store, track_N, position_N)
    found = cached_features(encoder.backbone, encoder.inputs, faces, batch_size=32)
    for row in (0, 100, 479):
        frames = store.read_frames(int(track_N[row]), [int(position_N[row])], size_px=36)
        assert np.allclose(found[row], embed_frames(encoder, frames)[0], atol=1e-5)
