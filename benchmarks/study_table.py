"""The study's tables, from what `study_readouts.py` has kept: means, intervals over people and seeds.

    python benchmarks/study_table.py docs/results/study.parquet --sweep main
    python benchmarks/study_table.py docs/results/study.parquet --sweep main --against moco-v2
    python benchmarks/study_table.py docs/results/study.parquet --csv docs/results/study-table.csv

An interval is the 2.5th to 97.5th percentile of draws with replacement of both the tested people and the
seeds. The people's draws are the same for every run; the seeds' are not, for two runs of one seed share
nothing but its number (but for those that begin with one encoder: for these ask seed by seed, --seeds). With
--against, differences from that run. A line's seeds are counted: of unequal ones compare those both have.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

SCORES = {
    "auc within a video": "AUC, centred by video",
    "auc": "AUC",
    "auc within a video, 5 people": "centred, 5 people",
    "auc within a video, 15 people": "centred, 15 people",
    "auc within a video, shifted": "centred, shifted",
    "identity": "identity",
}


def main() -> None:
    """Print Markdown."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("readouts", type=Path)
    chosen = parser.add_mutually_exclusive_group(required=True)
    chosen.add_argument("--sweep", help="the folder's name")
    chosen.add_argument("--csv", type=Path, help="write all sweeps, runs and scores there")
    parser.add_argument("--against", default="", help="a run: differences from it")
    parser.add_argument("--scores", nargs="+", default=list(SCORES), help="columns")
    parser.add_argument("--seeds", nargs="+", type=int, help="only these, so that one seed meets its own")
    args = parser.parse_args()
    table = pd.read_parquet(args.readouts)
    if args.csv:
        long_table(table).to_csv(args.csv, index=False)
        return
    table = table[table["sweep"] == args.sweep]
    if args.seeds:
        table = table[table["seed"].isin(args.seeds)]
    if table.empty:
        parser.error(f"{args.readouts} holds nothing of the sweep {args.sweep!r} and these seeds")
    if args.against not in {"", *table["run"]}:
        parser.error(
            f"{args.readouts} holds no run {args.against!r} of the sweep {args.sweep!r} and these seeds"
        )
    print(markdown(table, args.scores, against=args.against))


def markdown(table: pd.DataFrame, scores: list[str], *, against: str = "") -> str:
    """A line a run, the best first; a cell is the mean over the seeds and its interval."""
    of_run = table.groupby(["run", "score"], sort=False)
    drawn = {key: drawn_over_seeds(rows) for key, rows in of_run}
    value = of_run["value"].mean()
    seeds = table.groupby("run", sort=False)["seed"].nunique()
    runs = sorted((run for run in seeds.index if run != against), key=lambda run: -value[run, scores[0]])
    lines = [
        "| run | seeds | " + " | ".join(SCORES.get(score, score) for score in scores) + " |",
        "| --- |" + " ---: |" * (1 + len(scores)),
    ]
    for run in runs:
        cells = [run, str(seeds[run])]
        for score in scores:
            mean, drawn_R = value[run, score], drawn[run, score]
            if against:
                mean, drawn_R = mean - value[against, score], drawn_R - drawn[against, score]
            cells.append(with_interval(mean, drawn_R, sign="+" if against else ""))
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def long_table(table: pd.DataFrame) -> pd.DataFrame:
    """One row per sweep, run and score: number of seeds, encoder rows, mean and interval."""
    lines = []
    for (sweep, run, score), rows in table.groupby(["sweep", "run", "score"], sort=False):
        low, high = interval(drawn_over_seeds(rows))
        lines.append(
            {
                "sweep": sweep,
                "run": run,
                "seeds": rows["seed"].nunique(),
                "rows": rows["rows"].iloc[0],
                "score": score.replace("within a video", "centred by video"),
                "value": rows["value"].mean(),
                "low": low,
                "high": high,
            }
        )
    return pd.DataFrame(lines).round(4)


def drawn_over_seeds(rows: pd.DataFrame) -> NDArray[np.float64]:
    """(R,) means over seeds drawn with replacement, the r-th of the r-th draw of people."""
    drawn_SR = np.stack(rows.sort_values("seed")["drawn"].to_list())
    generator = np.random.default_rng([*str(rows["run"].iloc[0]).encode()])
    chosen_SR = generator.integers(len(drawn_SR), size=drawn_SR.shape)
    mean_R: NDArray[np.float64] = np.take_along_axis(drawn_SR, chosen_SR, axis=0).mean(axis=0)
    return mean_R


def with_interval(mean: float, drawn_R: NDArray[np.float64], *, sign: str = "") -> str:
    """A cell of a table; `sign` is "+" for a difference."""
    low, high = interval(drawn_R)
    return f"{_short(mean, sign)} ({_short(low, sign)} to {_short(high, sign)})"


def interval(drawn_R: NDArray[np.float64]) -> tuple[float, float]:
    """2.5th to 97.5th percentile."""
    low, high = np.quantile(drawn_R, (0.025, 0.975))
    return float(low), float(high)


def _short(value: float, sign: str) -> str:
    return f"{value:{sign}.3f}".replace("0.", ".", 1)


if __name__ == "__main__":
    main()
