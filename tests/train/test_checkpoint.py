from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from mien.train.checkpoint import (
    list_checkpoints,
    newest_readable,
    read_checkpoint,
    restore,
    take_checkpoint,
    write_checkpoint,
)
from mien.train.optimiser import OptimiserSettings, build_optimiser
from mien.train.tensor_file import TensorFileError


def small_net(seed=0):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(16, 2))


def train(net, optimiser, steps):
    for step in steps:
        x = torch.randn(5, 3, 4, 4, generator=torch.Generator().manual_seed(step))
        optimiser.zero_grad()
        net(x).square().sum().backward()
        optimiser.step()


def save(folder, step, net, optimiser, *, keep=2):
    window = {"sum.loss": torch.tensor(0.1, dtype=torch.float64)}
    checkpoint = take_checkpoint(step, net, optimiser, window=window, record={"corpus": "abc"})
    return write_checkpoint(folder, checkpoint, keep=keep)


@pytest.mark.parametrize("name", ["sgd", "adam", "adamw"])
def test_a_resumed_run_goes_on_bit_for_bit(tmp_path, name):
    settings = OptimiserSettings(name=name, rate_per_64_clips=0.01)
    unbroken = small_net()
    optimiser = build_optimiser(settings, unbroken.parameters())
    train(unbroken, optimiser, range(5))
    path = save(tmp_path, 5, unbroken, optimiser)
    train(unbroken, optimiser, range(5, 9))

    resumed = small_net(seed=1)
    optimiser = build_optimiser(settings, resumed.parameters())
    checkpoint = read_checkpoint(path)
    restore(checkpoint, resumed, optimiser)
    train(resumed, optimiser, range(checkpoint.step, 9))
    for name_, tensor in unbroken.state_dict().items():
        assert torch.equal(tensor, resumed.state_dict()[name_]), name_


def test_a_checkpoint_keeps_step_window_and_record(tmp_path):
    net = small_net()
    path = save(tmp_path, 7, net, build_optimiser(OptimiserSettings(), net.parameters()))
    checkpoint = read_checkpoint(path)
    assert (path.name, checkpoint.step) == ("step-000000007.safetensors", 7)
    assert checkpoint.record == {"corpus": "abc"}
    assert checkpoint.window["sum.loss"].item() == 0.1


def test_only_the_newest_are_kept(tmp_path):
    net = small_net()
    optimiser = build_optimiser(OptimiserSettings(), net.parameters())
    for step in (1, 2, 30, 4):
        save(tmp_path, step, net, optimiser, keep=2)
    assert [path.name for path in list_checkpoints(tmp_path)] == [
        "step-000000004.safetensors",
        "step-000000030.safetensors",
    ]


def test_a_damaged_checkpoint_is_passed_over_and_named(tmp_path):
    net = small_net()
    optimiser = build_optimiser(OptimiserSettings(), net.parameters())
    save(tmp_path, 1, net, optimiser)
    newest = save(tmp_path, 2, net, optimiser)
    newest.write_bytes(newest.read_bytes()[:-50])
    checkpoint, problems = newest_readable(tmp_path)
    assert checkpoint is not None
    assert checkpoint.step == 1
    assert "step-000000002.safetensors cannot be used" in problems[0]


def test_an_empty_folder_has_no_checkpoint(tmp_path):
    assert newest_readable(tmp_path / "missing") == (None, [])


def test_a_checkpoint_of_another_network_is_refused(tmp_path):
    net = small_net()
    path = save(tmp_path, 1, net, build_optimiser(OptimiserSettings(), net.parameters()))
    other = nn.Linear(2, 2)
    with pytest.raises(TensorFileError, match="does not fit the method of this run"):
        restore(read_checkpoint(path), other, build_optimiser(OptimiserSettings(), other.parameters()))


def test_taking_a_checkpoint_changes_nothing(tmp_path):
    net = small_net()
    optimiser = build_optimiser(OptimiserSettings(), net.parameters())
    train(net, optimiser, range(2))
    before = copy.deepcopy(net.state_dict())
    save(tmp_path, 2, net, optimiser)
    assert all(torch.equal(before[name], tensor) for name, tensor in net.state_dict().items())
