"""Small charts as inline SVG, for pages that must stand alone."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import Any

import numpy as np
from numpy.typing import NDArray

_WIDTH, _HEIGHT, _MARGIN = 300, 120, 22


def histogram(values: NDArray[np.number[Any]], *, title: str, unit: str, num_bins: int = 30) -> str:
    """How often which value occurs; the axis is marked with the extremes, the title with the median.

    NaN values are left out. Without any value the chart says so.
    """
    finite = np.asarray(values, np.float64)
    finite = finite[np.isfinite(finite)]
    if not finite.size:
        return _frame(title, "no values", "")
    counts, edges = np.histogram(finite, bins=num_bins)
    step = _WIDTH / num_bins
    bars = "".join(
        f'<rect x="{number * step:.1f}" y="{_HEIGHT - height:.1f}" width="{step - 1:.1f}" '
        f'height="{height:.1f}"><title>{low:.3g} to {high:.3g} {escape(unit)}: {count:,}</title></rect>'
        for number, (count, low, high) in enumerate(zip(counts, edges, edges[1:], strict=False))
        if (height := _HEIGHT * count / counts.max()) > 0
    )
    axis = (
        f'<text x="0" y="{_HEIGHT + 15}">{edges[0]:.3g}</text>'
        f'<text x="{_WIDTH}" y="{_HEIGHT + 15}" text-anchor="end">{edges[-1]:.3g} {escape(unit)}</text>'
    )
    return _frame(title, f"median {np.median(finite):.3g} {unit}", bars + axis)


def timeline(runs: Sequence[tuple[int, int]], *, num_slots: int, width_px: int = 260) -> str:
    """A strip of `num_slots` with each (first slot, length) of `runs` filled; the rest are gaps."""
    scale = width_px / max(1, num_slots)
    bars = "".join(
        f'<rect x="{first * scale:.1f}" y="0" width="{max(0.5, length * scale):.1f}" height="12">'
        f"<title>slots {first} to {first + length - 1}</title></rect>"
        for first, length in runs
    )
    return f'<svg class="strip" viewBox="0 0 {width_px} 12" width="{width_px}" height="12">{bars}</svg>'


def _frame(title: str, note: str, content: str) -> str:
    return (
        f'<figure><figcaption><b>{escape(title)}</b> <span class="quiet">{escape(note)}</span></figcaption>'
        f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT + _MARGIN}" width="{_WIDTH}" height="{_HEIGHT + _MARGIN}" '
        f'role="img" aria-label="{escape(title)}">{content}</svg></figure>'
    )
