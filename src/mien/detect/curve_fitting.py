"""Calibration curves from held-out logits: each kind fitted, the best kind told on people it has not seen."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from sklearn.isotonic import IsotonicRegression

from mien.detect.calibration import AS_IT_IS, ISOTONIC, PLATT, TEMPERATURE, Curve, sigmoid
from mien.evaluate.protocols import subject_folds

Floats = NDArray[np.floating[Any]]

_SMALLEST_SCALE = 0.01
_MAX_FOLDS = 5


@dataclass(frozen=True)
class LinePrior:
    """How far a line may lie from the identity before data have spoken: deviations of a normal prior."""

    scale_deviation: float = 1.0  # about 1
    bias_deviation: float = 3.0  # about 0, in log-odds; 0: the offset stays where it is


WEAK = LinePrior()
"""For hundreds of frames and more."""


@dataclass(frozen=True)
class ChosenCurve:
    """A curve fitted on all held-out frames, and the log-loss a frame of every kind on people left out."""

    curve: Curve
    log_loss: Mapping[str, float]


def choose_curve(logit_N: Floats, label_N: Floats, subject_N: NDArray[Any]) -> ChosenCurve:
    """The kind with the least log-loss across people, the simpler one where two are equal.

    NaN labels are left out. The identity where only one class, or one person, is there to learn from.
    """
    coded_N = ~np.isnan(label_N)
    logit_N, label_N, subject_N = logit_N[coded_N], label_N[coded_N], subject_N[coded_N]
    num_subjects = len(np.unique(subject_N))
    if num_subjects < 2 or len(np.unique(label_N)) < 2:
        return ChosenCurve(Curve(), {})
    fold_N = subject_folds(subject_N, num_folds=min(_MAX_FOLDS, num_subjects))
    losses = {kind: _left_out_loss(fit, logit_N, label_N, fold_N) for kind, fit in _FITS.items()}
    best = min(losses, key=lambda kind: round(losses[kind], 6))
    return ChosenCurve(_FITS[best](logit_N, label_N), losses)


def fit_line(
    logit_N: Floats, label_N: Floats, *, prior: LinePrior = WEAK, weight: float = 1.0, kind: str = PLATT
) -> Curve:
    """The line with the highest posterior: `weight` times the log-likelihood, and the prior. Convex.

    `weight` below 1 is for frames that resemble each other: N of them tell as much as weight * N apart.
    """
    sign_N = np.where(label_N > 0.5, -1.0, 1.0)
    fixed_bias = prior.bias_deviation == 0

    def loss(line_2: Floats) -> tuple[float, Floats]:
        odds_N = line_2[0] * logit_N + line_2[1]
        slope_N = weight * sign_N * sigmoid(sign_N * odds_N)
        away_2 = (line_2 - (1.0, 0.0)) / (prior.scale_deviation, 1.0 if fixed_bias else prior.bias_deviation)
        value = weight * np.logaddexp(0.0, sign_N * odds_N).sum() + 0.5 * (away_2**2).sum()
        gradient_2 = np.array([slope_N @ logit_N, slope_N.sum()])
        gradient_2 += away_2 / (prior.scale_deviation, 1.0 if fixed_bias else prior.bias_deviation)
        return float(value), gradient_2

    bounds = [(_SMALLEST_SCALE, None), (0.0, 0.0) if fixed_bias else (None, None)]
    logit_N = logit_N.astype(np.float64)
    found = minimize(loss, np.array([1.0, 0.0]), jac=True, bounds=bounds, method="L-BFGS-B")
    return Curve(kind, float(found.x[0]), float(found.x[1]))


def fit_temperature(logit_N: Floats, label_N: Floats) -> Curve:
    """A line through the origin."""
    return fit_line(logit_N, label_N, prior=LinePrior(bias_deviation=0.0), kind=TEMPERATURE)


def fit_isotonic(logit_N: Floats, label_N: Floats) -> Curve:
    """A rising curve through the level steps of isotonic regression, a knot in the middle of each.

    So it has no jumps, and two engines that differ a little say nearly the same. Probabilities stay one frame
    away from 0 and 1.
    """
    logit_N = logit_N.astype(np.float64)
    level_N = IsotonicRegression(out_of_bounds="clip").fit(logit_N, label_N).predict(logit_N)
    level_K, step_N, size_K = np.unique(level_N, return_inverse=True, return_counts=True)
    middle_K = np.bincount(step_N, logit_N) / size_K
    edge = 1.0 / (len(label_N) + 2.0)
    probability_K = np.clip(level_K, edge, 1.0 - edge)
    log_odds_K = np.log(probability_K / (1.0 - probability_K))
    return Curve(ISOTONIC, 1.0, 0.0, np.stack([middle_K, log_odds_K], axis=1))


def log_loss(log_odds_N: Floats, label_N: Floats) -> float:
    """Mean cross-entropy a frame, in nats."""
    return float(np.logaddexp(0.0, np.where(label_N > 0.5, -log_odds_N, log_odds_N)).mean())


def _as_it_is(logit_N: Floats, label_N: Floats) -> Curve:
    return Curve(AS_IT_IS)


_FITS: dict[str, Callable[[Floats, Floats], Curve]] = {
    AS_IT_IS: _as_it_is,
    TEMPERATURE: fit_temperature,
    PLATT: fit_line,
    ISOTONIC: fit_isotonic,
}


def _left_out_loss(
    fit: Callable[[Floats, Floats], Curve], logit_N: Floats, label_N: Floats, fold_N: NDArray[np.int64]
) -> float:
    log_odds_N = np.zeros(len(logit_N))
    for fold in np.unique(fold_N):
        own_N = fold_N == fold
        log_odds_N[own_N] = fit(logit_N[~own_N], label_N[~own_N]).log_odds(logit_N[own_N])
    return log_loss(log_odds_N, label_N)
