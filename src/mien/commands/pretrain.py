"""`mien pretrain`: a store of face tracks and a recipe -> a run folder with an encoder."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from mien.commands import flags
from mien.data.remote import path_or_url


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """RECIPE --store STORE --out RUN [--set section.key=value ...]."""
    parser.epilog = (
        "The same command continues from the newest checkpoint in --out. SIGTERM, Ctrl-C and "
        "run.max_minutes end a run after the current step, with a checkpoint and an encoder. Exit codes: 0 "
        "complete or max_minutes reached, 128 + n ended by signal n, 1 error, 2 wrong usage."
    )
    flags.add_recipe(parser, kind="pretraining recipe")
    parser.add_argument(
        "--store", type=path_or_url, required=True, help="a store of `mien prepare`, or its URL"
    )
    flags.add_store_cache(parser)
    parser.add_argument("--out", type=Path, required=True, metavar="RUN", help="the run's folder")
    flags.add_set(parser, of="the recipe", example="run.epochs=50 method.beta=0.2 data.workers=4")


def run(args: argparse.Namespace) -> int:
    """Train; 0 when the run is complete or out of its minutes, 128 + n when signal n ended it early."""
    from mien.config import find_recipe, load_recipe, override
    from mien.data.store import local_store
    from mien.train.pretrain import pretrain
    from mien.train.ranks import LostRankError

    path = find_recipe(args.recipe, section="method")
    recipe = override(load_recipe(path), args.assignments)
    store = local_store(args.store, cache=args.store_cache)
    try:
        return pretrain(recipe, where=str(path), store=store, out=args.out)
    except LostRankError as error:
        # At once: a process group that lost a member may never shut down in order.
        print(f"mien pretrain: {error}", file=sys.stderr, flush=True)
        os._exit(1)
