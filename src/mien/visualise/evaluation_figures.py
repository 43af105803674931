"""The evaluation's figures as inline SVG: F1 against base rate, maps of features, confusion matrices."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from mien.evaluate.metrics import always_on_f1
from mien.evaluate.scoring import Result, mode_name

if TYPE_CHECKING:
    from mien.evaluate.report_pictures import FeatureMap

Floats = NDArray[np.floating[Any]]

_SIDE = 300
_PERSON_HUES = 10


def f1_against_base_rate(results: Sequence[Result], styles: Mapping[str, str]) -> str:
    """A dot an action unit and system, over the floor of predicting everything; `styles` by system."""
    left, top, width, height = 34, 26, 380, 240
    scores_of_all = [result.occurrence_scores for result in results]
    x_most = _most(rate for scores in scores_of_all for rate in scores.base_rate)
    y_most = _most(
        (*always_on_f1(np.array([x_most])), *(f1.value for scores in scores_of_all for f1 in scores.f1))
    )

    def place(rate: float, f1: float) -> tuple[float, float]:
        return left + rate / x_most * width, top + (1 - f1 / y_most) * height

    rates = np.linspace(0, x_most, 101)
    floor = " ".join(
        "{:.1f},{:.1f}".format(*place(r, f)) for r, f in zip(rates, always_on_f1(rates), strict=True)
    )
    drawn = _axes(
        left, top, width, height, x_name="base rate, %", y_name="F1, %", x_most=x_most, y_most=y_most
    )
    drawn += f'<polyline class="floor" points="{floor}"/>'
    highest: dict[int, tuple[float, float]] = {}
    for result in results:
        scores, style = result.occurrence_scores, styles[result.predictions.about.system]
        for unit, rate, interval in zip(scores.action_units, scores.base_rate, scores.f1, strict=True):
            if math.isfinite(rate) and math.isfinite(interval.value):
                x, y = place(rate, interval.value)
                drawn += _dot(x, y, style, f"{result.label}, AU{unit}: F1 {interval.value:.3f}", 4.5)
                highest[unit] = min(highest.get(unit, (x, y)), (x, y), key=lambda point: point[1])
    drawn += _numbers(highest)
    return _svg(left + width + 12, top + height + 40, drawn, "F1 against base rate")


def _numbers(highest: Mapping[int, tuple[float, float]]) -> str:
    """Each action unit's number above its highest dot; a lower one that would cover it is left out."""
    taken: list[tuple[float, float]] = []
    for x, y in sorted(highest.values(), key=lambda place: place[1]):
        if all(abs(x - u) > 14 or abs(y - v) > 11 for u, v in taken):
            taken.append((x, y))
    shown = [(unit, place) for unit, place in highest.items() if place in taken]
    return "".join(_text(x, y - 8, f"{unit}", "middle", "name") for unit, (x, y) in shown)


def feature_map_figure(found: FeatureMap, *, coloured_by: str) -> str:
    """The points of one map, coloured by "action unit" (present, absent) or by "person"."""
    points = found.point_M2
    low, high = points.min(axis=0), points.max(axis=0)
    scaled = 12 + (points - low) / np.maximum(high - low, 1e-9) * (_SIDE - 24)
    _, person = np.unique(found.subject_M, return_inverse=True)
    drawn = ""
    for (x, y), present, who, name in zip(scaled, found.present_M, person, found.subject_M, strict=True):
        style = f"p{who % _PERSON_HUES}" if coloured_by == "person" else f"a{int(present)}"
        drawn += _dot(x, y, style, f"{name}, {'present' if present else 'absent'}", 3.6)
    return _svg(_SIDE, _SIDE, drawn, f"features coloured by {coloured_by}")


def confusion_figure(confusion_CC: NDArray[np.int64], names: Sequence[str]) -> str:
    """Rows true, columns predicted; shade and number are shares of the row."""
    cell, left, top = 52, 90, 24
    share_CC = confusion_CC / np.maximum(confusion_CC.sum(axis=1, keepdims=True), 1)
    drawn = ""
    for i, name in enumerate(names):
        drawn += _text(left - 8, top + (i + 0.5) * cell + 4, name, "end")
        drawn += _text(left + (i + 0.5) * cell, top - 8, name, "middle")
        for j, share in enumerate(share_CC[i]):
            x, y = left + j * cell, top + i * cell
            drawn += f'<rect class="heat" x="{x}" y="{y}" width="{cell - 2}" height="{cell - 2}" '
            drawn += (
                f'fill-opacity="{0.06 + 0.94 * share:.2f}"><title>{confusion_CC[i, j]} faces</title></rect>'
            )
            style = "onheat" if share > 0.5 else ""
            drawn += _text(x + cell / 2 - 1, y + cell / 2 + 4, f"{100 * share:.0f}", "middle", style)
    return _svg(left + len(names) * cell, top + len(names) * cell, drawn, "confusion of expressions")


