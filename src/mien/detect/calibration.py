"""From a head's logits to calibrated probabilities, per action unit.

A head is fitted with balanced weights, as if every action unit were present half of the time, so its sigmoids
are not probabilities. A `Curve` maps logits to log-odds: a straight line (Platt, 1999; with the offset at 0
it is temperature scaling, Guo et al., ICML 2017), or a monotone one through knots (isotonic regression,
Zadrozny & Elkan, KDD 2002). In an adapted model a line follows the knots.

Fitting a curve needs SciPy and scikit-learn; what a model does with one does not.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating[Any]]

KINDS = AS_IT_IS, TEMPERATURE, PLATT, ISOTONIC = "as it is", "temperature", "platt", "isotonic"

MAX_LOG_ODDS = 12.0
"""Probabilities stay between 6e-6 and 1 less 6e-6: no finite number of frames supports more."""

_SMALLEST_SCALE = 0.01
_MAX_FOLDS = 5


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


@dataclass(frozen=True)
class LinePrior:
    """Standard deviations of a normal prior around the identity line."""

    scale_deviation: float = 1.0  # around 1
    bias_deviation: float = 3.0  # around 0, in log-odds; 0: the offset is fixed at 0


WEAK = LinePrior()
"""For hundreds of frames and more."""


def choose_curve(logit_N: Floats, label_N: Floats, subject_N: NDArray[Any]) -> tuple[Curve, dict[str, float]]:
    """The kind with the least log-loss on people left out, the simpler one where two are equal; all losses.

    NaN labels are left out. The identity where only one class, or one person, is there to learn from.
    """
    from mien.evaluate.protocols import subject_folds

    coded_N = ~np.isnan(label_N)
    logit_N, label_N, subject_N = logit_N[coded_N], label_N[coded_N], subject_N[coded_N]
    num_subjects = len(np.unique(subject_N))
    if num_subjects < 2 or len(np.unique(label_N)) < 2:
        return Curve(), {}
    fold_N = subject_folds(subject_N, num_folds=min(_MAX_FOLDS, num_subjects))
    losses = {}
    for kind, fit in _FITS.items():
        log_odds_N = np.zeros(len(logit_N))
        for fold in np.unique(fold_N):
            own_N = fold_N == fold
            log_odds_N[own_N] = fit(logit_N[~own_N], label_N[~own_N]).log_odds(logit_N[own_N])
        losses[kind] = log_loss(log_odds_N, label_N)
    best = min(losses, key=lambda kind: round(losses[kind], 6))
    return _FITS[best](logit_N, label_N), losses


def fit_line(
    logit_N: Floats, label_N: Floats, *, prior: LinePrior = WEAK, weight: float = 1.0, kind: str = PLATT
) -> Curve:
    """The line with the highest posterior: `weight` times the log-likelihood, and the prior. Convex.

    `weight` below 1 is for frames that resemble each other: N of them count as weight * N independent ones.
    scikit-learn's logistic regression has no prior around a slope of 1, and none on the offset.
    """
    from scipy.optimize import minimize

    sign_N = np.where(label_N > 0.5, -1.0, 1.0)
    deviation_2 = (prior.scale_deviation, prior.bias_deviation or 1.0)
    logit_N = logit_N.astype(np.float64)

    def loss(line_2: Floats) -> tuple[float, Floats]:
        odds_N = line_2[0] * logit_N + line_2[1]
        slope_N = weight * sign_N * sigmoid(sign_N * odds_N)
        away_2 = (line_2 - (1.0, 0.0)) / deviation_2
        value = weight * np.logaddexp(0.0, sign_N * odds_N).sum() + 0.5 * (away_2**2).sum()
        return float(value), np.array([slope_N @ logit_N, slope_N.sum()]) + away_2 / deviation_2

    bounds = [(_SMALLEST_SCALE, None), (None, None) if prior.bias_deviation else (0.0, 0.0)]
    found = minimize(loss, np.array([1.0, 0.0]), jac=True, bounds=bounds, method="L-BFGS-B")
    return Curve(kind, float(found.x[0]), float(found.x[1]))


def fit_isotonic(logit_N: Floats, label_N: Floats) -> Curve:
    """A rising curve through the level steps of isotonic regression, a knot in the middle of each.

    So it has no jumps, and two engines that differ a little give nearly the same probability. Probabilities
    stay one frame away from 0 and 1.
    """
    from sklearn.isotonic import IsotonicRegression

    logit_N = logit_N.astype(np.float64)
    level_N = IsotonicRegression(out_of_bounds="clip").fit(logit_N, label_N).predict(logit_N)
    level_K, step_N, size_K = np.unique(level_N, return_inverse=True, return_counts=True)
    middle_K = np.bincount(step_N, logit_N) / size_K
    edge = 1.0 / (len(label_N) + 2.0)
    probability_K = np.clip(level_K, edge, 1.0 - edge)
    log_odds_K = np.log(probability_K / (1.0 - probability_K))
    return Curve(ISOTONIC, 1.0, 0.0, np.stack([middle_K, log_odds_K], axis=1))


def log_loss(log_odds_N: Floats, label_N: Floats) -> float:
    """Mean cross-entropy per frame, in nats."""
    return float(np.logaddexp(0.0, np.where(label_N > 0.5, -log_odds_N, log_odds_N)).mean())


_FITS: dict[str, Callable[[Floats, Floats], Curve]] = {
    AS_IT_IS: lambda _logit_N, _label_N: Curve(),
    TEMPERATURE: partial(fit_line, prior=LinePrior(bias_deviation=0.0), kind=TEMPERATURE),
    PLATT: fit_line,
    ISOTONIC: fit_isotonic,
}
