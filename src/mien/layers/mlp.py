"""Multi-layer perceptrons: the heads between backbone and loss."""

from __future__ import annotations

import itertools

from torch import nn


def mlp(*widths: int, batch_norm_output: bool = False) -> nn.Sequential:
    """Linear layers with biases and ReLU between them: `mlp(512, 256, 128)` has 164 224 parameters.

    `batch_norm_output` adds a BatchNorm1d without affine parameters after the last layer: it ends the plateau
    on which attention over a narrow memory bank stays uniform. The paper's heads have none.
    """
    if len(widths) < 2:
        raise ValueError(f"an MLP needs at least an input and an output width, got {widths}")
    layers: list[nn.Module] = []
    for width_in, width_out in itertools.pairwise(widths):
        layers += [nn.Linear(width_in, width_out), nn.ReLU(inplace=True)]
    layers.pop()
    if batch_norm_output:
        layers.append(nn.BatchNorm1d(widths[-1], affine=False))
    return nn.Sequential(*layers)
