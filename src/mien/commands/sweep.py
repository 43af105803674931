"""`mien sweep`: a table of runs from one file, methods x seeds x settings, one line per run."""

from __future__ import annotations

import argparse
import signal
from pathlib import Path

from mien.commands.flags import add_device


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """SWEEP --store STORE --out FOLDER [--labels TABLE] [--score-store STORE --score-labels TABLE]."""
    parser.epilog = (
        "Exit codes: 0 all runs of the shard are in results.csv; 3 the missing runs are in progress in "
        "another sweep of this folder; 1 other runs are missing, because they failed or time ran out; "
        "2 wrong usage. The same command continues."
    )
    parser.add_argument("sweep", help="a shipped sweep's name or a TOML file")
    parser.add_argument("--store", type=Path, required=True, help="store that every run trains on")
    parser.add_argument("--out", type=Path, required=True, help="folder for runs, logs and results.csv")
    parser.add_argument("--labels", type=Path, help="labels of --store, for supervised methods")
    parser.add_argument("--score-store", type=Path, help="store of other people, to score the encoders on")
    parser.add_argument("--score-labels", type=Path, help="labels of --score-store: path, frame, AU01 ...")
    parser.add_argument("--max-minutes", type=float, default=0.0, help="start no more runs after this time")
    parser.add_argument("--workers", type=int, default=0, help="runs side by side (default: one per device)")
    add_device(parser, more=", or cuda:0,cuda:1 to distribute the runs")
    parser.add_argument(
        "--shard", default="1/1", metavar="i/n", help="do only the i-th of n parts of the runs"
    )
    parser.add_argument("--list", action="store_true", help="only print what would run")


def run(args: argparse.Namespace) -> int:
    """Train and score what is not done; exit codes as in the help."""
    from mien.commands.sweep_runs import Places, plan_runs, read_sweep, run_sweep
    from mien.data.jobs import device_environments
    from mien.data.sources import Shard

    sweep, where = read_sweep(args.sweep)
    planned = plan_runs(sweep, where=where)
    mine = Shard.parse(args.shard).of(planned)
    if args.list:
        for run in mine:
            method, rows = run.recipe["method"]["name"], f"{run.steps:7} steps x {run.rows_per_step:5} rows"
            total = run.steps * run.rows_per_step
            print(f"{run.key:40} {method:24} {rows} ({run.clips_per_step} clips) = {total:9} rows")
        return 0
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # so that running trainings are stopped too
    return run_sweep(
        sweep,
        planned,
        mine,
        Places(args.store, args.out, args.labels, args.score_store, args.score_labels),
        environments=device_environments("" if args.device == "auto" else args.device, args.workers),
        max_minutes=args.max_minutes,
    )
