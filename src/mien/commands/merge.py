"""`mien merge`: the stores of several shards -> one."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """SHARD... --out STORE."""
    parser.add_argument(
        "shards", nargs="+", type=Path, metavar="SHARD", help="stores of `mien prepare --shard i/n`"
    )
    parser.add_argument("--out", type=Path, required=True, metavar="STORE", help="the merged store's folder")


def run(args: argparse.Namespace) -> int:
    """Merge and print the accounts."""
    from mien.data.accounts import format_accounts
    from mien.data.parts import merge, missing_shards
    from mien.data.store import StoreSummary, TrackStore

    missing = missing_shards(args.shards)
    if missing:
        print(f"mien merge: missing shards: {', '.join(missing)}", file=sys.stderr)
    print(format_accounts(merge(args.shards, args.out)))
    print("\n" + StoreSummary.of(TrackStore.open(args.out)).in_words())
    return 0