def label_share_chart(
    results: Sequence[Result], styles: Mapping[str, str]
) -> tuple[str, tuple[tuple[str, str], ...]]:
    """Mean F1 against the share of labelled people, a line a system and mode; then their styles and names.

    Empty with one share only. Fine-tuned lines are broken.
    """
    shares = sorted({result.predictions.about.share_of_labels for result in results})
    if len(shares) < 2:
        return "", ()
    left, top, width, height = 34, 26, 380, 240
    lines = {key: rows for key, rows in _by_system_and_mode(results).items() if len(rows) > 1}
    most = _most(row.occurrence_scores.f1_mean.high for rows in lines.values() for row in rows)
    places = {share: left + width * (k + 0.5) / len(shares) for k, share in enumerate(shares)}
    drawn = _axes(left, top, width, height, x_name="", y_name="mean F1, %", y_most=most)
    drawn += "".join(
        _text(x, top + height + 16, f"{100 * share:g} % of people", "middle") for share, x in places.items()
    )
    key = []
    for (system, mode), rows in lines.items():
        style = styles[system] + (" tuned" if mode == "all" else "")
        key.append((style, f"{system} ({mode_name(mode)})"))
        points = []
        for row in sorted(rows, key=lambda row: row.predictions.about.share_of_labels):
            f1, x = row.occurrence_scores.f1_mean, places[row.predictions.about.share_of_labels]
            y, low, high = (top + height * (1 - value / most) for value in (f1.value, f1.low, f1.high))
            points.append(f"{x:.1f},{y:.1f}")
            drawn += f'<line class="{style}" x1="{x:.1f}" x2="{x:.1f}" y1="{low:.1f}" y2="{high:.1f}"/>'
            drawn += _dot(x, y, style, f"{row.label}: {f1.value:.3f}", 4.5)
        drawn += f'<polyline class="{style}" points="{" ".join(points)}"/>'
    return _svg(left + width + 12, top + height + 24, drawn, "F1 against the share of labels"), tuple(key)


def _by_system_and_mode(results: Sequence[Result]) -> dict[tuple[str, str], list[Result]]:
    found: dict[tuple[str, str], list[Result]] = {}
    for result in results:
        about = result.predictions.about
        found.setdefault((about.system, about.mode), []).append(result)
    return found


def _most(values: Iterable[float]) -> float:
    """The end of an axis: the least multiple of the step of its ticks that no value exceeds."""
    highest = min(1.0, max((value for value in values if math.isfinite(value)), default=1.0))
    step = _step(highest)
    return max(1, math.ceil(highest / step - 1e-9)) * step


def _step(most: float) -> float:
    """So that there are five ticks or less."""
    return next(step for step in (0.02, 0.05, 0.1, 0.2) if most <= 5 * step + 1e-9)


def _axes(
    left: float,
    top: float,
    width: float,
    height: float,
    *,
    x_name: str,
    y_name: str,
    x_most: float = 1.0,
    y_most: float = 1.0,
) -> str:
    """A frame from 0 to the two greatest values, shares as percent, with ticks at round numbers."""
    drawn = ""
    for tick in _ticks(y_most):
        y = top + (1 - tick / y_most) * height
        drawn += f'<line class="grid" x1="{left}" x2="{left + width}" y1="{y:.1f}" y2="{y:.1f}"/>'
        drawn += _text(left - 6, y + 4, f"{100 * tick:.0f}", "end")
    for tick in _ticks(x_most) if x_name else ():
        drawn += _text(left + tick / x_most * width, top + height + 16, f"{100 * tick:.0f}", "middle")
    return drawn + _text(left + width / 2, top + height + 34, x_name, "middle") + _text(4, 13, y_name)


def _ticks(most: float) -> list[float]:
    step = _step(most)
    return [step * number for number in range(round(most / step) + 1)]


def _dot(x: float, y: float, style: str, title: str, radius: float) -> str:
    place = f'cx="{x:.1f}" cy="{y:.1f}" r="{radius}"'
    return f'<circle class="{style}" {place}><title>{escape(title)}</title></circle>'


def _text(x: float, y: float, text: str, anchor: str = "start", style: str = "") -> str:
    kind = f' class="{style}"' if style else ""
    return f'<text{kind} x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(text)}</text>'


def _svg(width: float, height: float, drawn: str, label: str) -> str:
    return f'<svg viewBox="0 0 {width:g} {height:g}" role="img" aria-label="{escape(label)}">{drawn}</svg>'
