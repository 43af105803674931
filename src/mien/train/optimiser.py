"""The optimiser and its rate: linear in clips per step, with warm-up, then constant or cosine to zero."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import nn
from torch.optim import Optimizer


@dataclass(frozen=True)
class OptimiserSettings:
    """Li & Shan, TIP 2023 state the initial rate; momentum, decay and cosine are those of MoCo v2 and CVC."""

    name: Literal["sgd", "adam", "adamw"] = "sgd"
    rate_per_64_clips: float = 0.001  # the rate is this times clips_per_step / 64
    momentum: float = 0.9  # of sgd
    weight_decay: float = 1e-4
    schedule: Literal["cosine", "constant"] = "cosine"
    warm_up_steps: int = 0  # the rate rises linearly over these

    def __post_init__(self) -> None:
        if self.rate_per_64_clips <= 0:
            raise ValueError(f"rate_per_64_clips = {self.rate_per_64_clips}: above 0")
        for name in ("momentum", "weight_decay", "warm_up_steps"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} = {getattr(self, name)}: 0 or more")


def build_optimiser(settings: OptimiserSettings, parameters: Iterable[nn.Parameter]) -> Optimizer:
    """The optimiser over the parameters that take a gradient; its rate is set before every step.

    All parameters are updated in one call (`fused`), which CPUs and GPUs have.
    """
    trained = [parameter for parameter in parameters if parameter.requires_grad]
    rate, decay = settings.rate_per_64_clips, settings.weight_decay
    if settings.name == "sgd":
        return torch.optim.SGD(trained, lr=rate, momentum=settings.momentum, weight_decay=decay, fused=True)
    adam = torch.optim.Adam if settings.name == "adam" else torch.optim.AdamW
    return adam(trained, lr=rate, weight_decay=decay, fused=True)


def rate_at(step: int, *, total_steps: int, clips_per_step: int, settings: OptimiserSettings) -> float:
    """The rate of step 0 .. total_steps - 1; it has no state to resume."""
    peak = settings.rate_per_64_clips * clips_per_step / 64
    if step < settings.warm_up_steps:
        return peak * (step + 1) / settings.warm_up_steps
    if settings.schedule == "constant":
        return peak
    done = (step - settings.warm_up_steps) / max(1, total_steps - settings.warm_up_steps)
    return peak * 0.5 * (1.0 + math.cos(math.pi * done))
