"""The page's first figures: systems by their score with intervals, and action units against identity."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape

from mien.evaluate.metrics import mean_defined
from mien.evaluate.person_independence import PersonIndependence
from mien.evaluate.scoring import Result
from mien.evaluate.tables import PaperRow, paper_rows
from mien.visualise.evaluation_verdict import headline, score_name

_TO_SHOW = ("CLP", "ResNet-34 (ImageNet init, supervised)")
"""Published rows that stand beside ours at the top; all of them stand in the table."""


@dataclass(frozen=True)
class Bar:
    """A system's score with its interval, in percent of the figure's width; style: s0, s1, ..., published."""

    label: str
    text: str
    at: float
    low: float
    high: float
    style: str


@dataclass(frozen=True)
class Ranking:
    """Bars, best first; the axis runs from 0 to `most` percent; `floor`: in percent of the width, if any."""

    score: str
    bars: tuple[Bar, ...]
    most: int
    floor: float | None


def styles_of(results: Sequence[Result]) -> dict[str, str]:
    """The colour of each system, the same in every figure."""
    systems = dict.fromkeys(result.predictions.about.system for result in results)
    return {system: f"s{number % 8}" for number, system in enumerate(systems)}


def ranking_of(results: Sequence[Result]) -> Ranking:
    """The headline results and the two published ones that they are measured by."""
    shown, styles = headline(results), styles_of(results)
    published = [row for row in paper_rows(shown[0].predictions.about.dataset) if row.method in _TO_SHOW]
    most = _scale([100 * r.mean_score.high for r in shown] + [row.average for row in published])
    bars = [_bar(result, most, styles) for result in shown] + [_published(row, most) for row in published]
    first = shown[0].occurrences
    floor = None if first is None else 100 * mean_defined(first.always_on) / most * 100
    return Ranking(score_name(shown[0]), tuple(sorted(bars, key=lambda bar: -bar.at)), most, floor)


def identity_plane(persons: Sequence[tuple[str, PersonIndependence]], styles: Mapping[str, str]) -> str:
    """A dot a system: up for more of the action units, right for more of the person; "" where undefined."""
    defined = [(name, one) for name, one in persons if math.isfinite(one.index)]
    if not defined:
        return ""
    left, top, width, height = 34, 26, 300, 220
    low = min(0.5, *(one.action_unit_auc for _, one in defined))
    high = 0.75 if max(one.action_unit_auc for _, one in defined) < 0.72 else 1.0
    most = _scale([100 * one.identity_accuracy for _, one in defined]) / 100
    drawn = _frame((left, top, width, height), (low, high), most)
    x = left + defined[0][1].identity_chance / most * width
    drawn += f'<line class="floor" x1="{x:.1f}" x2="{x:.1f}" y1="{top}" y2="{top + height}"/>'
    drawn += _text(x + 4, top + 12, "chance")
    places = {
        name: (
            left + one.identity_accuracy / most * width,
            top + (1 - (one.action_unit_auc - low) / (high - low)) * height,
        )
        for name, one in defined
    }
    drawn += "".join(_dot(name, one, styles[name], places[name]) for name, one in defined)
    drawn += _names(places, middle=left + 0.6 * width)
    size = f"{left + width + 18} {top + height + 40}"
    return f'<svg viewBox="0 0 {size}" role="img" aria-label="action units against identity">{drawn}</svg>'


def _dot(name: str, one: PersonIndependence, style: str, place: tuple[float, float]) -> str:
    title = f"{name}: AU ROC-AUC {one.action_unit_auc:.2f}, identity named {one.identity_accuracy:.2f}"
    circle = f'<circle class="{style}" cx="{place[0]:.1f}" cy="{place[1]:.1f}" r="6">'
    return f"{circle}<title>{escape(title)}</title></circle>"


def _names(places: Mapping[str, tuple[float, float]], *, middle: float) -> str:
    """A name beside each dot, on the side where no other dot is near, and never over another name."""
    drawn, label_y = "", math.inf
    for name, (x, y) in sorted(places.items(), key=lambda item: -item[1][1]):  # from below
        label_y = min(y + 4, label_y - 14)
        crowded = any(0 < u - x < 70 and abs(v - y) < 14 for u, v in places.values())
        side, anchor = (-10, "end") if x > middle or crowded else (10, "start")
        drawn += _text(x + side, label_y, name, anchor, "name")
    return drawn


def _bar(result: Result, most: int, styles: Mapping[str, str]) -> Bar:
    mean = result.mean_score
    at, low, high = (100 * 100 * value / most for value in (mean.value, mean.low, mean.high))
    text = f"{100 * mean.value:.1f} % ({100 * mean.low:.1f} to {100 * mean.high:.1f})"
    return Bar(result.label, text, at, low, high, styles[result.predictions.about.system])


def _published(row: PaperRow, most: int) -> Bar:
    at = 100 * row.average / most
    return Bar(f"{row.method}, as published", f"{row.average:.1f} %", at, at, at, "published")


def _scale(percents: Sequence[float]) -> int:
    """The least of 25, 50, 75 and 100 that nothing exceeds."""
    highest = max((value for value in percents if math.isfinite(value)), default=100.0)
    return min(100, max(25, 25 * math.ceil(highest / 25)))


def _frame(box: tuple[int, int, int, int], auc: tuple[float, float], most: float) -> str:
    """Axes of a plane: ROC-AUC between two values, identity up to `most`; both in percent."""
    (left, top, width, height), (low, high), drawn = box, auc, ""
    for tick in (0.0, 0.2, 0.4, 0.6, 0.8, 1.0):
        x, y = left + tick * width, top + (1 - tick) * height
        drawn += f'<line class="grid" x1="{left}" x2="{left + width}" y1="{y:.1f}" y2="{y:.1f}"/>'
        drawn += _text(left - 6, y + 4, f"{100 * (low + tick * (high - low)):.0f}", "end")
        drawn += _text(x, top + height + 16, f"{100 * tick * most:.0f}", "middle")
    drawn += _text(left + width / 2, top + height + 33, "identity named, %", "middle")
    return drawn + _text(4, 15, "AU ROC-AUC, %")


def _text(x: float, y: float, text: str, anchor: str = "start", style: str = "") -> str:
    kind = f' class="{style}"' if style else ""
    return f'<text{kind} x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(text)}</text>'
