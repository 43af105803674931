"""Charts by matplotlib as inline SVG in the colours of the pages."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from html import escape
from io import StringIO
from typing import Any

import matplotlib
import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

SYSTEMS = ("#b4451f", "#2f6aa3", "#5a8a36", "#8453a3", "#b08400", "#1f8a8a", "#a8406f", "#5d6a78")
INK, QUIET, LINE = "#1c2530", "#5f6b78", "#dfe4ea"
_VARIABLES = {f"s{number}": colour for number, colour in enumerate(SYSTEMS)} | {
    "ink": INK,
    "quiet": QUIET,
    "line": LINE,
}
_CHART = {
    "svg.fonttype": "none",  # text stays text
    "svg.hashsalt": "mien",  # the same data gives the same page
    "text.parse_math": False,  # a system may be named a$b$
    "font.family": "sans-serif",
    "font.size": 9,
    "text.color": INK,
    "axes.labelcolor": QUIET,
    "xtick.color": QUIET,
    "ytick.color": QUIET,
    "xtick.major.size": 0,
    "ytick.major.size": 0,
    "axes.facecolor": "none",
    "figure.facecolor": "none",
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": LINE,
    **{f"axes.spines.{side}": False for side in ("left", "right", "top", "bottom")},
}


def chart(draw: Callable[[Any], object], *, width: float, height: float, label: str) -> str:
    """Inline SVG of the matplotlib axes that `draw` fills; sides in points.

    Its colours are the page's CSS variables (--s0 to --s7, --ink, --quiet, --line), so that they follow a
    dark theme.
    """
    text = StringIO()
    with matplotlib.rc_context(_CHART):
        figure = Figure(figsize=(width / 72, height / 72), layout="constrained")
        draw(figure.subplots())
        figure.savefig(text, format="svg", metadata=dict.fromkeys(("Creator", "Date", "Format", "Type")))
    svg = text.getvalue()
    svg = svg[svg.index("<svg") :].replace("<svg", f'<svg role="img" aria-label="{escape(label)}"', 1)
    for name, colour in _VARIABLES.items():
        svg = svg.replace(colour, f"var(--{name}, {colour})")
    return svg


def heat_map(
    axes: Any, percent: NDArray[np.floating[Any]], rows: Sequence[str], columns: Sequence[str]
) -> None:
    """Cells shaded from 0 to 100 with their numbers; NaN stays empty."""
    axes.imshow(percent, vmin=0, vmax=100, cmap="Blues", aspect="auto")
    axes.grid(visible=False)
    axes.set_xticks(range(len(columns)), columns)
    axes.set_yticks(range(len(rows)), [row if len(row) <= 40 else f"…{row[-39:]}" for row in rows])
    for (row, column), value in np.ndenumerate(percent):
        if np.isfinite(value):
            colour = "white" if value > 55 else "black"
            axes.text(column, row, f"{value:.0f}", ha="center", va="center", fontsize=8, color=colour)
