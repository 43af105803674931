"""The results of a sweep as a table to read: a line a run, mean and spread over the seeds."""

from __future__ import annotations

import pandas as pd

SCORES = ("auc", "f1", "auc_video_centred", "identity_accuracy")
COSTS = ("rows", "rows_per_second", "memory_mb")


def summary_table(results: pd.DataFrame) -> str:
    """Markdown, the best mean AUC first where there are scores; `± ` is the seeds' standard deviation."""
    scores = [name for name in SCORES if name in results.columns]
    means = results.groupby("run", sort=False)[[*scores, *COSTS]].mean()
    spreads = results.groupby("run", sort=False)[scores].std()
    counts = results.groupby("run", sort=False).size()
    if "auc" in scores:
        means = means.sort_values("auc", ascending=False)
    header = ["run", "seeds", *scores, *COSTS]
    lines = ["| " + " | ".join(header) + " |", "|" + " --- |" * len(header)]
    for run in means.index:
        cells = [str(run), str(counts[run])]
        cells += [_score(means.loc[run, name], spreads.loc[run, name]) for name in scores]
        cells += [f"{means.loc[run, name]:.0f}" for name in COSTS]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join([*lines, ""])


def _score(mean: float, spread: float) -> str:
    if pd.isna(mean):
        return "undefined"
    return f"{mean:.3f}" if pd.isna(spread) else f"{mean:.3f} ± {spread:.3f}"
