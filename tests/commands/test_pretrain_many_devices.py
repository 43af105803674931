"""The whole command on several devices: one process each, joined by gloo."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time

import psutil
import pytest
import torch
from safetensors.torch import load_file

pytestmark = pytest.mark.slow

RECIPE = """
[method]
name = "clp"
bank_size = 64
num_candidates = 32
min_fill = 16
key_batch_norm_rows = 8  # two groups, on one device and on two

[backbone]
name = "resnet18"
width = 8

[views]
output_size_px = 32

[data]
frame_size_px = 36
clips_per_step = 8
workers = 0

[optimiser]
rate_per_64_clips = 0.001

[run]
steps = 20
threads = 1
accelerator = "cpu"
log_every_steps = 5
checkpoint_every_epochs = 0
checkpoint_every_steps = 4
tensorboard = false
"""


@pytest.fixture(scope="module")
def pretrain(disc_store, tmp_path_factory):
    """`pretrain(name, *overrides, launcher=())`: the command, its folder and a way to start it."""
    folder = tmp_path_factory.mktemp("runs")
    recipe = folder / "small.toml"
    recipe.write_text(RECIPE)

    def start(name, *overrides, launcher=(sys.executable,)):
        out = folder / name
        words = ["pretrain", str(recipe), "--store", str(disc_store), "--out", str(out)]
        command = [*launcher, "-m", "mien", *words, *(f"--set={one}" for one in overrides)]
        quiet = os.environ | {"PYTHONWARNINGS": "ignore", "OMP_NUM_THREADS": "1"}
        return out, subprocess.Popen(command, env=quiet, stderr=subprocess.PIPE, text=True)

    return start


@pytest.fixture(scope="module")
def on_two(pretrain):
    """An unbroken run on two devices."""
    out, process = pretrain("two", "run.devices=2")
    assert process.wait(timeout=900) == 0
    return out


def newest(out):
    return load_file(sorted((out / "checkpoints").glob("step-*"))[-1])


def logged(out, key):
    return [json.loads(line)[key] for line in (out / "log.jsonl").read_text().splitlines()]


def assert_same_weights(out, other):
    left, right = newest(out), newest(other)
    assert left.keys() == right.keys()
    for name in left:
        if not name.startswith("window/"):
            assert torch.equal(left[name], right[name]), name


def wait_for(condition, process, seconds=600.0):
    until = time.monotonic() + seconds
    while not condition():
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < until, "nothing came"
        time.sleep(0.02)


def of_rank(process, number):
    """The process of a rank among the descendants of a launcher."""
    for child in psutil.Process(process.pid).children(recursive=True):
        if "pretrain" in child.cmdline() and child.environ().get("LOCAL_RANK") == str(number):
            return child
    raise AssertionError(f"no process of rank {number}")


def test_two_devices_learn_what_one_learns_when_they_share_batch_statistics(pretrain):
    """Four steps: in float32, rounding grows tenfold every few; test_several_processes.py has float64."""
    short = ("run.batch_norm=all_devices", "run.steps=4", "run.log_every_steps=1")
    runs = {}
    for devices in (1, 2):
        runs[devices], process = pretrain(f"shared{devices}", *short, f"run.devices={devices}")
        assert process.wait(timeout=900) == 0
    one, two = newest(runs[1]), newest(runs[2])
    assert one.keys() == two.keys()
    for name in one:
        if "identity_M" in name or "video_M" in name or "extra_state" in name:
            assert torch.equal(one[name], two[name]), name
        elif name.startswith("method/") and "running" not in name and "num_batches" not in name:
            torch.testing.assert_close(one[name], two[name], rtol=1e-4, atol=1e-4, msg=name)
    # the mean of the two devices, not the first's
    assert logged(runs[1], "loss") == pytest.approx(logged(runs[2], "loss"), rel=2e-3)


def test_two_devices_stop_together_and_continue_to_the_uninterrupted_run(pretrain, on_two):
    out, process = pretrain("stopped", "run.devices=2", "run.max_minutes=1e-9")
    assert process.wait(timeout=900) == 0
    assert [path.name for path in (out / "checkpoints").iterdir()] == ["step-000000001.safetensors"]
    _, process = pretrain("stopped", "run.devices=2")
    assert process.wait(timeout=900) == 0
    assert_same_weights(on_two, out)
    assert logged(on_two, "loss") == logged(out, "loss")


def test_a_killed_process_ends_the_run_with_a_word_and_the_same_command_ends_it_alike(pretrain, on_two):
    out, process = pretrain("killed", "run.devices=2")
    wait_for(lambda: any((out / "checkpoints").glob("step-*")), process)
    of_rank(process, 1).kill()
    said = process.communicate(timeout=600)[1]
    assert process.returncode != 0
    assert "another of the 2 processes is lost" in said
    assert "The newest checkpoint is step-" in said
    assert "Traceback" not in said
    assert not (out / "encoder.safetensors").exists()
    again, process = pretrain("killed", "run.devices=2")
    assert process.wait(timeout=900) == 0
    assert_same_weights(on_two, again)


def test_torchrun_starts_a_run_again_after_a_process_is_killed_and_it_ends_alike(
    pretrain, on_two, monkeypatch
):
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    torchrun += ["--nproc-per-node", "2", "--max-restarts", "2"]
    monkeypatch.setenv("TORCH_DISABLE_SHARE_RDZV_TCP_STORE", "1")
    out, process = pretrain("elastic", "run.devices=2", launcher=torchrun)
    wait_for(lambda: any((out / "checkpoints").glob("step-*")), process)
    of_rank(process, 1).kill()
    said = process.communicate(timeout=900)[1]
    assert process.returncode == 0, said
    assert "goes on from step" in said
    assert_same_weights(on_two, out)


def test_torchrun_with_another_number_of_processes_than_the_run_has_is_refused(pretrain):
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    _, process = pretrain("mismatched", "run.devices=4", launcher=torchrun)
    said = process.communicate(timeout=600)[1]
    assert process.returncode != 0
    assert "torchrun started 2 processes, but run.devices = 4 on run.nodes = 1 are 4" in said
