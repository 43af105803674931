"""What moves in each mode, and that nothing else does; at test time nothing depends on the batch."""

import dataclasses

import numpy as np
import pytest
import torch
from pictures_in_memory import BrightFaces, NumberedFaces
from torch import nn

from mien.backbones import build_backbone
from mien.evaluate.features import cached_features
from mien.evaluate.probe import (
    OccurrenceTargets,
    ProbeSettings,
    TrunkMode,
    fit_tuned,
    predict_tuned,
    prepared_trunk,
    trainable,
)
from mien.faces.contract import CropContract, InputContract

CONTRACT = CropContract("d", "", "l", "", ((0.3, 0.4), (0.7, 0.4), (0.5, 0.6), (0.35, 0.8), (0.65, 0.8)), 0.1)
INPUTS = InputContract(CONTRACT, 24, 16, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


@pytest.fixture
def backbone():
    torch.manual_seed(0)
    return build_backbone("resnet18", width=4).eval()


def _fit(backbone, faces, mode, *, epochs=2, inputs=INPUTS, workers=0):
    targets = OccurrenceTargets(faces.labels_N1)
    settings = ProbeSettings(
        epochs=epochs, batch_size=12, min_steps=0, learning_rate=0.01, trunk_learning_rate=0.01
    )
    rows = np.arange(len(faces.track_N))
    return targets, fit_tuned(
        backbone, inputs, faces, targets, rows, mode=mode, settings=settings, workers=workers
    )


@pytest.mark.parametrize("mode", list(TrunkMode))
def test_exactly_the_stated_tensors_move(backbone, mode):
    before = {name: value.clone() for name, value in backbone.state_dict().items()}
    _, model = _fit(backbone, BrightFaces(), mode)
    moved = {name for name, value in model.trunk.state_dict().items() if not torch.equal(value, before[name])}
    statistics = {name for name in before if "running_" in name or "num_batches" in name}
    norm = {name.removesuffix(".running_mean") for name in statistics if name.endswith("running_mean")}
    affine = {f"{layer}.{part}" for layer in norm for part in ("weight", "bias")}
    expected = {
        TrunkMode.FROZEN: set(),
        TrunkMode.STATS: statistics,
        TrunkMode.AFFINE_STATS: statistics | affine,
        TrunkMode.ALL: set(before),
    }
    assert moved == expected[mode]
    assert all(torch.equal(value, before[name]) for name, value in backbone.state_dict().items())


def test_the_papers_backbone_has_17024_numbers_to_tune():
    trunk = prepared_trunk(build_backbone("resnet34"), TrunkMode.AFFINE_STATS)
    assert sum(parameter.numel() for parameter in trainable(trunk)) == 17_024
    assert not trainable(prepared_trunk(trunk, TrunkMode.STATS))


@pytest.mark.parametrize("mode", [TrunkMode.STATS, TrunkMode.AFFINE_STATS, TrunkMode.ALL])
def test_predictions_do_not_depend_on_what_else_is_in_the_batch(backbone, mode):
    faces = BrightFaces()
    targets, model = _fit(backbone, faces, mode)
    together = predict_tuned(model, faces, targets, np.arange(48))
    alone = predict_tuned(model, faces, targets, np.array([7]))
    np.testing.assert_allclose(together[7], alone[0], atol=1e-5)


@pytest.mark.parametrize("mode", [TrunkMode.AFFINE_STATS, TrunkMode.ALL])
def test_a_planted_picture_signal_is_learnt(backbone, mode):
    faces = BrightFaces()
    targets, model = _fit(backbone, faces, mode, epochs=15)
    predicted = predict_tuned(model, faces, targets, np.arange(48))[:, 0] > 0.5
    assert (predicted == (faces.labels_N1[:, 0].numpy() == 1)).mean() > 0.8


class MeanColour(nn.Module):
    """A backbone whose features are the mean colour from 0 to 255: the row that `NumberedFaces` spells."""

    def __init__(self):
        super().__init__()
        self.feature_dim = 3
        self.device_of = nn.Parameter(torch.zeros(1))

    def forward(self, views_NCHW):
        mean, std = (torch.tensor(values)[:, None, None] for values in (INPUTS.mean, INPUTS.std))
        return ((views_NCHW * std + mean) * 255).mean(dim=(2, 3))


def test_two_workers_give_every_row_its_own_picture():
    """Replies that hold views of one tensor moved its storage while the next rows were read from it."""
    wanted_ND = np.arange(1000)[:, None] // 256 ** np.arange(3) % 256
    found_ND = cached_features(MeanColour(), INPUTS, NumberedFaces(1000), batch_size=20, workers=2)
    np.testing.assert_array_equal(found_ND.round(), wanted_ND)


def test_a_fit_with_workers_is_the_one_without(backbone):
    faces = BrightFaces()
    targets, alone = _fit(backbone, faces, TrunkMode.ALL)
    _, with_workers = _fit(backbone, faces, TrunkMode.ALL, workers=2)
    assert torch.equal(alone.head.linear.weight, with_workers.head.linear.weight)
    rows = np.arange(48)[::-1].copy()
    np.testing.assert_array_equal(
        predict_tuned(alone, faces, targets, rows, batch_size=5),
        predict_tuned(with_workers, faces, targets, rows, batch_size=5, workers=2),
    )


class Renormalised(nn.Module):
    """Takes views of another normalisation, and does with them what the backbone does with its own."""

    def __init__(self, backbone, theirs):
        super().__init__()
        self.backbone, self.feature_dim, self.theirs = backbone, backbone.feature_dim, theirs

    def forward(self, views_NCHW):
        mean, std, own_mean, own_std = (
            torch.tensor(values)[:, None, None]
            for values in (self.theirs.mean, self.theirs.std, INPUTS.mean, INPUTS.std)
        )
        return self.backbone((views_NCHW * std + mean - own_mean) / own_std)


def test_faces_are_normalised_as_the_encoder_s_file_says(backbone):
    """By a backbone that undoes another normalisation: fit, predictions and features are the same with it."""
    theirs = dataclasses.replace(INPUTS, mean=(0.5, 0.4, 0.3), std=(0.5, 1.0, 0.2))
    found = []
    for network, inputs in ((backbone, INPUTS), (Renormalised(backbone, theirs).eval(), theirs)):
        faces = BrightFaces()
        targets, model = _fit(network, faces, TrunkMode.AFFINE_STATS, inputs=inputs)
        found.append(
            (cached_features(network, inputs, faces), predict_tuned(model, faces, targets, np.arange(48)))
        )
    for ours, other in zip(*found, strict=True):
        np.testing.assert_allclose(ours, other, atol=2e-3)
