"""The study's figures, from what `study_readouts.py` has kept: what more rows bring, and what is read beside.

    python benchmarks/study_figures.py docs/results/study.parquet --out docs/results/study.svg

Left: AUC, centred by video against encoder rows, of the seeds that all budgets of a run have in one set-up (a
sweep), which are joined; bars are the intervals of `study_table.py`. Right: the same against the identity
that is read, a dot a seed of the larger set-up's first budget. Printed: the change per doubling of the rows,
each seed against itself, and what it would come to at 100 million.
"""

from __future__ import annotations

import argparse
import itertools
from dataclasses import dataclass
from pathlib import Path

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from numpy.typing import NDArray
from study_table import drawn_over_seeds, interval, with_interval

SCORE = "auc within a video"
SHOWN = {  # run: its line's colour
    "supervised": "#555555",
    "fabnet": "#b5651d",
    "moco-v2": "#1f6f8b",
    "simclr": "#5aa9c4",
    "cir-only": "#7a4fa3",
    "within-video-relit": "#2e8b57",
    "clp": "#c2185b",
    "tcl-only": "#e8a0b8",
    "untrained": "#bbbbbb",
}
MORE = ("-more", "-50k")  # names of the same run on another budget end so
PAPER_ROWS = 100e6
SMALLER, LARGER = "study-rendered", "study-rendered-scale"  # the sweeps' folders


@dataclass(frozen=True)
class Point:
    """A run on one budget."""

    rows: int
    value: float
    drawn_R: NDArray[np.float64]


def main() -> None:
    """Write the SVG, print the trend."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("readouts", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    table = pd.read_parquet(args.readouts)
    mpl.rcParams["svg.hashsalt"] = "study"  # the same file from the same table
    figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4.6), layout="constrained")
    _draw_curves(left, table)
    _draw_identity(right, table)
    figure.savefig(args.out, metadata={"Date": None})
    print(_trend(table))


def curve(table: pd.DataFrame, run: str) -> list[Point]:
    """The run's points in one sweep's table, by rows; of the seeds that all of them have."""
    names = [run, *(run + end for end in MORE)]
    chosen = table[table["run"].isin(names) & (table["score"] == SCORE)]
    if chosen.empty:
        return []
    shared = set.intersection(*(set(rows["seed"]) for _, rows in chosen.groupby("run")))
    points = [
        Point(int(rows["rows"].iloc[0]), float(rows["value"].mean()), drawn_over_seeds(rows))
        for _, rows in chosen[chosen["seed"].isin(shared)].groupby("run", sort=False)
    ]
    return sorted(points, key=lambda point: point.rows)


def _draw_curves(axes: Axes, table: pd.DataFrame) -> None:
    for number, (run, colour) in enumerate(SHOWN.items()):
        for sweep in (SMALLER, LARGER):
            rows = table[table["sweep"] == sweep]
            points = curve(rows, run)
            if not points:
                continue
            if run == "untrained":
                axes.axhline(points[0].value, color=colour, linewidth=1, zorder=0)
                continue
            x = [point.rows * 1.02 ** (number - len(SHOWN) / 2) for point in points]  # bars side by side
            y = [point.value for point in points]
            low, high = np.array([interval(point.drawn_R) for point in points]).T
            style = "--" if sweep == SMALLER else "-"
            label = run if sweep != SMALLER else None
            axes.errorbar(
                x,
                y,
                yerr=[np.subtract(y, low), np.subtract(high, y)],
                color=colour,
                linestyle=style,
                marker="o",
                markersize=4,
                linewidth=1.3,
                elinewidth=0.8,
                label=label,
            )
    axes.set_xscale("log")
    axes.set_xlabel("encoder rows (dashed: the smaller network and step)")
    axes.set_ylabel("AUC, centred by video")
    axes.legend(fontsize=8, frameon=False, ncols=2)


def _draw_identity(axes: Axes, table: pd.DataFrame) -> None:
    largest = table[table["sweep"] == LARGER]
    for run, colour in SHOWN.items():
        rows = largest[largest["run"] == run]
        if rows.empty:
            continue
        known, units = (rows[rows["score"] == score] for score in ("identity", SCORE))
        axes.scatter(known["value"], units["value"], color=colour, s=14)
        axes.annotate(run, (known["value"].mean(), units["value"].mean()), fontsize=8, color=colour)
    axes.set_xlabel("identity named, share of frames (chance .01); a dot a seed")
    axes.set_ylabel("AUC, centred by video")


def _trend(table: pd.DataFrame) -> str:
    lines = ["| run | rows | AUC, centred by video | per doubling | at 100 million, if it went on so |"]
    lines.append("| --- | ---: | ---: | ---: | ---: |")
    for sweep, run in itertools.product((SMALLER, LARGER), SHOWN):
        points = curve(table[table["sweep"] == sweep], run)
        if len(points) < 2:
            continue
        first, last = points[0], points[-1]
        doublings = np.log2(last.rows / first.rows)
        slope_R = (last.drawn_R - first.drawn_R) / doublings
        left = np.log2(PAPER_ROWS / last.rows)
        slope = (last.value - first.value) / doublings
        told = " to ".join(f"{point.value:.3f}" for point in (first, last))
        lines.append(
            f"| {run} ({sweep}) | {first.rows:,} to {last.rows:,} | {told} | "
            f"{with_interval(slope, slope_R, sign='+')} | "
            f"{with_interval(last.value + left * slope, last.drawn_R + left * slope_R)} |"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    main()
