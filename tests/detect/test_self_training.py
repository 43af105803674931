"""The branch of pixels learns, on faces without labels, what the whole model reads."""

import numpy as np
import pytest
import torch

from mien.detect.au_model import load_au_model, network_inputs, shipped_model
from mien.detect.export import Faces
from mien.detect.network import build_network
from mien.detect.self_training import changed, taught_by_itself
from mien.faces.mesh_pose import mean_mesh


@pytest.fixture(scope="module")
def model():
    return load_au_model(shipped_model())


@pytest.fixture(scope="module")
def groups(model):
    """Blurred noise in two files: the branches disagree on it."""
    generator, side = np.random.default_rng(0), model.contract.crop_size_px
    coarse = generator.integers(0, 256, (100, side // 8, side // 8, 3), dtype=np.uint8)
    crops = coarse.repeat(8, axis=1).repeat(8, axis=2)
    meshes = (mean_mesh() * 50 + side / 2 + generator.normal(0, 1, (100, 468, 3))).astype(np.float32)
    return [Faces(crops[:60], meshes[:60]), Faces(crops[60:], meshes[60:])]


def test_the_branch_of_pixels_comes_nearer_to_the_whole_model_and_nothing_else_changes(model, groups):
    adapted = taught_by_itself(model, groups, steps=10)
    assert adapted.record["adaptations"][-1]["num_unlabelled_faces"] == 100
    differs = {name for name, old in model.weights.items() if not np.array_equal(old, adapted.weights[name])}
    assert differs and {name.split(".")[0] for name in differs} <= {"pixels", "pixel_head"}
    assert not any("running" in name for name in differs)
    every = Faces.joined(groups)
    inputs = network_inputs(model, every.crops_NHWC, every.mesh_N468x3)
    pixels, points = torch.from_numpy(inputs["pixels"]), torch.from_numpy(inputs["points"])
    with torch.no_grad():
        target_NO = build_network(model).raw(pixels, points)
        wrong = [(_by_pixels(one, pixels) - target_NO).square().mean() for one in (model, adapted)]
    assert wrong[1] < wrong[0]


def test_the_same_faces_and_seed_give_the_same_weights(model, groups):
    first, second = (taught_by_itself(model, groups, steps=2) for _ in range(2))
    assert first.network_digest == second.network_digest


def test_changed_pictures_keep_shape_and_range():
    pictures = changed(torch.randint(0, 256, (8, 1, 64, 64)).float())
    assert pictures.shape == (8, 1, 64, 64)
    assert pictures.min() >= 0
    assert pictures.max() <= 255


def test_too_few_faces_are_refused(model, groups):
    with pytest.raises(ValueError, match="60 faces found; self-training takes at least 100"):
        taught_by_itself(model, groups[:1])


def _by_pixels(model, pixels_NHWC):
    network = build_network(model)
    grey_N1HW = (pixels_NHWC.float() * torch.tensor([0.299, 0.587, 0.114])).sum(3)[:, None]
    return network.pixel_head(network.pixels(grey_N1HW))
