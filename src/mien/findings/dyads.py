"""Do two faces move together, and who leads: windowed lagged correlation of one unit, against surrogates.

Windowed cross-correlation: Boker et al., Psychological Methods 7 (2002). Surrogates by sliding one signal:
Moulder et al., Psychological Methods 23 (2018).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.lib.stride_tricks import sliding_window_view

from mien.findings.coding import Floats

NUM_RESAMPLES = 1000


@dataclass(frozen=True)
class DyadSettings:
    """All in seconds."""

    window: float = 10.0
    most_lag: float = 3.0
    step: float = 0.1  # of lags, and of the samples that both signals are brought to
    longest_gap: float = 0.5  # bridged by interpolation; a window with a longer one is left out

    def __post_init__(self) -> None:
        if not 0 < self.step <= self.most_lag < self.window:
            raise ValueError(
                f"step {self.step:g} s, most lag {self.most_lag:g} s, window {self.window:g} s: expected "
                "each below the next"
            )


@dataclass(frozen=True, eq=False)
class Dyad:
    """`curve`: one row per lag (s; positive: the second face follows the first): r, the mean correlation over
    windows, with its 95 % interval over windows (low, high); `surrogate`, the r that 95 % of the surrogates'
    curves stay below at every lag. `p_value`: the share of surrogates with a peak at least as high.
    """

    curve: pd.DataFrame
    p_value: float
    num_windows: int
    num_windows_left_out: int  # a face is missing, or a signal does not vary

    @property
    def peak(self) -> pd.Series:
        """The curve's row with the highest r."""
        return self.curve.loc[self.curve["r"].idxmax()]


def lagged_correlation(
    first: pd.Series,
    second: pd.Series,
    *,
    settings: DyadSettings | None = None,
    num_surrogates: int = 500,
    seed: int = 0,
) -> Dyad:
    """Two signals by time in seconds (rising), on one clock. ValueError below three windows that both have.

    The signals are cut into windows side by side. Within each, the first face's samples are correlated with
    the second's at every lag; Fisher's z is averaged over windows. A surrogate is the second signal turned
    round in time by a random distance of a window or more: its own rhythm stays, what it shares with the
    first is lost. The interval draws windows with replacement.
    """
    settings = settings or DyadSettings()
    x_N, y_N = _sampled(first, second, settings)
    T, reach = round(settings.window / settings.step), round(settings.most_lag / settings.step)
    z_WL = _correlations(x_N, y_N, T, reach)
    whole_W = ~np.isnan(z_WL).any(axis=1)
    W = int(whole_W.sum())
    furthest = len(x_N) - T - 2 * reach
    if W < 3 or furthest <= T + 2 * reach:
        raise ValueError(
            f"{W} windows of {settings.window:g} s in which both faces are seen and move; expected 3 or "
            "more: take a shorter window, or a longer video"
        )
    generator = np.random.default_rng(seed)
    peaks_R = np.array(
        [
            _means(_correlations(x_N, np.roll(y_N, by), T, reach)).max()
            for by in generator.integers(T + 2 * reach, furthest, num_surrogates)
        ]
    )
    mean_L = _means(z_WL)
    drawn_RL = z_WL[whole_W][generator.integers(W, size=(NUM_RESAMPLES, W))].mean(axis=1)
    low_L, high_L = np.quantile(drawn_RL, [0.025, 0.975], axis=0)
    lag_L = (settings.step * np.arange(-reach, reach + 1)).round(6)
    curve = pd.DataFrame({"lag": lag_L, "r": np.tanh(mean_L), "low": np.tanh(low_L), "high": np.tanh(high_L)})
    curve["surrogate"] = np.tanh(np.quantile(peaks_R, 0.95))
    p_value = (1 + int((peaks_R >= mean_L.max()).sum())) / (1 + num_surrogates)
    return Dyad(curve, p_value, W, num_windows_left_out=int((~whole_W).sum()))


def _sampled(first: pd.Series, second: pd.Series, settings: DyadSettings) -> tuple[Floats, Floats]:
    """Both signals at the same times, linear in between; NaN in gaps that are too long."""
    start, end = (edge(first.index[at], second.index[at]) for edge, at in ((max, 0), (min, -1)))
    time_N = np.arange(start, end, settings.step)
    found = []
    for signal in (first.dropna(), second.dropna()):
        seconds_M = signal.index.to_numpy(np.float64)
        at_N = np.clip(np.searchsorted(seconds_M, time_N), 1, len(seconds_M) - 1)
        near_N = seconds_M[at_N] - seconds_M[at_N - 1] <= settings.longest_gap
        found.append(np.where(near_N, np.interp(time_N, seconds_M, signal.to_numpy(np.float64)), np.nan))
    return found[0], found[1]


def _correlations(x_N: Floats, y_N: Floats, T: int, reach: int) -> Floats:
    """(W, L) Fisher's z of T samples of x with those of y from -reach to reach later; NaN in gaps."""
    begins_W = np.arange(reach, len(x_N) - T - reach + 1, T)
    x_WT = _standardised(x_N[begins_W[:, None] + np.arange(T)])
    y_WLT = _standardised(sliding_window_view(y_N, T)[begins_W[:, None] + np.arange(-reach, reach + 1)])
    r_WL = np.einsum("wt,wlt->wl", x_WT, y_WLT)
    z_WL: Floats = np.arctanh(np.clip(r_WL, -1 + 1e-6, 1 - 1e-6))
    return z_WL


def _means(z_WL: Floats) -> Floats:
    """(L,) over the windows without a gap."""
    mean_L: Floats = z_WL[~np.isnan(z_WL).any(axis=1)].mean(axis=0)
    return mean_L


def _standardised(values: Floats) -> Floats:
    """Of mean 0 and length 1 along the last axis; NaN where nothing varies."""
    values = values - values.mean(axis=-1, keepdims=True)
    length = np.linalg.norm(values, axis=-1, keepdims=True)
    found: Floats = values / np.where(length > 1e-9, length, np.nan)
    return found
