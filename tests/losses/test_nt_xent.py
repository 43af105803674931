import math

import pytest
import torch
from pytorch_metric_learning.losses import NTXentLoss

from mien.losses.nt_xent import nt_xent

VIEW_A = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
VIEW_B = torch.tensor([[0.8, 0.6], [0.6, 0.8]])


def from_the_equation(view_a, view_b, temperature):
    rows = [row / row.norm() for row in torch.cat([view_a, view_b]).double()]
    losses = []
    for i, row in enumerate(rows):
        partner = (i + len(view_a)) % len(rows)
        others = sum(math.exp(float(row @ other) / temperature) for k, other in enumerate(rows) if k != i)
        losses.append(-math.log(math.exp(float(row @ rows[partner]) / temperature) / others))
    return sum(losses) / len(losses)


@pytest.mark.parametrize(("temperature", "worked"), [(0.5, 0.870714), (0.1, 0.966802), (0.07, 1.221856)])
def test_worked_numbers(temperature, worked):
    assert nt_xent(VIEW_A, VIEW_B, temperature=temperature).item() == pytest.approx(worked, abs=2e-6)


def test_all_rows_equal_costs_the_log_of_the_others():
    rows = torch.ones(4, 3)
    assert nt_xent(rows, rows, temperature=0.2).item() == pytest.approx(math.log(7), abs=1e-6)


def test_one_pair_costs_nothing():
    assert nt_xent(VIEW_A[:1], VIEW_B[:1], temperature=0.1).item() == pytest.approx(0.0, abs=1e-7)


@pytest.mark.parametrize("seed", range(3))
def test_equals_loops_written_from_the_equation(seed):
    generator = torch.Generator().manual_seed(seed)
    view_a, view_b = torch.randn(2, 5, 7, generator=generator)
    expected = from_the_equation(view_a, view_b, 0.3)
    assert nt_xent(view_a, view_b, temperature=0.3).item() == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("temperature", [0.07, 0.5])
def test_equals_pytorch_metric_learning(temperature):
    view_a, view_b = torch.randn(2, 9, 16, generator=torch.Generator().manual_seed(3))
    labels = torch.arange(9).repeat(2)
    theirs = NTXentLoss(temperature)(torch.cat([view_a, view_b]), labels)
    assert nt_xent(view_a, view_b, temperature=temperature).item() == pytest.approx(theirs.item(), abs=1e-5)


def test_loss_does_not_change_when_views_swap():
    torch.testing.assert_close(
        nt_xent(VIEW_A, VIEW_B, temperature=0.1), nt_xent(VIEW_B, VIEW_A, temperature=0.1)
    )


def test_loss_does_not_change_when_rows_are_scaled():
    torch.testing.assert_close(
        nt_xent(3 * VIEW_A, 0.2 * VIEW_B, temperature=0.1), nt_xent(VIEW_A, VIEW_B, temperature=0.1)
    )
