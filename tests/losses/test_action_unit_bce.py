import math

import pytest
import torch

from mien.losses.action_unit_bce import action_unit_bce, balancing_weights

LOGITS = torch.tensor([[0.0], [2.0], [-1.0], [0.5]])
LABELS = torch.tensor([[1.0], [1.0], [0.0], [0.0]])
NAN = float("nan")


@pytest.mark.parametrize(
    ("present", "absent", "worked"), [(1.0, 1.0, 0.526853), (3.0, 1.0, 0.936891), (2.0, 2 / 3, 0.624594)]
)
def test_worked_numbers(present, absent, worked):
    loss = action_unit_bce(
        LOGITS,
        LABELS,
        present_weight_A=torch.tensor([present]),
        absent_weight_A=torch.tensor([absent]),
    )
    assert loss.item() == pytest.approx(worked, abs=2e-6)


def test_not_coded_entries_cost_nothing_and_receive_no_gradient():
    logits = torch.randn(3, 2, requires_grad=True)
    labels = torch.tensor([[1.0, NAN], [NAN, NAN], [0.0, 1.0]])
    ones = torch.ones(2)
    loss = action_unit_bce(logits, labels, present_weight_A=ones, absent_weight_A=ones)
    loss.backward()
    by_hand = [
        math.log1p(math.exp(-logits[0, 0].item())),
        math.log1p(math.exp(logits[2, 0].item())),
        math.log1p(math.exp(-logits[2, 1].item())),
    ]
    assert loss.item() == pytest.approx(sum(by_hand) / 3, abs=1e-6)
    assert (logits.grad != 0).tolist() == [[True, False], [False, False], [True, True]]


def test_nothing_coded_costs_nothing():
    ones = torch.ones(2)
    labels = torch.full((3, 2), NAN)
    loss = action_unit_bce(torch.randn(3, 2), labels, present_weight_A=ones, absent_weight_A=ones)
    assert loss.item() == 0.0


def test_balancing_gives_presence_and_absence_the_same_weight_in_all():
    present, absent = balancing_weights(torch.tensor([1.0, 1.0]), torch.tensor([3.0, 2.0]))
    assert present.tolist() == pytest.approx([4 / 2, 3 / 2])
    assert absent.tolist() == pytest.approx([4 / 6, 3 / 4])


def test_an_action_unit_of_one_value_weighs_one():
    present, absent = balancing_weights(torch.tensor([0.0, 0.0]), torch.tensor([2.0, 0.0]))
    assert present.tolist() == absent.tolist() == [1.0, 1.0]


def test_weights_have_an_upper_end():
    present, _ = balancing_weights(torch.tensor([1.0]), torch.tensor([999.0]), largest=20.0)
    assert present.item() == 20.0
