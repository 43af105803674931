from __future__ import annotations

import math

import pytest
import torch

from mien.train.optimiser import OptimiserSettings, build_optimiser, rate_at


def rates(settings, *, total_steps=100, clips_per_step=64):
    return [
        rate_at(step, total_steps=total_steps, clips_per_step=clips_per_step, settings=settings)
        for step in range(total_steps)
    ]


def test_the_rate_begins_at_the_papers_and_falls_to_zero_by_a_cosine():
    found = rates(OptimiserSettings())
    assert found[0] == 0.001
    assert found[50] == pytest.approx(0.0005)
    assert found[25] == pytest.approx(0.001 * (1 + math.sqrt(0.5)) / 2)
    assert 0 < found[-1] < 1e-6
    assert found == sorted(found, reverse=True)


def test_the_rate_is_linear_in_the_clips_of_a_step():
    assert rates(OptimiserSettings(), clips_per_step=16)[0] == pytest.approx(0.00025)


def test_the_rate_warms_up_linearly():
    found = rates(OptimiserSettings(warm_up_steps=4, schedule="constant"))
    assert found[:5] == pytest.approx([0.00025, 0.0005, 0.00075, 0.001, 0.001])
    cosine = rates(OptimiserSettings(warm_up_steps=4))
    assert cosine[4] == pytest.approx(0.001)


def test_the_schedule_matches_torchs():
    weight = torch.nn.Parameter(torch.zeros(1))
    optimiser = torch.optim.SGD([weight], lr=0.001)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, T_max=100)
    for rate in rates(OptimiserSettings()):
        assert rate == pytest.approx(schedule.get_last_lr()[0], rel=1e-6, abs=1e-12)
        optimiser.step()
        schedule.step()


@pytest.mark.parametrize(
    ("name", "cls"), [("sgd", torch.optim.SGD), ("adam", torch.optim.Adam), ("adamw", torch.optim.AdamW)]
)
def test_only_parameters_with_gradient_are_trained(name, cls):
    trained, frozen = torch.nn.Parameter(torch.zeros(1)), torch.nn.Parameter(torch.zeros(1), False)
    optimiser = build_optimiser(OptimiserSettings(name=name), [trained, frozen])
    assert type(optimiser) is cls
    assert optimiser.param_groups[0]["params"] == [trained]
    assert optimiser.param_groups[0]["weight_decay"] == 1e-4


def test_impossible_settings_are_refused():
    with pytest.raises(ValueError, match="rate_per_64_clips = 0: above 0"):
        OptimiserSettings(rate_per_64_clips=0)
    with pytest.raises(ValueError, match="warm_up_steps = -1"):
        OptimiserSettings(warm_up_steps=-1)
