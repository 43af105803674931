"""Does learning still work? Small trainings on the shipped clips, held against margins; minutes on 2 cores.

    python benchmarks/gate.py [--out gate-output]

`make gate` runs it, and trains anew each time; this alone goes on where it was stopped. It prepares the
shipped clips, trains what recipes/sweeps/gate.toml names (three seeds each) on the part `pretraining`, reads
action units from the people of `main`, and exits with 1 where a figure, the mean over the seeds, is beyond
its margin. Margins lie half way between what was measured when they were set and what learning nothing gives;
both are in CHECKS. The last check is a control with a margin of its own: a network that learns nothing passes
it, one that learns an order where there is none does not.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd

from mien import cli
from mien.datasets.rendered import shipped_clips

COLLAPSED = 0.2023  # loss of clips whose frames all coincide, at the paper's margin


@dataclass(frozen=True)
class Check:
    """A figure of the runs in `out`, and on which side of its margin it must lie."""

    claim: str
    figure: Callable[[Path], float]
    measured: float
    of_nothing: float  # what it is where nothing is learned
    at_least: float = -np.inf
    at_most: float = np.inf


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, default=Path("gate-output"))
    out = parser.parse_args().out
    for part in ("pretraining", "main"):
        mien("prepare", shipped_clips() / part, "--out", out / part)
    scored_on = ["--score-store", out / "main", "--score-labels", shipped_clips() / "main" / "labels.parquet"]
    mien("sweep", "gate", "--store", out / "pretraining", *scored_on, "--out", out / "sweep")
    held = [report(check, check.figure(out / "sweep")) for check in CHECKS]
    sys.exit(0 if all(held) else "gate: learning is not what it was")


def mien(*words: object) -> None:
    """One command; exits where it does."""
    if cli.main([str(word) for word in words]) != 0:
        sys.exit(f"gate: mien {words[0]} failed")


def report(check: Check, figure: float) -> bool:
    """Say it; True where it holds."""
    holds = check.at_least <= figure <= check.at_most
    print(
        f"{'holds' if holds else 'FAILS'}  {check.claim}: {figure:.4f} "
        f"({check.at_least:.4f} to {check.at_most:.4f}; was {check.measured:.4f}, "
        f"learning nothing gives {check.of_nothing:.4f})"
    )
    return holds


def scored(out: Path, run: str, column: str) -> float:
    """The mean of a column of the results over a run's seeds."""
    results = pd.read_csv(out / "results.csv")
    return float(results.loc[results["run"] == run, column].mean())


def above(out: Path, run: str, other: str, column: str) -> float:
    """By how much one run's figure lies above another's."""
    return scored(out, run, column) - scored(out, other, column)


def logged(out: Path, run: str, name: str) -> float:
    """The mean of a logged number over the last quarter of the steps and the seeds."""
    values = []
    for log in sorted((out / "runs").glob(f"{run}-seed*/log.jsonl")):
        lines = [json.loads(line)[name] for line in log.read_text().splitlines()]
        values.append(np.mean(lines[-max(1, len(lines) // 4) :]))
    return float(np.mean(values))


CHECKS = (
    Check(
        "CLP reads action units within a video, AUC above the untrained network's",
        partial(above, run="clp", other="untrained", column="auc_video_centred"),
        at_least=0.059,
        measured=0.118,
        of_nothing=0.0,
    ),
    Check(
        "CLP reads action units of other people, AUC above the untrained network's",
        partial(above, run="clp", other="untrained", column="auc"),
        at_least=0.049,
        measured=0.099,
        of_nothing=0.0,
    ),
    Check(
        "reconstruction leaves its plateau: effective support of the attention",
        partial(logged, run="cir-only", name="attention_support"),
        at_most=0.43,
        measured=0.271,
        of_nothing=0.587,
    ),
    Check(
        "reconstruction leaves its plateau: accuracy of retrieval",
        partial(logged, run="cir-only", name="retrieval_accuracy"),
        at_least=0.036,
        measured=0.065,
        of_nothing=0.008,
    ),
    Check(
        "temporal contrast learns nothing from shuffled frames: its loss stays above that of collapse",
        partial(logged, run="tcl-shuffled", name="loss_tcl"),
        at_least=COLLAPSED - 0.003,
        measured=0.294,
        of_nothing=COLLAPSED,
    ),
)


if __name__ == "__main__":
    main()
