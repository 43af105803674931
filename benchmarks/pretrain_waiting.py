"""How much of a pretraining run goes into waiting for data: clips/s and the share, from the run's own log.

python benchmarks/pretrain_waiting.py STORE [--recipe clp-laptop] [--steps 60] [--set section.key=value ...]
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

WARM_UP_LINES = 1  # the workers' start falls into the first window


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("store", type=Path)
    parser.add_argument("--recipe", default="clp-laptop")
    parser.add_argument("--set", nargs="+", action="extend", default=[], dest="assignments")
    parser.add_argument("--steps", type=int, default=60)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "run"
        command = [sys.executable, "-m", "mien", "pretrain", args.recipe, "--store", str(args.store)]
        settings = [f"run.steps={args.steps}", "run.checkpoint_every_epochs=0", *args.assignments]
        subprocess.run([*command, "--out", str(out), "--set", *settings], check=True)
        lines = [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()][WARM_UP_LINES:]
    waited = sum(line["seconds_waiting_for_data"] for line in lines)
    taken = sum(line["seconds_per_step"] for line in lines)
    clips = sum(line["clips_per_second"] * line["seconds_per_step"] for line in lines)
    print(f"{args.recipe}: {clips / taken:.1f} clips/s, {waited / taken:.1%} of the time waiting for data")


if __name__ == "__main__":
    main()
