"""`mien sweep`: a table of runs from one file, methods x seeds x settings, one line a run."""

from __future__ import annotations

import argparse
import signal
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """SWEEP --store STORE --out FOLDER [--labels TABLE] [--score-store STORE --score-labels TABLE]."""
    parser.epilog = (
        "Exit status: 0 when all runs (of the share) are in results.csv; 3 when only such are missing as "
        "another sweep of the folder is at (the same command, later, says whether they came); 1 when others "
        "are missing, because they failed or the time was over; 2 for wrong usage."
    )
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
    """Do what is not done; the exit status is told in the help. ValueError for what cannot be done."""
    from mien.commands.side_by_side import names_in, slots_for, usable_cores
    from mien.commands.sweep_plan import plan_runs, read_sweep
    from mien.commands.sweeping import Means, Places, describe, run_sweep
    from mien.data.sources import Shard

    sweep, where = read_sweep(args.sweep)
    planned = plan_runs(sweep, where=where)
    shard = Shard.parse(args.shard)
    mine = planned[shard.number - 1 :: shard.count]
    devices = names_in(args.devices)
    slots = slots_for(devices, args.jobs, cores=usable_cores())
    several = [run.name for run in mine if devices and run.recipe.get("run", {}).get("devices", 1) > 1]
    if several:
        raise ValueError(
            f"--devices {args.devices} gives each run one device, and run {several[0]!r} is to use several "
            "(run.devices): leave one of the two out"
        )
    if args.list:
        print(describe(mine))
        return 0
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # so that runs in progress are stopped too
    places = Places(args.store, args.out, args.labels, args.score_store, args.score_labels)
    return run_sweep(sweep, planned, mine, places, Means(slots, args.max_minutes))
