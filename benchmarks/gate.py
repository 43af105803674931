"""Does learning still work? Small trainings on the shipped clips, held against margins; minutes on 2 cores.

    python benchmarks/gate.py [--out gate-output]

`make gate` runs it, and trains anew each time; this alone goes on where it was stopped. It prepares the part
`pretraining` of the shipped clips, trains what recipes/sweeps/gate.toml names (two seeds each), and exits
with 1 where a figure, the mean over the seeds, is beyond its margin: about five minutes of one core. Margins
lie half way between what was measured when they were set and what learning nothing gives; both are in CHECKS.

What was broken on purpose: temporal contrast that is always 0 and clips whose frames are shuffled fail. A
bank that offers each query its own key changes no figure enough to fail; tests/methods/test_clp.py compares
the step with the equations for that. No check reads labels: in so few steps CLP's action units lie hardly
above an untrained network's. Of temporal contrast only collapse is noticed: an untrained network passes that
check. The last check is a control with a margin of its own: a network that learns nothing passes it, one that
learns an order where there is none does not.
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
    store = out / "pretraining"
    mien("prepare", shipped_clips() / "pretraining", "--out", store)
    mien("sweep", "gate", "--store", store, "--out", out / "sweep")
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


def logged(out: Path, run: str, name: str) -> float:
    """The mean of a logged number over the last quarter of the steps and the seeds."""
    values = []
    for log in sorted((out / "runs").glob(f"{run}-seed*/log.jsonl")):
        lines = [json.loads(line)[name] for line in log.read_text().splitlines()]
        values.append(np.mean(lines[-max(1, len(lines) // 4) :]))
    return float(np.mean(values))


CHECKS = (
    Check(
        "reconstruction leaves its plateau: effective support of the attention",
        partial(logged, run="cir-only", name="attention_support"),
        at_most=0.43,
        measured=0.305,
        of_nothing=0.549,
    ),
    Check(
        "reconstruction leaves its plateau: loss",
        partial(logged, run="cir-only", name="loss_cir"),
        at_most=5.7,
        measured=4.86,
        of_nothing=6.6,
    ),
    Check(
        "temporal contrast does not collapse: its loss in CLP stays below that of frames that coincide",
        partial(logged, run="clp", name="loss_tcl"),
        at_least=0.24,  # half of what was measured: a loss that nothing reaches any more is broken
        at_most=0.58,
        measured=0.485,
        of_nothing=COLLAPSED / 0.03 * 0.1,  # at the recipe's margin
    ),
    Check(
        "temporal contrast learns nothing from shuffled frames: its loss stays above that of collapse",
        partial(logged, run="tcl-shuffled", name="loss_tcl"),
        at_least=COLLAPSED - 0.003,
        measured=0.218,
        of_nothing=COLLAPSED,
    ),
)


if __name__ == "__main__":
    main()
