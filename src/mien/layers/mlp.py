"""Multi-layer perceptrons: the heads between backbone and loss, plain or with batch-norm inside."""

from __future__ import annotations

import itertools

from torch import nn


def mlp(*widths: int, batch_norm_output: bool = False) -> nn.Sequential:
    """Linear layers with biases and ReLU between them: `mlp(512, 256, 128)` has 164 224 parameters.

    `batch_norm_output` adds a BatchNorm1d without affine parameters after the last layer: it ends the plateau
    on which attention over a narrow memory bank stays uniform. The paper's heads have none.
    """
    if len(widths) < 2:
        raise ValueError(f"widths {widths}: at least an input and an output")
    layers: list[nn.Module] = []
    for width_in, width_out in itertools.pairwise(widths):
        layers += [nn.Linear(width_in, width_out), nn.ReLU(inplace=True)]
    layers.pop()
    if batch_norm_output:
        layers.append(nn.BatchNorm1d(widths[-1], affine=False))
    return nn.Sequential(*layers)


def batch_norm_mlp(*widths: int, output_bias: bool = True) -> nn.Sequential:
    """Linear maps, batch-norm and ReLU between them; the last is plain. The heads of SimCLR and SimSiam.

    `batch_norm_mlp(512, 512, 2048)`: 512 -> 512, batch-norm, ReLU, 512 -> 2048. Two widths: one linear map.
    `output_bias=False` where a batch-norm follows the last one too.
    """
    if len(widths) < 2:
        raise ValueError(f"widths {widths}: at least an input and an output")
    layers: list[nn.Module] = []
    for wide_in, wide_out in itertools.pairwise(widths[:-1]):
        # batch-norm takes the mean away again, so a bias before it would do nothing
        layers += [nn.Linear(wide_in, wide_out, bias=False), nn.BatchNorm1d(wide_out), nn.ReLU()]
    return nn.Sequential(*layers, nn.Linear(widths[-2], widths[-1], bias=output_bias))
