"""`mien demo`: drawn faces -> prepare -> pretrain -> embed -> a page, in minutes and without any data."""

from __future__ import annotations

import argparse
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """--out FOLDER [--workers N] [--landmarks beside] [--set key=value] [section.key=value ...]."""
    parser.add_argument("--out", type=Path, default=Path("demo-output"), help="default: %(default)s")
    parser.add_argument("--workers", type=int, default=2, help="processes (default: %(default)s)")
    parser.add_argument(
        "--landmarks",
        choices=["detect", "beside"],
        default="detect",
        help="beside: take the drawn landmarks instead of detecting faces",
    )
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        dest="assignments",
        metavar="key=value",
        help="a setting of the demo, as num_people=20",
    )
    parser.add_argument(
        "--recipe-set",
        action="append",
        default=[],
        dest="recipe_assignments",
        metavar="section.key=value",
        help="a setting of the recipe clp-demo, as run.steps=100",
    )


def run(args: argparse.Namespace) -> int:
    """Do it all and say where the page is."""
    from mien.commands.demo_stages import DemoSettings, run_demo
    from mien.config import build, override

    chosen = {"workers": args.workers, "landmarks": args.landmarks}
    settings = build(DemoSettings, override(chosen, args.assignments), where="mien demo --set")
    page = run_demo(args.out, settings, recipe_assignments=args.recipe_assignments)
    print(f"\nOpen {page} in a browser.")
    return 0
