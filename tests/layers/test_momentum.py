import json
import math
from pathlib import Path

import pytest
import torch
from torch import nn

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
