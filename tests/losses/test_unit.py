import torch
from torch.nn import functional as F

from mien.losses.unit import unit


def test_agrees_with_normalize():
    rows = torch.randn(20, 7, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(unit(rows), F.normalize(rows, dim=-1))


def test_a_row_of_zeros_stays_zero_with_a_finite_gradient():
    rows = torch.zeros(2, 3, requires_grad=True)
    unit(rows).sum().backward()
    assert torch.equal(unit(rows), torch.zeros(2, 3))
    assert rows.grad.abs().max() <= 1.0


def test_half_precision_rows_are_normalised_in_full():
    rows = torch.randn(4, 9, generator=torch.Generator().manual_seed(0)).bfloat16()
    assert unit(rows).dtype == torch.float32
    torch.testing.assert_close(unit(rows).norm(dim=1), torch.ones(4))
