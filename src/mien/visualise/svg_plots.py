"""Curves and dot plots as inline SVG, for pages that must stand alone."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

_WIDTH, _HEIGHT = 340, 150
_LEFT, _BOTTOM, _TOP, _RIGHT = 44, 22, 8, 8


@dataclass(frozen=True)
class Curve:
    """One line of a chart; NaN values leave a gap. `style` is a CSS class of the page: `s0`, `s1`, ..."""

    name: str
    x: Sequence[float]
    y: Sequence[float]
    style: str = "s0"


@dataclass(frozen=True)
class Level:
    """A horizontal line that means something: chance, collapse."""

    name: str
    y: float


@dataclass(frozen=True)
class DotRow:
    """One row of a dot plot: a label and a value a series, in the order of the series; NaN draws no dot."""

    label: str
    values: Sequence[float]
    note: str = ""


def line_chart(title: str, curves: Sequence[Curve], *, levels: Sequence[Level] = (), note: str = "") -> str:
    """A figure with a caption; both axes begin and end at the data's extremes. Without values it says so."""
    points = [(x, y) for curve in curves for x, y in zip(curve.x, curve.y, strict=True) if math.isfinite(y)]
    if not points:
        return _figure(title, "no values", "", height=_HEIGHT)
    x_of, x_low, x_high = _scale([x for x, _ in points], _LEFT, _WIDTH - _RIGHT)
    heights = [y for _, y in points] + [level.y for level in levels]
    y_of, y_low, y_high = _scale(heights, _HEIGHT - _BOTTOM, _TOP)
    drawn = "".join(_level(level, y_of(level.y)) for level in levels)
    for curve in curves:
        drawn += "".join(
            f'<polyline class="{curve.style}" points="{stretch}">'
            f"<title>{escape(curve.name)}</title></polyline>"
            for stretch in _stretches([(x_of(x), y_of(y)) for x, y in zip(curve.x, curve.y, strict=True)])
        )
    drawn += _text(_LEFT - 4, _HEIGHT - _BOTTOM, f"{y_low:.3g}", "end") + _text(
        _LEFT - 4, _TOP + 8, f"{y_high:.3g}", "end"
    )
    drawn += _text(_LEFT, _HEIGHT - 6, f"{x_low:g}") + _text(
        _WIDTH - _RIGHT, _HEIGHT - 6, f"step {x_high:g}", "end"
    )
    names = curves if len(curves) > 1 else ()
    key = "".join(f'<span class="key {curve.style}">{escape(curve.name)}</span>' for curve in names)
    return _figure(title, note, drawn, height=_HEIGHT, key=key)


def dot_plot(rows: Sequence[DotRow], series: Sequence[str], *, low: float, high: float, middle: float) -> str:
    """A row a label, a dot a series between `low` and `high`, a line at `middle`; titles hold the values."""
    row_height, left, right, width = 24, 190, 46, 640
    height = row_height * len(rows) + 26

    def x_of(value: float) -> float:
        return left + (min(max(value, low), high) - low) / (high - low) * (width - left - right)

    drawn = ""
    for tick in (low, middle, (middle + high) / 2, high):
        kind = "middle" if tick == middle else "grid"
        drawn += (
            f'<line class="{kind}" x1="{x_of(tick):.1f}" x2="{x_of(tick):.1f}" y1="0" y2="{height - 20}"/>'
        )
        drawn += _text(x_of(tick), height - 6, f"{tick:.2f}", "middle")
    for place, row in enumerate(rows):
        drawn += _dot_row(row, series, x_of, (place + 0.5) * row_height, left=left, width=width)
    return f'<svg class="dots" viewBox="0 0 {width} {height}" role="img">{drawn}</svg>'


def intensity_strip(rows: Sequence[tuple[str, Sequence[float]]], *, greatest: float) -> str:
    """A row a name, filled darker where its value is nearer to `greatest`; time runs to the right."""
    cell, row_height, left = 8, 13, 52
    num_columns = max(len(values) for _, values in rows)
    drawn = ""
    for place, (name, values) in enumerate(rows):
        drawn += _text(left - 5, place * row_height + 10, name, "end")
        drawn += "".join(
            f'<rect x="{left + t * cell}" y="{place * row_height + 1}" width="{cell}" '
            f'height="{row_height - 2}" fill-opacity="{min(1.0, value / greatest):.2f}"/>'
            for t, value in enumerate(values)
            if value > 0
        )
    size = f"{left + num_columns * cell} {len(rows) * row_height}"
    return f'<svg class="intensity" viewBox="0 0 {size}" role="img">{drawn}</svg>'


def _dot_row(row: DotRow, series: Sequence[str], x_of: object, y: float, *, left: int, width: int) -> str:
    assert callable(x_of)
    drawn = _text(left - 10, y + 4, row.label, "end") + _text(width, y + 4, row.note, "end")
    drawn += f'<line class="row" x1="{left}" x2="{width - 46}" y1="{y}" y2="{y}"/>'
    for number in reversed(range(len(series))):  # the first series lies on top
        value = row.values[number]
        if math.isfinite(value):
            title = f"{row.label}, {series[number]}: {value:.3f}"
            drawn += f'<circle class="s{number}" cx="{x_of(value):.1f}" cy="{y}" r="5.5">'
            drawn += f"<title>{escape(title)}</title></circle>"
    return drawn


def _scale(values: Sequence[float], first_px: float, last_px: float):  # type: ignore[no-untyped-def]
    low, high = min(values), max(values)
    span = (high - low) or 1.0
    return (lambda value: first_px + (value - low) / span * (last_px - first_px)), low, high


def _stretches(points: Sequence[tuple[float, float]]) -> list[str]:
    """The points as SVG, broken where y is not finite."""
    stretches: list[list[str]] = [[]]
    for x, y in points:
        if math.isfinite(y):
            stretches[-1].append(f"{x:.1f},{y:.1f}")
        elif stretches[-1]:
            stretches.append([])
    return [" ".join(stretch) for stretch in stretches if stretch]


def _level(level: Level, y: float) -> str:
    line = f'<line class="level" x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>'
    below = y < _TOP + 12
    return line + _text(_WIDTH - _RIGHT, y + 11 if below else y - 3, level.name, "end")


def _text(x: float, y: float, text: str, anchor: str = "start") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(text)}</text>' if text else ""


def _figure(title: str, note: str, drawn: str, *, height: int, key: str = "") -> str:
    quiet = f'<span class="quiet">{escape(note)}</span>' if note else ""
    return (
        f"<figure><figcaption><b>{escape(title)}</b> {quiet}{key}</figcaption>"
        f'<svg viewBox="0 0 {_WIDTH} {height}" role="img" aria-label="{escape(title)}">{drawn}</svg></figure>'
    )
