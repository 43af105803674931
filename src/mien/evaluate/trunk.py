"""What of an encoder a probe may change: nothing, batch-norm statistics, their affine numbers, or all."""

from __future__ import annotations

import copy
import enum

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from mien.backbones import Backbone


class TrunkMode(enum.Enum):
    """What moves while a head is fitted; at test time everything stands still in all modes.

    The paper: "the parameters in the encoder were frozen except that in the batch-norm layers".
    """

    FROZEN = "frozen"
    """Nothing: the usual linear protocol, on cached features."""
    STATS = "stats"
    """Running means and variances of the batch-norm layers."""
    AFFINE_STATS = "affine+stats"
    """These and the layers' weights and biases: the paper's words taken literally."""
    ALL = "all"
    """Everything: fine-tuning end to end."""


PROBE_MODES = (TrunkMode.AFFINE_STATS, TrunkMode.STATS, TrunkMode.FROZEN)
"""The three that are always reported side by side."""


def prepared_trunk(backbone: Backbone, mode: TrunkMode) -> Backbone:
    """A copy in which exactly what `mode` says is in training mode or has a gradient."""
    trunk = copy.deepcopy(backbone)
    trunk.requires_grad_(mode is TrunkMode.ALL)
    trunk.train(mode is TrunkMode.ALL)
    for module in trunk.modules():
        if isinstance(module, _BatchNorm):
            module.train(mode is not TrunkMode.FROZEN)
            module.requires_grad_(mode in (TrunkMode.AFFINE_STATS, TrunkMode.ALL))
    return trunk


def trainable(trunk: nn.Module) -> list[nn.Parameter]:
    """The parameters that have a gradient."""
    return [parameter for parameter in trunk.parameters() if parameter.requires_grad]
