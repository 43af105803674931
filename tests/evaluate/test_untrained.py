import dataclasses

import pytest
import torch

from mien.commands.pretraining import pretrain
from mien.evaluate.untrained import untrained_twin
from mien.train.encoder_file import load_encoder

RECIPE = {
    "method": {"name": "clp", "bank_size": 64, "num_candidates": 0},
    "backbone": {"name": "resnet18", "width": 4},
    "views": {"output_size_px": 32},
    "data": {"frame_size_px": 36, "clips_per_step": 4, "workers": 0},
    "optimiser": {"name": "adam", "rate_per_64_clips": 1e-30, "weight_decay": 0.0},
    "run": {"steps": 1, "seed": 5, "threads": 1, "accelerator": "cpu", "tensorboard": False},
}


@pytest.fixture
def still(disc_store, tmp_path):
    """An encoder trained at next to no rate: its weights are where they began."""
    result = pretrain(RECIPE, where="test", store=disc_store, out=tmp_path / "run")
    return load_encoder(result.encoder)


def test_the_twin_has_the_weights_the_run_began_from(still):
    torch.manual_seed(99)
    before = torch.get_rng_state()
    twin = untrained_twin(still)
    assert torch.equal(before, torch.get_rng_state())
    for name, weights in still.backbone.named_parameters():
        assert torch.allclose(weights, twin.backbone.get_parameter(name), rtol=0, atol=1e-20), name
    assert not twin.backbone.training


def test_an_encoder_without_its_history_has_no_twin(still):
    with pytest.raises(ValueError, match="its beginning is unknown"):
        untrained_twin(dataclasses.replace(still, training={}))


def test_an_encoder_that_began_from_public_weights_has_no_untrained_twin(still):
    settings = still.training["settings"]
    begun = {**settings, "backbone": {**settings["backbone"], "weights": "imagenet.safetensors"}}
    with pytest.raises(ValueError, match=r"began from imagenet\.safetensors"):
        untrained_twin(dataclasses.replace(still, training={"settings": begun}))
