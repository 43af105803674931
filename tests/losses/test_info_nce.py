import json
import math
from pathlib import Path

import pytest
import torch

from mien.losses.info_nce import info_nce
from mien.losses.unit import unit

BASELINES = json.loads((Path(__file__).parents[1] / "oracles.json").read_text())["baselines"]
QUEUE = torch.tensor([[0.0, 1, 0], [0, 0, 1], [-1, 0, 0], [0.6, 0, 0.8]], dtype=torch.float64)
QUERY = torch.tensor([[1.0, 0, 0]], dtype=torch.float64)
KEY = torch.tensor([[0.8, 0.6, 0]], dtype=torch.float64)


def random_rows(num_rows, dim=5, seed=0):
    return torch.randn(num_rows, dim, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("temperature", [0.07, 0.2])
def test_worked_moco_case(temperature):
    loss = info_nce(QUERY, KEY, QUEUE, temperature=temperature)
    assert loss.item() == pytest.approx(BASELINES[f"moco_T{temperature}"], abs=1e-6)


def test_agrees_with_loops_written_from_the_equation():
    query, key, negatives = random_rows(4), random_rows(4, seed=1), unit(random_rows(6, seed=2))
    losses = info_nce(query, key, negatives, temperature=0.3)
    for n in range(4):
        q, k = unit(query[n]).tolist(), unit(key[n]).tolist()
        positive = math.exp(sum(a * b for a, b in zip(q, k, strict=True)) / 0.3)
        others = sum(
            math.exp(sum(a * b for a, b in zip(q, row, strict=True)) / 0.3) for row in negatives.tolist()
        )
        assert losses[n].item() == pytest.approx(-math.log(positive / (positive + others)), abs=1e-12)


def test_a_masked_negative_is_as_if_it_were_not_there():
    query, key, negatives = random_rows(2), random_rows(2, seed=1), unit(random_rows(6, seed=2))
    masked = torch.zeros(2, 6, dtype=torch.bool)
    masked[0, [1, 4]] = True
    losses = info_nce(query, key, negatives, temperature=0.3, masked_NM=masked)
    kept = info_nce(query[:1], key[:1], negatives[[0, 2, 3, 5]], temperature=0.3)
    torch.testing.assert_close(losses[0], kept[0])
    torch.testing.assert_close(losses[1], info_nce(query, key, negatives, temperature=0.3)[1])


def test_without_a_negative_left_the_loss_is_zero_with_a_finite_gradient():
    query = random_rows(2).requires_grad_()
    masked = torch.ones(2, 6, dtype=torch.bool)
    loss = info_nce(query, random_rows(2, seed=1), unit(random_rows(6)), temperature=0.07, masked_NM=masked)
    assert torch.equal(loss, torch.zeros_like(loss))
    (gradient,) = torch.autograd.grad(loss.sum(), query)
    assert torch.equal(gradient, torch.zeros_like(gradient))
