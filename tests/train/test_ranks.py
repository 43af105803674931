from __future__ import annotations

import os

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp

from mien.layers.gather import draw_rows, exchange_rows, gather_rows, mean_over_processes, rank, world_size
from mien.train.ranks import (
    LostRankError,
    Ranks,
    RanksDisagreeError,
    checksum,
    noticing_lost_ranks,
)

WORLD = 2


def test_a_checksum_follows_bits_and_places():
    tensor = torch.arange(6, dtype=torch.float32)
    swapped = tensor[[1, 0, 2, 3, 4, 5]]
    assert checksum(tensor) == checksum(tensor.clone())
    assert checksum(tensor) != checksum(swapped)
    assert checksum(tensor) != checksum(torch.nextafter(tensor, tensor + 1))
    assert checksum(torch.tensor([True, False])) != checksum(torch.tensor([False, True]))


def test_one_process_agrees_with_itself_at_once():
    ranks = Ranks()
    assert [ranks.any(True), ranks.any(False)] == [True, False]
    ranks.require_same({"weight": torch.ones(2)}, step=1)
    assert torch.equal(ranks.mean(torch.tensor([1.0])), torch.tensor([1.0]))


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """What each of two processes joined by gloo found."""
    folder = tmp_path_factory.mktemp("two")
    mp.spawn(_process, args=(str(folder),), nprocs=WORLD)
    return [torch.load(folder / f"{number}.pt", weights_only=True) for number in range(WORLD)]


def test_two_processes_agree_and_notice_when_they_do_not(results):
    for result in results:
        assert result["any"] == [True, False]
        assert result["mean"] == 0.5
        assert "different values of bank.rows_MD (1 of 2 tensors differ) after step 7" in result["differing"]


def test_rows_exchanged_are_the_rows_gathered_and_put_in_order(results):
    for result in results:
        assert torch.equal(result["exchanged"], result["expected"])
        assert torch.equal(result["drawn"], torch.rand(6, 2, generator=torch.Generator().manual_seed(3)))
        assert torch.equal(result["mean_of_rows"], torch.tensor([0.5, 1.0]))


def test_a_lost_process_is_noticed_and_what_to_do_is_said(results):
    assert "another of the 2 processes is lost" in results[0]["said"]
    assert results[0]["said"].endswith("The newest checkpoint is step-7; the same command goes on from it")


def _process(number, folder):
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=number, world_size=WORLD)
    assert world_size() == WORLD
    ranks = Ranks()
    found = _agree(ranks) | _exchange() | (_lose_the_second(ranks) if number == 0 else {})
    torch.save(found, f"{folder}/{number}.pt")
    os._exit(0)  # gloo's threads sometimes abort an interpreter that exits normally


def _agree(ranks):
    said = {"any": [ranks.any(rank() == 1), ranks.any(False)]}
    said["mean"] = ranks.mean(torch.tensor(float(rank()))).item()
    same = {"weight": torch.ones(3), "norm.running_mean": torch.tensor([float(rank())])}
    ranks.require_same(same, step=6)
    try:
        ranks.require_same(same | {"bank.rows_MD": torch.full((4,), float(rank()))}, step=7)
    except RanksDisagreeError as error:
        said["differing"] = str(error)
    return said


def _exchange():
    rows = torch.arange(3 * 4, dtype=torch.float32).view(3, 2, 2) + 100 * rank()
    order = torch.randperm(6, generator=torch.Generator().manual_seed(1))
    drawn = draw_rows(3, 2, generator=torch.Generator().manual_seed(3))
    return {
        "exchanged": exchange_rows(rows, order),
        "expected": gather_rows(rows)[order].tensor_split(WORLD)[rank()],
        "drawn": gather_rows(drawn),
        "mean_of_rows": mean_over_processes(torch.tensor([0.0, 1.0]) if rank() else torch.tensor([1.0, 1.0])),
    }


def _lose_the_second(ranks):
    try:
        with noticing_lost_ranks(newest=lambda: "step-7"):
            for _ in range(3):
                ranks.any(False)
    except LostRankError as error:
        return {"said": str(error)}
    return {"said": "nothing"}
