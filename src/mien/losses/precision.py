"""Losses in full precision, whatever the network around them computes in."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar, cast

import torch
from torch import Tensor

P = ParamSpec("P")
R = TypeVar("R")
LOW = (torch.float16, torch.bfloat16)


def full_precision(function: Callable[P, R]) -> Callable[P, R]:
    """Decorate a function of tensors: autocast is off inside, half-precision arguments arrive as float32.

    Differences of near-equal unit vectors and a softmax at temperature 0.07 lose their meaning in 8 bits of
    mantissa. float64 stays float64.
    """

    @functools.wraps(function)
    def wrapper(*args: P.args, **kwargs: P.kwargs) -> R:
        raised = [_raised(value) for value in args]
        named = {name: _raised(value) for name, value in kwargs.items()}
        devices = {value.device.type for value in (*raised, *named.values()) if isinstance(value, Tensor)}
        with torch.autocast(next(iter(devices), "cpu"), enabled=False):
            return cast("Callable[..., R]", function)(*raised, **named)

    return wrapper


def _raised(value: Any) -> Any:
    return value.float() if isinstance(value, Tensor) and value.dtype in LOW else value
