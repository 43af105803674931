"""The mean of a batch's losses between two percentiles: easy samples first, then harder ones.

The curriculum of Wiles, Koepke & Zisserman, Self-supervised learning of a facial attribute embedding from
video, BMVC 2018, section 3.2.
"""

from __future__ import annotations

from torch import Tensor


def percentile_band_mean(losses_N: Tensor, *, low: float, high: float) -> Tensor:
    """Mean of the losses whose rank lies in [low, high) of the sorted batch; always at least one loss.

    low and high are shares of the batch, 0 to 1; [0, 1) is the plain mean.
    """
    if not 0.0 <= low < high <= 1.0:
        raise ValueError(f"band [{low}, {high}): expected 0 <= low < high <= 1")
    num_losses = losses_N.shape[0]
    # the small addend keeps 0.3 * 10 at 3: shares are sums of tenths
    first = min(int(low * num_losses + 1e-6), num_losses - 1)
    last = max(int(high * num_losses + 1e-6), first + 1)
    return losses_N.sort().values[first:last].mean()
