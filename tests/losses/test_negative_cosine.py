import pytest
import torch

from mien.losses.negative_cosine import negative_cosine, symmetric_negative_cosine


def test_worked_number():
    p1, z2, p2, z1 = (torch.tensor([row]) for row in ([1.0, 1.0], [1.0, 0.0], [0.0, 2.0], [3.0, 4.0]))
    assert symmetric_negative_cosine(p1, z2, p2, z1).item() == pytest.approx(-0.753553, abs=1e-6)


def test_no_gradient_reaches_the_target():
    prediction = torch.randn(4, 3, requires_grad=True)
    target = torch.randn(4, 3, requires_grad=True)
    negative_cosine(prediction, target).backward()
    assert prediction.grad is not None
    assert target.grad is None


def test_range_ends_where_rows_agree_or_oppose():
    rows = torch.randn(5, 8)
    assert negative_cosine(rows, 2 * rows).item() == pytest.approx(-1.0, abs=1e-6)
    assert negative_cosine(rows, -rows).item() == pytest.approx(1.0, abs=1e-6)


def test_zero_rows_give_a_finite_gradient():
    prediction = torch.zeros(2, 3, requires_grad=True)
    negative_cosine(prediction, torch.ones(2, 3)).backward()
    assert prediction.grad.isfinite().all()
