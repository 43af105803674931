import pytest
import torch
from torch import nn

from mien.layers.mlp import mlp


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


def test_one_width_is_refused():
    with pytest.raises(ValueError, match="output width"):
        mlp(5)
