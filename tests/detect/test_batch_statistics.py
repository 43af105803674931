"""New batch-norm statistics are those of the faces given, and nothing else of the model changes."""

import numpy as np
import pytest
import torch

from mien.detect.adapting import with_statistics_of
from mien.detect.au_model import network_inputs
from mien.detect.export import Faces
from mien.detect.network import build_network, unfolded_network
from mien.faces.mesh_pose import mean_mesh
from tests.detect.conftest import SMALL_CONTRACT
from tests.detect.tiny_model import tiny_face_model, tiny_model


@pytest.fixture(scope="module")
def groups():
    """Two files of faces, the second much brighter."""
    generator = np.random.default_rng(0)
    crops = [generator.integers(low, low + 100, (50, 64, 64, 3), dtype=np.uint8) for low in (0, 150)]
    meshes = mean_mesh() * 90 + generator.normal(0, 1, (2, 50, 468, 3))
    return [Faces(*pair) for pair in zip(crops, meshes.astype(np.float32), strict=True)]


def test_statistics_are_those_of_all_faces_and_the_rest_stays(groups):
    model = tiny_face_model(SMALL_CONTRACT)
    adapted = with_statistics_of(model, groups)
    assert adapted.record["adaptations"][-1]["num_unlabelled_faces"] == 100
    every = Faces.joined(groups)
    pixels_NHWC = network_inputs(model, every.crops_NHWC, every.mesh_N468x3)["pixels"]
    with torch.no_grad():
        convolved = build_network(model).pixels[0](torch.from_numpy(pixels_NHWC).permute(0, 3, 1, 2) / 255)
    assert np.allclose(adapted.weights["pixels.1.running_mean"], convolved.mean((0, 2, 3)), atol=1e-5)
    assert np.allclose(adapted.weights["pixels.1.running_var"], convolved.var((0, 2, 3)), rtol=0.1)
    changed = {name for name, old in model.weights.items() if not np.array_equal(old, adapted.weights[name])}
    assert changed == {f"pixels.1.{name}" for name in ("running_mean", "running_var", "num_batches_tracked")}
    assert adapted.network_digest != model.network_digest


def test_a_fitted_model_adapts_its_encoder_and_its_head(groups):
    model = tiny_model(SMALL_CONTRACT)
    adapted = with_statistics_of(model, groups)
    assert set(adapted.weights) == set(model.weights)
    for name in ("backbone.bn1.running_mean", "head.norm.running_mean"):
        assert not np.allclose(adapted.weights[name], model.weights[name])
    assert np.array_equal(adapted.weights["head.linear.weight"], model.weights["head.linear.weight"])


def test_the_network_as_trained_has_the_outputs_of_the_one_that_runs(groups):
    model = tiny_model(SMALL_CONTRACT)
    pixels = torch.from_numpy(network_inputs(model, groups[0].crops_NHWC, None)["pixels"])
    with torch.no_grad():
        expected = build_network(model)(pixels)
        assert torch.allclose(unfolded_network(model)(pixels), expected, atol=1e-3)


def test_too_few_faces_are_refused(groups):
    with pytest.raises(ValueError, match="50 faces found; new statistics take 100"):
        with_statistics_of(tiny_model(SMALL_CONTRACT), groups[:1])
