import pytest
import torch

from mien.losses.percentile_band import percentile_band_mean

LOSSES = torch.tensor([0.4, 0.1, 0.3, 0.2, 0.8, 0.6, 0.5, 0.7])


def test_worked_number():
    assert percentile_band_mean(LOSSES, low=0.0, high=0.5).item() == pytest.approx(0.25)


def test_the_whole_band_is_the_mean():
    torch.testing.assert_close(percentile_band_mean(LOSSES, low=0.0, high=1.0), LOSSES.mean())


@pytest.mark.parametrize("tenth", range(9))
def test_ten_losses_fall_into_tenths(tenth):
    losses = torch.arange(10.0)
    band = percentile_band_mean(losses, low=0.1 * tenth, high=0.1 * (tenth + 1))
    assert band.item() == tenth


@pytest.mark.parametrize("low", [0.0, 0.4, 0.9])
def test_one_loss_is_always_in_the_band(low):
    assert percentile_band_mean(torch.tensor([3.0]), low=low, high=low + 0.1).item() == 3.0


def test_only_the_band_receives_gradient():
    losses = LOSSES.clone().requires_grad_()
    percentile_band_mean(losses, low=0.25, high=0.5).backward()
    assert losses.grad.nonzero().flatten().tolist() == [0, 2]


def test_an_empty_band_is_refused():
    with pytest.raises(ValueError, match="low < high"):
        percentile_band_mean(LOSSES, low=0.5, high=0.5)
