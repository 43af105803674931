"""Kills a pretraining run (SIGKILL) again and again at random moments and compares it with an unbroken one.

    python benchmarks/kill_pretrain.py STORE [--recipe clp-demo] [--kills 10] [--set section.key=value ...]

Every tensor of the last checkpoint must be equal, bit for bit, and every figure of the log that is no time.
"""

from __future__ import annotations

import argparse
import json
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch
from safetensors.torch import load_file

CLOCK = {"seconds_waiting_for_data", "seconds_per_step", "clips_per_second", "warnings"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("store", type=Path)
    parser.add_argument("--recipe", default="clp-demo")
    parser.add_argument("--set", nargs="+", action="extend", default=[], dest="assignments")
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    random.seed(args.seed)
    with tempfile.TemporaryDirectory() as folder:
        unbroken, killed = Path(folder) / "unbroken", Path(folder) / "killed"
        began = time.monotonic()
        subprocess.run(_command(args, unbroken), check=True, stderr=subprocess.DEVNULL)
        whole = time.monotonic() - began
        print(f"unbroken: {whole:.0f} s", flush=True)
        for number in range(1, args.kills + 1):
            _kill_once(args, killed, after_seconds=random.uniform(0.0, whole / args.kills), number=number)
        subprocess.run(_command(args, killed), check=True, stderr=subprocess.DEVNULL)
        _compare(unbroken, killed)


def _command(args: argparse.Namespace, out: Path) -> list[str]:
    command = [sys.executable, "-m", "mien", "pretrain", args.recipe, "--store", str(args.store)]
    return [*command, "--out", str(out), *(f"--set={one}" for one in args.assignments)]


def _kill_once(args: argparse.Namespace, out: Path, *, after_seconds: float, number: int) -> None:
    """Kill at a random moment of training; every third time already while it starts."""
    log = out / "log.jsonl"
    before = log.stat().st_size if log.exists() else 0
    process = subprocess.Popen(_command(args, out), stderr=subprocess.DEVNULL)
    while number % 3 and process.poll() is None and not (log.exists() and log.stat().st_size > before):
        time.sleep(0.02)
    try:
        process.wait(timeout=after_seconds)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    checkpoints = sorted(path.name for path in (out / "checkpoints").glob("step-*"))
    newest = checkpoints[-1] if checkpoints else "none"
    print(f"{number}: ended by {process.returncode} after {after_seconds:.1f} s; newest {newest}", flush=True)


def _compare(unbroken: Path, killed: Path) -> None:
    left, right = (load_file(max((run / "checkpoints").glob("step-*"))) for run in (unbroken, killed))
    differing = [name for name in left if not torch.equal(left[name], right[name])]
    assert set(left) == set(right), "the checkpoints hold other tensors"
    assert not differing, f"these tensors differ: {differing[:5]}"
    assert _learnt(unbroken) == _learnt(killed), "the logs differ"
    print(f"the same {len(left)} tensors and {len(_learnt(killed))} log lines")


def _learnt(run: Path) -> list[dict[str, object]]:
    lines = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    return [{key: value for key, value in line.items() if key not in CLOCK} for line in lines]


if __name__ == "__main__":
    main()
