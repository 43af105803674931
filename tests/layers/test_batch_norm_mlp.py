import pytest
import torch
from torch import nn

from mien.layers.batch_norm_mlp import batch_norm_mlp


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


def test_one_width_is_refused():
    with pytest.raises(ValueError, match="at least an input and an output"):
        batch_norm_mlp(4)
