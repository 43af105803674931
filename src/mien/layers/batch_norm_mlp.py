"""A perceptron with batch-norm inside, as SimCLR and SimSiam put behind the backbone."""

from __future__ import annotations

from itertools import pairwise

from torch import nn


def batch_norm_mlp(*widths: int, output_bias: bool = True) -> nn.Sequential:
    """Linear maps through `widths`, batch-norm and ReLU between them; the last one is plain.

    `batch_norm_mlp(512, 512, 2048)`: 512 -> 512, batch-norm, ReLU, 512 -> 2048. Two widths: one linear map.
    `output_bias=False` where a batch-norm follows the last one too.
    """
    if len(widths) < 2:
        raise ValueError(f"widths {widths}: at least an input and an output")
    layers: list[nn.Module] = []
    for wide_in, wide_out in pairwise(widths[:-1]):
        # batch-norm takes the mean away again, so a bias before it would do nothing
        layers += [nn.Linear(wide_in, wide_out, bias=False), nn.BatchNorm1d(wide_out), nn.ReLU()]
    return nn.Sequential(*layers, nn.Linear(widths[-2], widths[-1], bias=output_bias))
