"""From a head's logits to calibrated probabilities, per action unit.

A head is fitted with balanced weights, as if every action unit were present half of the time, so its sigmoids
are not probabilities. A `Curve` maps logits to log-odds: a straight line (Platt, 1999; with the offset at 0
it is temperature scaling, Guo et al., ICML 2017), or a monotone one through knots (isotonic regression,
Zadrozny & Elkan, KDD 2002). In an adapted model a line follows the knots.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating[Any]]

KINDS = AS_IT_IS, TEMPERATURE, PLATT, ISOTONIC = "as it is", "temperature", "platt", "isotonic"

MAX_LOG_ODDS = 12.0
"""Probabilities stay between 6e-6 and 1 less 6e-6: no finite number of frames supports more."""


@dataclass(frozen=True, eq=False)
class Curve:
    """`log-odds = scale * through_knots(logit) + bias`; rising, so that the order of frames stays.

    knots_K2: logit and log-odds of each knot, both rising; none: the logit itself. Between knots the line is
    straight, beyond the ends it is level.
    """

    kind: str = AS_IT_IS
    scale: float = 1.0
    bias: float = 0.0
    knots_K2: Floats = field(default_factory=lambda: np.zeros((0, 2)))

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ValueError(f"a calibration of kind {self.kind!r}; known: {', '.join(KINDS)}")
        if not (np.isfinite([self.scale, self.bias]).all() and self.scale > 0):
            raise ValueError(
                f"a calibration with scale {self.scale} and bias {self.bias}; expected a rising line"
            )
        rising = self.knots_K2.ndim == 2 and self.knots_K2.shape[1] == 2
        if not rising or (np.diff(self.knots_K2, axis=0) < 0).any() or not np.isfinite(self.knots_K2).all():
            raise ValueError(f"knots of shape {self.knots_K2.shape}; expected (K, 2), finite and rising")

    def log_odds(self, logit_N: Floats) -> Floats:
        """(N,) within `MAX_LOG_ODDS` of 0."""
        through_N = logit_N.astype(np.float64)
        if len(self.knots_K2):
            through_N = np.interp(through_N, self.knots_K2[:, 0], self.knots_K2[:, 1])
        bounded_N: Floats = np.clip(self.scale * through_N + self.bias, -MAX_LOG_ODDS, MAX_LOG_ODDS)
        return bounded_N

    def followed_by(self, line: Curve) -> Curve:
        """This curve and then a straight line, as one; ValueError when the second has knots."""
        if len(line.knots_K2):
            raise ValueError("only a straight line can follow a curve")
        scale, bias = line.scale * self.scale, line.scale * self.bias + line.bias
        return Curve(self.kind, scale, bias, self.knots_K2)


@dataclass(frozen=True, eq=False)
class Calibration:
    """One curve per action unit, in the order of the logits' columns."""

    curves: tuple[Curve, ...]

    @classmethod
    def none(cls, num_units: int) -> Calibration:
        """Sigmoids as they are."""
        return cls((Curve(),) * num_units)

    def __call__(self, logits_NA: Floats) -> NDArray[np.float32]:
        """(N, A) probabilities."""
        log_odds = [curve.log_odds(logit_N) for curve, logit_N in zip(self.curves, logits_NA.T, strict=True)]
        return sigmoid(np.stack(log_odds, axis=1)).astype(np.float32)


def sigmoid(log_odds: Floats) -> Floats:
    """1 / (1 + exp(-x)), without overflow."""
    value: Floats = 0.5 * (1.0 + np.tanh(0.5 * log_odds))
    return value
