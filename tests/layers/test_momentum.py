import json
import math
from pathlib import Path

import pytest
import torch
from torch import nn

from mien.backbones import build_backbone
from mien.layers.mlp import mlp
from mien.layers.momentum import MomentumEncoder

ORACLES = json.loads((Path(__file__).parents[1] / "oracles.json").read_text())


def one_weight(value):
    layer = nn.Linear(1, 1, bias=False, dtype=torch.float64)
    nn.init.constant_(layer.weight, value)
    return layer


def averaged(mu, steps):
    """The momentum weight after some steps from 0 towards 1."""
    momentum = MomentumEncoder(one_weight(0.0), nn.Identity())
    for _ in range(steps):
        momentum.update(one_weight(1.0), nn.Identity(), mu=mu)
    return momentum.backbone.weight.item()


# 23
def test_worked_average_after_three_steps_and_a_thousand():
    assert averaged(0.999, 3) == pytest.approx(ORACLES["ema_after_3"], abs=1e-12)
    assert averaged(0.999, 1000) == pytest.approx(0.632305, abs=1e-6)
    assert pytest.approx(math.log(0.5) / math.log(0.999), abs=0.1) == 692.8
    assert averaged(0.999, 692) < 0.5 < averaged(0.999, 693)


def test_mu_of_one_freezes_and_of_zero_copies():
    assert averaged(1.0, 5) == 0.0
    assert averaged(0.0, 1) == 1.0


def test_starts_as_a_copy_that_later_goes_its_own_way():
    backbone = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten())
    momentum = MomentumEncoder(backbone, nn.Identity())
    for name, value in backbone.state_dict().items():
        assert torch.equal(momentum.backbone.state_dict()[name], value)
    nn.init.zeros_(backbone[0].weight)
    assert momentum.backbone[0].weight.abs().sum() > 0


def test_only_parameters_are_averaged_batch_norm_keeps_its_own_statistics():
    backbone = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))
    momentum = MomentumEncoder(backbone, nn.Flatten())
    backbone(torch.randn(4, 3, 8, 8))
    with torch.no_grad():
        backbone[1].weight.fill_(3.0)
    momentum.update(backbone, nn.Flatten(), mu=0.0)
    assert torch.equal(momentum.backbone[1].weight, backbone[1].weight)
    assert torch.equal(momentum.backbone[1].running_mean, torch.zeros(4))
    momentum(torch.randn(4, 3, 8, 8) + 5.0)
    assert momentum.backbone[1].running_mean.abs().sum() > 0


def test_never_takes_a_gradient():
    momentum = MomentumEncoder(nn.Linear(3, 4), nn.Linear(4, 2))
    assert not any(parameter.requires_grad for parameter in momentum.parameters())
    assert not momentum(torch.randn(2, 3, requires_grad=True)).requires_grad


def test_head_runs_in_full_precision_under_autocast():
    momentum = MomentumEncoder(nn.Linear(3, 4), nn.Linear(4, 2))
    with torch.autocast("cpu", torch.bfloat16):
        assert momentum(torch.randn(2, 3)).dtype == torch.float32


def images(num_rows=16, side=4):
    return torch.randn(num_rows, 3, side, side, generator=torch.Generator().manual_seed(0))


def keys(momentum, x, rows_per_group=4, seed=0):
    generator = None if seed is None else torch.Generator().manual_seed(seed)
    return momentum.keys(x, rows_per_group=rows_per_group, generator=generator)


def normalised():
    return MomentumEncoder(nn.BatchNorm2d(3), nn.Flatten())


SMALL_BACKBONES = [
    ("resnet18", {"width": 8}),
    ("vit", {"patch_px": 8, "width": 24, "depth": 2, "heads": 2, "picture_px": 32}),
]


@pytest.mark.parametrize(("name", "settings"), SMALL_BACKBONES)
@pytest.mark.parametrize(("num_rows", "rows_per_group"), [(16, 4), (15, 4), (7, 8)])
def test_keys_and_running_statistics_are_those_of_one_pass_for_each_group(
    name, settings, num_rows, rows_per_group
):
    torch.manual_seed(0)
    backbone = build_backbone(name, **settings).train()
    head = mlp(backbone.feature_dim, 16, 8, batch_norm_output=True)
    together, in_turn = (MomentumEncoder(backbone, head) for _ in range(2))
    for module in (together, in_turn):
        module.to(memory_format=torch.channels_last)
    x = images(num_rows, side=32).contiguous(memory_format=torch.channels_last)
    for seed in range(3):
        order = torch.randperm(num_rows, generator=torch.Generator().manual_seed(seed))
        expected = torch.empty(num_rows, 8)
        for group in order.tensor_split(max(1, num_rows // rows_per_group)):
            expected[group] = in_turn(x[group])
        torch.testing.assert_close(keys(together, x, rows_per_group, seed), expected, atol=1e-5, rtol=1e-5)
    assert together.state_dict().keys() == in_turn.state_dict().keys()
    for key, value in in_turn.state_dict().items():
        torch.testing.assert_close(together.state_dict()[key], value, atol=1e-6, rtol=1e-5)


def test_each_key_comes_back_to_its_place():
    assert torch.equal(keys(MomentumEncoder(nn.Identity(), nn.Flatten()), images()), images().flatten(1))


def test_groups_are_drawn_anew_from_each_generator():
    momentum = normalised()
    assert torch.equal(keys(momentum, images(), seed=1), keys(momentum, images(), seed=1))
    assert not torch.equal(keys(momentum, images(), seed=1), keys(momentum, images(), seed=2))


def test_without_a_generator_groups_are_neighbours():
    expected = [normalised()(group) for group in images().tensor_split(4)]
    assert torch.equal(keys(normalised(), images(), seed=None), torch.cat(expected))


@pytest.mark.parametrize(("num_rows", "groups"), [(1, 1), (3, 1), (4, 1), (7, 1), (10, 2)])
def test_a_group_has_at_least_as_many_rows_as_asked_for_where_there_are_as_many(num_rows, groups):
    momentum = normalised()
    keys(momentum, images(num_rows))
    assert momentum.backbone.num_batches_tracked == groups


def test_groups_of_one_row_are_refused():
    with pytest.raises(ValueError, match="key_batch_norm_rows = 1: at least 2"):
        keys(normalised(), images(), rows_per_group=1)


def test_keys_carry_no_gradient():
    momentum = MomentumEncoder(nn.Flatten(), nn.Linear(48, 2))
    assert not keys(momentum, images().requires_grad_()).requires_grad
