"""`mien sweep`: a table of runs from one file, methods x seeds x settings, one line a run."""

from __future__ import annotations

import argparse
import signal
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """SWEEP --store STORE --out FOLDER [--labels TABLE] [--score-store STORE --score-labels TABLE]."""
    parser.add_argument("sweep", help="a shipped sweep's name or a TOML file")
    parser.add_argument("--store", type=Path, required=True, help="what every run trains on")
    parser.add_argument("--out", type=Path, required=True, help="runs, logs and results.csv go here")
    parser.add_argument("--labels", type=Path, help="labels of --store, for the methods that train on them")
    parser.add_argument("--score-store", type=Path, help="other people, to read action units from")
    parser.add_argument(
        "--score-labels", type=Path, help="action units of --score-store: path, frame, AU01 ..."
    )
    parser.add_argument(
        "--max-minutes", type=float, default=0.0, help="begin no run after that long; 0: no limit"
    )
    parser.add_argument(
        "--jobs", type=int, default=0, metavar="N", help="runs side by side (default: one, or one a device)"
    )
    parser.add_argument(
        "--devices", default="", metavar="LIST", help="devices to spread them over: cuda:0,cuda:1, or cpu"
    )
    parser.add_argument(
        "--shard",
        default="1/1",
        metavar="i/n",
        help="only the i-th of n shares of the runs, on one of n machines",
    )
    parser.add_argument("--list", action="store_true", help="say what would run, and stop")


def run(args: argparse.Namespace) -> int:
    """Do what is not done; 0 when it is, or another sweep is at it; 1 when a run failed or time was out."""
    from mien.commands.side_by_side import names_in, slots_for, usable_cores
    from mien.commands.sweep_plan import plan_runs, read_sweep
    from mien.commands.sweeping import Means, Places, describe, run_sweep
    from mien.data.sources import Shard

    sweep, where = read_sweep(args.sweep)
    planned = plan_runs(sweep, where=where)
    shard = Shard.parse(args.shard)
    mine = planned[shard.number - 1 :: shard.count]
    slots = slots_for(names_in(args.devices), args.jobs, cores=usable_cores())
    if args.list:
        print(describe(mine))
        return 0
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # so that runs in progress are stopped too
    places = Places(args.store, args.out, args.labels, args.score_store, args.score_labels)
    complete = run_sweep(sweep, planned, mine, places, Means(slots, args.max_minutes))
    return 0 if complete else 1
