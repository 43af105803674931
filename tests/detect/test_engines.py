"""Engines: found by name, and all say what torch says."""

import cv2
import numpy as np
import pytest
import torch

from mien.detect.engines import open_engine
from mien.detect.network import AuNetwork, input_pixels


def test_torch_gives_the_network_of_resized_cut_normalised_crops(model, model_path, crops):
    frames = np.stack([cv2.resize(crop, (36, 36), interpolation=cv2.INTER_AREA) for crop in crops])
    centre = (frames[:, 2:34, 2:34] / 255.0 - model.encoder.inputs.mean) / model.encoder.inputs.std
    with torch.no_grad():
        expected = AuNetwork(model)(torch.from_numpy(centre).float().permute(0, 3, 1, 2))
    found = open_engine("torch", model, model_path=model_path)(crops)
    assert found.dtype == np.float32
    assert np.allclose(found, expected.numpy(), atol=1e-4)


def test_no_crops_give_no_rows(model, model_path):
    nothing = np.zeros((0, 64, 64, 3), np.uint8)
    assert open_engine("torch", model, model_path=model_path)(nothing).shape == (0, 8)


def test_crops_of_another_size_or_type_are_refused(model):
    for crops in (np.zeros((1, 32, 32, 3), np.uint8), np.zeros((1, 64, 64, 3), np.float32)):
        with pytest.raises(ValueError, match="expected uint8 face crops of N x 64 x 64 x 3"):
            input_pixels(crops, model.encoder.inputs)


def test_an_unknown_engine_names_the_nearest(model, model_path):
    with pytest.raises(ValueError, match=r"unknown engine 'toch'; did you mean 'torch'\?"):
        open_engine("toch", model, model_path=model_path)
