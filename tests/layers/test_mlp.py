import pytest
import torch
from torch import nn

from mien.layers.mlp import batch_norm_mlp, mlp


def test_the_papers_head_has_164224_parameters():
    assert sum(parameter.numel() for parameter in mlp(512, 256, 128).parameters()) == 164_224


def test_is_linear_relu_linear_with_biases():
    head = mlp(5, 4, 3)
    x = torch.randn(6, 5, generator=torch.Generator().manual_seed(0))
    first, last = head[0], head[-1]
    expected = torch.relu(x @ first.weight.T + first.bias) @ last.weight.T + last.bias
    torch.testing.assert_close(head(x), expected)
    assert not any(isinstance(module, nn.BatchNorm1d) for module in head)


def test_batch_norm_on_the_output_has_no_parameters_and_whitens_each_feature():
    head = mlp(5, 4, 3, batch_norm_output=True)
    rows = head(torch.randn(200, 5, generator=torch.Generator().manual_seed(0)))
    assert sum(p.numel() for p in head.parameters()) == sum(p.numel() for p in mlp(5, 4, 3).parameters())
    torch.testing.assert_close(rows.mean(dim=0), torch.zeros(3), atol=1e-5, rtol=0)
    torch.testing.assert_close(rows.std(dim=0, unbiased=False), torch.ones(3), atol=1e-2, rtol=0)


def test_batch_norm_and_relu_stand_between_the_maps():
    kinds = [type(layer) for layer in batch_norm_mlp(8, 6, 5, 3)]
    between = [nn.Linear, nn.BatchNorm1d, nn.ReLU]
    assert kinds == [*between, *between, nn.Linear]


def test_two_widths_are_one_linear_map():
    (layer,) = batch_norm_mlp(4, 2)
    assert layer(torch.ones(3, 4)).shape == (3, 2)
    assert layer.bias is not None


def test_the_last_map_may_go_without_a_bias():
    assert [layer.bias is None for layer in batch_norm_mlp(8, 6, 3, output_bias=False)[::3]] == [True, True]


@pytest.mark.parametrize("build", [mlp, batch_norm_mlp])
def test_one_width_is_refused(build):
    with pytest.raises(ValueError, match="at least an input and an output"):
        build(5)
