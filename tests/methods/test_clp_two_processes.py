from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

SCRIPT = Path(__file__).with_name("clp_process.py")
NUM_CLIPS, NUM_STEPS = 8, 4


def run(folder, world):
    """The results of `world` processes that share 8 clips a step."""
    quiet = os.environ | {"PYTHONWARNINGS": "ignore", "OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE"}
    rendezvous = folder / f"rendezvous{world}"
    processes = []
    for rank in range(world):
        arguments = [rank, world, rendezvous, folder / f"{world}-{rank}.pt", NUM_CLIPS, NUM_STEPS]
        command = [sys.executable, str(SCRIPT), *map(str, arguments)]
        processes.append(subprocess.Popen(command, env=quiet))
    assert [process.wait(timeout=120) for process in processes] == [0] * world
    return [torch.load(folder / f"{world}-{rank}.pt", weights_only=True) for rank in range(world)]


@pytest.fixture(scope="module")
def one_and_two(tmp_path_factory):
    folder = tmp_path_factory.mktemp("processes")
    return run(folder, 1)[0], run(folder, 2)


# 25
def test_two_processes_with_half_the_clips_fill_the_bank_as_one_with_all(one_and_two):
    one, two = one_and_two
    for ours, theirs in zip(one["banks"], two[0]["banks"], strict=True):
        assert all(torch.equal(ours[name], theirs[name]) for name in ours)


def test_all_processes_hold_the_same_bank_and_the_same_weights_after_every_step(one_and_two):
    _, (first, second) = one_and_two
    for ours, theirs in zip(first["banks"], second["banks"], strict=True):
        assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    assert all(torch.equal(first["weights"][name], second["weights"][name]) for name in first["weights"])


def test_each_process_has_the_loss_of_its_own_clips(one_and_two):
    _, (first, second) = one_and_two
    assert all(ours != theirs for ours, theirs in zip(first["losses"], second["losses"], strict=True))
