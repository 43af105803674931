from __future__ import annotations

import pytest
import torch
from torch import nn

from mien.config import SettingsError
from mien.train.optimiser import OptimiserSettings, build_optimiser
from mien.train.run_folder import RunFolder, RunFolderError, read_checkpoint
from mien.train.tensor_file import TensorFileError

SETTINGS = {"method": {"name": "clp", "beta": 0.1}, "data": {"workers": 2}, "run": {"seed": 0, "epochs": 3}}


def begun(path):
    folder = RunFolder(path)
    with folder.writing(SETTINGS):
        return folder


def changed(section, key, value):
    return {**SETTINGS, section: {**SETTINGS[section], key: value}}


def test_a_new_or_empty_folder_is_usable(tmp_path):
    RunFolder(tmp_path / "new").require_usable(SETTINGS)
    RunFolder(tmp_path).require_usable(SETTINGS)


def test_a_folder_of_a_run_killed_before_its_settings_were_written_is_usable(tmp_path):
    for name in (".lock", ".settings.toml.part"):
        (tmp_path / name).touch()
        RunFolder(tmp_path).require_usable(SETTINGS)


def test_a_folder_with_a_run_of_the_same_settings_is_usable(tmp_path):
    begun(tmp_path).require_usable(SETTINGS)


def test_a_folder_with_other_files_is_left_alone(tmp_path):
    (tmp_path / "thesis.tex").touch()
    with pytest.raises(RunFolderError, match="holds other files"):
        RunFolder(tmp_path).require_usable(SETTINGS)


def test_going_on_with_other_settings_names_the_keys_that_differ(tmp_path):
    folder = begun(tmp_path)
    with pytest.raises(SettingsError, match=r"method\.beta: 0\.1 there, 0\.2 now"):
        folder.require_usable(changed("method", "beta", 0.2))
    with pytest.raises(SettingsError, match=r"run\.epochs: 3 there, 4 now"):
        folder.require_usable(changed("run", "epochs", 4))


def test_how_the_work_is_done_may_change(tmp_path):
    begun(tmp_path).require_usable(changed("data", "workers", 8))


def test_two_do_not_write_to_one_run(tmp_path):
    with (
        RunFolder(tmp_path).writing(SETTINGS),
        pytest.raises(RunFolderError, match="another process is writing"),
        RunFolder(tmp_path).writing(SETTINGS),
    ):
        pass


def test_a_run_whose_checkpoints_are_all_damaged_says_so(tmp_path):
    folder = begun(tmp_path)
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints/step-000000001.safetensors").write_bytes(b"\x80\x04junk....")
    with pytest.raises(TensorFileError, match=r"no checkpoint in .* can be read"):
        folder.newest_checkpoint()


def small_net(seed=0):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(16, 2))


def train(net, optimiser, steps):
    for step in steps:
        x = torch.randn(5, 3, 4, 4, generator=torch.Generator().manual_seed(step))
        optimiser.zero_grad()
        net(x).square().sum().backward()
        optimiser.step()


def save(path, step, net, optimiser, *, keep=2):
    window = {"sum.loss": torch.tensor(0.1, dtype=torch.float64)}
    RunFolder(path).save(step, net, optimiser, window=window, record={"corpus": "abc"}, keep=keep)
    return RunFolder(path).checkpoints()[-1]


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
    checkpoint.restore(resumed, optimiser)
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
    assert [path.name for path in RunFolder(tmp_path).checkpoints()] == [
        "step-000000004.safetensors",
        "step-000000030.safetensors",
    ]


def test_a_damaged_checkpoint_is_passed_over_and_named(tmp_path):
    net = small_net()
    optimiser = build_optimiser(OptimiserSettings(), net.parameters())
    save(tmp_path, 1, net, optimiser)
    newest = save(tmp_path, 2, net, optimiser)
    newest.write_bytes(newest.read_bytes()[:-50])
    checkpoint, problems = RunFolder(tmp_path).newest_checkpoint()
    assert checkpoint is not None
    assert checkpoint.step == 1
    assert "step-000000002.safetensors cannot be used" in problems[0]


def test_an_empty_folder_has_no_checkpoint(tmp_path):
    assert RunFolder(tmp_path / "missing").newest_checkpoint() == (None, [])


def test_a_checkpoint_of_another_network_is_refused(tmp_path):
    net = small_net()
    path = save(tmp_path, 1, net, build_optimiser(OptimiserSettings(), net.parameters()))
    other = nn.Linear(2, 2)
    with pytest.raises(TensorFileError, match="does not fit the method of this run"):
        read_checkpoint(path).restore(other, build_optimiser(OptimiserSettings(), other.parameters()))
