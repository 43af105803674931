"""The activation map is exact: its mean and a constant are the logit."""

import pytest
import torch

from mien.evaluate.feature_content import activation_maps, region_map
from mien.evaluate.head import ProbeHead
from mien.evaluate.probe import class_weights


@pytest.fixture
def worked():
    """The worked case: two features of 2 x 2 maps, one output, eps 0."""
    head = ProbeHead(2, 1).double().eval()
    head.norm.eps = 0.0
    with torch.no_grad():
        head.norm.running_mean.copy_(torch.tensor([2.0, 0.25]))
        head.norm.running_var.copy_(torch.tensor([4.0, 1.0]))
        head.norm.weight.copy_(torch.tensor([1.0, 2.0]))
        head.norm.bias.copy_(torch.tensor([0.5, -0.5]))
        head.linear.weight.copy_(torch.tensor([[0.3, -0.7]]))
    return torch.tensor([[[[1.0, 2], [3, 4]], [[0, 1], [1, 0]]]], dtype=torch.float64), head


def test_the_worked_case(worked):
    maps_NDHW, head = worked
    maps_NAHW, constant_A = activation_maps(maps_NDHW, head)
    torch.testing.assert_close(
        maps_NAHW[0, 0], torch.tensor([[0.15, -1.10], [-0.95, 0.60]], dtype=torch.float64)
    )
    assert constant_A.item() == pytest.approx(0.55)
    assert head(maps_NDHW.mean(dim=(2, 3))).item() == pytest.approx(0.225)


def test_mean_of_the_map_plus_constant_is_the_logit_of_a_trained_head():
    torch.manual_seed(0)
    head = ProbeHead(16, 5)
    for _ in range(20):
        head(torch.randn(32, 16) * 3 + 1)
    head.eval()
    maps_NDHW = torch.randn(4, 16, 7, 7) * 2 + 1
    maps_NAHW, constant_A = activation_maps(maps_NDHW, head)
    torch.testing.assert_close(maps_NAHW.mean(dim=(2, 3)) + constant_A, head(maps_NDHW.mean(dim=(2, 3))))


def test_a_head_in_training_mode_is_refused(worked):
    maps_NDHW, head = worked
    with pytest.raises(ValueError, match=r"head.eval\(\)"):
        activation_maps(maps_NDHW, head.train())


def test_a_map_that_misses_the_logit_is_caught(worked):
    maps_NDHW, head = worked
    head.as_affine = lambda: (head.linear.weight, torch.zeros(1, dtype=torch.float64))
    with pytest.raises(AssertionError, match="miss the logits"):
        activation_maps(maps_NDHW, head)


def test_a_region_is_the_largest_of_its_action_units_scaled_to_one():
    maps_NAHW = torch.tensor([[[[1.0, -4]], [[3.0, 2]], [[-1.0, -2]]]])
    torch.testing.assert_close(region_map(maps_NAHW[:, :2])[0], torch.tensor([[1.0, 2 / 3]]))
    assert region_map(maps_NAHW[:, 2:]).abs().sum() == 0


def test_the_head_of_the_paper_has_1024_affine_numbers_and_no_bias():
    head = ProbeHead(512, 12)
    assert sum(parameter.numel() for parameter in head.parameters()) == 2 * 512 + 512 * 12


def test_class_weights_balance_the_classes():
    weight_C = class_weights(torch.tensor([0, 0, 0, 1]), 2)
    torch.testing.assert_close(weight_C, torch.tensor([4 / 6, 2.0]))
