"""What several processes learn together against what one learns from all their clips, over 10 steps.

Exact: the order of the bank, its identities and videos, and everything between the processes of one run.
Within float tolerance: features, losses and weights, whose sums are taken in another order.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

SCRIPT = Path(__file__).with_name("several_processes.py")
BANKS = ["clp", "clp, shared", "clp, frames of the clip", "moco, shared", "cvc, shared"]
CLOSE = {"rtol": 1e-5, "atol": 1e-6}
SHARED = [*BANKS[1:], "simsiam, shared"]

pytestmark = pytest.mark.slow


def run(folder, world):
    """The results of `world` processes that share 8 clips a step."""
    quiet = os.environ | {"PYTHONWARNINGS": "ignore", "OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE"}
    rendezvous = folder / f"rendezvous{world}"
    processes = []
    for rank in range(world):
        arguments = [rank, world, rendezvous, folder / f"{world}-{rank}.pt"]
        command = [sys.executable, str(SCRIPT), *map(str, arguments)]
        processes.append(subprocess.Popen(command, env=quiet))
    assert [process.wait(timeout=600) for process in processes] == [0] * world
    return [torch.load(folder / f"{world}-{rank}.pt", weights_only=True) for rank in range(world)]


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """Number of processes -> a result for each of them."""
    folder = tmp_path_factory.mktemp("processes")
    return {world: run(folder, world) for world in (1, 2, 4)}


def assert_same_learning(one, several):
    """One process's result of a case against all the processes' of the same case."""
    for ours, theirs in zip(one["banks"], several[0]["banks"], strict=True):
        assert ours.keys() == theirs.keys()
        for name in ours:
            if "rows_MD" in name:
                torch.testing.assert_close(ours[name], theirs[name], **CLOSE)
            else:  # identities, videos, pointer and filled count
                assert torch.equal(ours[name], theirs[name]), name
    losses = torch.tensor([result["losses"] for result in several], dtype=torch.float64)
    torch.testing.assert_close(losses.mean(dim=0).tolist(), one["losses"], **CLOSE)
    assert one["weights"].keys() == several[0]["weights"].keys()
    for name, weight in one["weights"].items():
        torch.testing.assert_close(several[0]["weights"][name], weight, **CLOSE, msg=name)


# 25
def test_two_processes_learn_what_one_learns_that_keeps_two_devices_statistics_apart(results):
    assert_same_learning(results[1][0]["clp"], [result["clp"] for result in results[2]])


@pytest.mark.parametrize("world", [2, 4])
@pytest.mark.parametrize("case", SHARED)
def test_processes_that_share_batch_statistics_learn_what_one_learns(results, case, world):
    assert_same_learning(results[1][0][case], [result[case] for result in results[world]])


@pytest.mark.parametrize("case", [*BANKS, "simsiam, shared"])
def test_all_processes_hold_the_same_bank_after_every_step_and_the_same_weights(results, case):
    for world in (2, 4):
        first, *others = (result[case] for result in results[world])
        for other in others:
            for ours, theirs in zip(first["banks"], other["banks"], strict=True):
                assert all(torch.equal(ours[name], theirs[name]) for name in ours)
            weights = first["weights"]
            assert all(torch.equal(weights[name], other["weights"][name]) for name in weights)


def test_each_process_has_the_loss_of_its_own_clips(results):
    first, second = (result["clp"] for result in results[2])
    assert all(ours != theirs for ours, theirs in zip(first["losses"], second["losses"], strict=True))


def test_weights_move_from_where_they_began(results):
    """Else all the above would hold of processes that learn nothing."""
    for case in [*BANKS, "simsiam, shared"]:
        losses = results[1][0][case]["losses"]
        assert len(set(losses)) > len(losses) // 2, case
