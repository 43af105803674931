"""`mien bench`: how fast this machine does each part of the work, beside its physical limits."""

from __future__ import annotations

import argparse


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """[--device D] [--rounds N] [--cpu-time] [--json]."""
    parser.add_argument("--device", default="auto", help="auto, cpu or cuda (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=3, help="turns of each part; the least time counts")
    parser.add_argument(
        "--cpu-time",
        action="store_true",
        help="one thread, and CPU seconds instead of the wall's: steadier on a busy machine; not on a GPU",
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of a table")


def run(args: argparse.Namespace) -> int:
    """Measure on data made for it in a temporary folder, and print."""
    import json

    import torch

    from mien.bench.figures import in_words
    from mien.commands.benching import bench
    from mien.train.engine import pick_device

    if args.rounds < 1:
        raise ValueError(f"--rounds {args.rounds}: at least 1")
    device = pick_device(args.device)
    if args.cpu_time and device.type != "cpu":
        raise ValueError(f"--cpu-time says nothing about {device}: leave it out, or say --device cpu")
    if args.cpu_time:
        torch.set_num_threads(1)
    result = bench(device, rounds=args.rounds, cpu_time=args.cpu_time)
    print(json.dumps(result.to_dict(), indent=2) if args.json else in_words(result))
    return 0
