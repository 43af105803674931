"""Charts by matplotlib as inline SVG in the colours of the pages, and activation maps over faces."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from html import escape
from io import StringIO
from typing import TYPE_CHECKING, Any

import cv2
import matplotlib
import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

if TYPE_CHECKING:
    from mien.evaluate.feature_content import FeatureMap
    from mien.evaluate.predictions import Predictions

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


Key = tuple[tuple[str, str], ...]
"""CSS classes and label of each entry of a figure's key."""


def styles_of(results: Sequence[Predictions]) -> dict[str, str]:
    """The CSS class of each system's colour, the same in every figure."""
    systems = dict.fromkeys(result.about.system for result in results)
    return {system: f"s{number % len(SYSTEMS)}" for number, system in enumerate(systems)}


def f1_against_share(results: Sequence[Predictions], styles: Mapping[str, str]) -> tuple[str, Key]:
    """Mean F1 with intervals against the share of labelled people, and its key; empty for a single share.

    Fine-tuned systems have dotted lines.
    """
    shares = sorted({result.about.share_of_labels for result in results})
    lines: dict[tuple[str, str], list[Predictions]] = {}
    for result in sorted(results, key=lambda result: result.about.share_of_labels):
        lines.setdefault((result.about.system, result.about.mode), []).append(result)
    lines = {name: line for name, line in lines.items() if len(line) > 1}
    if not lines:
        return "", ()

    def draw(axes: Any) -> None:
        for (system, mode), line in lines.items():
            x = [shares.index(result.about.share_of_labels) for result in line]
            means = [result.mean_score for result in line]
            value, low, high = (100 * np.array([(m.value, m.low, m.high) for m in means])).T
            style, colour = "o:" if mode == "all" else "o-", _colour(system, styles)
            axes.errorbar(x, value, (value - low, high - value), fmt=style, color=colour, elinewidth=1)
        axes.set_xticks(range(len(shares)), [f"{100 * share:g} % of people" for share in shares])
        axes.margins(x=0.2)
        axes.set(ylabel="mean F1, %", ylim=(0, None))

    key = tuple(
        (styles[system] + (" tuned" if mode == "all" else ""), f"{system} ({line[0].about.mode_name})")
        for (system, mode), line in lines.items()
    )
    return chart(draw, width=430, height=300, label="F1 against the share of labels"), key


def identity_plane(persons: Mapping[str, Mapping[str, float]], styles: Mapping[str, str]) -> str:
    """A dot per system, action units upwards and identity to the right; "" if no system has both."""
    defined = {name: numbers for name, numbers in persons.items() if math.isfinite(numbers["index"])}
    if not defined:
        return ""

    def draw(axes: Any) -> None:
        for name, numbers in defined.items():
            place = 100 * numbers["identity_accuracy"], 100 * numbers["action_unit_auc"]
            axes.plot(*place, "o", ms=9, color=_colour(name, styles))
        chance = 100 * next(iter(defined.values()))["identity_chance"]
        axes.axvline(chance, ls="--", color=QUIET)
        axes.text(chance, 0.02, " chance", color=QUIET, transform=axes.get_xaxis_transform())
        axes.margins(x=0.2, y=0.15)
        axes.set(xlabel="identity named, %", ylabel="AU ROC-AUC, %", xlim=(0, None))

    return chart(draw, width=350, height=290, label="action units against identity")


def feature_map(found: FeatureMap, *, by_person: bool) -> str:
    """The points of one map, coloured by person or by presence of the action unit."""
    _, person_M = np.unique(found.subject_M, return_inverse=True)
    by_unit = [SYSTEMS[0 if present else 7] for present in found.present_M]
    colours = [f"C{person % 10}" for person in person_M] if by_person else by_unit

    def draw(axes: Any) -> None:
        axes.scatter(*found.point_M2.T, c=colours, s=22, alpha=0.7, linewidths=0)
        axes.set(xticks=(), yticks=())

    kind = "person" if by_person else "action unit"
    return chart(draw, width=300, height=300, label=f"features coloured by {kind}")


def confusion(confusion_CC: NDArray[np.int64], names: Sequence[str]) -> str:
    """Rows true, columns predicted; shade and number are percent of the row."""
    percent_CC = 100 * confusion_CC / np.maximum(confusion_CC.sum(axis=1, keepdims=True), 1)

    def draw(axes: Any) -> None:
        axes.imshow(percent_CC, vmin=0, vmax=100, cmap="Blues", aspect="auto")
        axes.grid(visible=False)
        axes.set_xticks(range(len(names)), names)
        axes.set_yticks(range(len(names)), names)
        for (row, column), value in np.ndenumerate(percent_CC):
            colour = "white" if value > 55 else "black"
            axes.text(column, row, f"{value:.0f}", ha="center", va="center", fontsize=8, color=colour)

    side = 200 + 35 * len(names)
    return chart(draw, width=side, height=side, label="confusion of expressions")


def overlay(
    picture_HWC: NDArray[np.uint8], heat_HW: NDArray[np.floating[Any]], *, side_px: int = 160
) -> NDArray[np.uint8]:
    """(side, side, 3) uint8 RGB: the face with an activation map in [0, 1] over it, warm where it is high.

    In a network of padded convolutions of total stride S, place i of the map is centred on pixel S i of the
    input, not on the middle of the i-th of equal parts: stretching the map over the picture would draw it
    half a place too low and too far to the right.
    """
    face = cv2.resize(picture_HWC, (side_px, side_px), interpolation=cv2.INTER_AREA).astype(np.float32)
    to_picture = np.diag([side_px / side for side in heat_HW.shape[::-1]] + [1]).astype(np.float32)[:2]
    heat = cv2.warpAffine(
        heat_HW.astype(np.float32),
        to_picture,
        (side_px, side_px),
        flags=cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_REPLICATE,
    ).clip(0, 1)
    colour = cv2.applyColorMap((255 * heat).astype(np.uint8), cv2.COLORMAP_INFERNO)[..., ::-1]
    opacity = 0.6 * heat[..., None] ** 2  # lukewarm places leave the face visible
    blended: NDArray[np.uint8] = (face * (1 - opacity) + colour * opacity).round().astype(np.uint8)
    return blended


def _colour(system: str, styles: Mapping[str, str]) -> str:
    return SYSTEMS[int(styles[system][1:])]
