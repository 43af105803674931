"""`mien embed`: pictures, videos or a store -> a table of features, one row per frame and face."""

from __future__ import annotations

import argparse
from pathlib import Path

from mien.commands import flags


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """SOURCE... --encoder E --out TABLE [--identities CSV|PATTERN] [--strict]."""
    parser.add_argument(
        "sources",
        nargs="+",
        type=Path,
        metavar="SOURCE",
        help="stores, videos, pictures, folders of these, and CSVs with the columns path,identity",
    )
    parser.add_argument("--encoder", type=Path, required=True, help="RUN/encoder.safetensors")
    parser.add_argument("--out", type=Path, required=True, help="the table: a .parquet or a .csv file")
    flags.add_identities(parser)
    flags.add_device(parser)
    parser.add_argument("--batch", type=int, default=64, help="faces at a time (default: %(default)s)")
    flags.add_finder(parser)
    parser.add_argument("--strict", action="store_true", help="stop at a file that cannot be read")


def run(args: argparse.Namespace) -> int:
    """Embed every source; 0 when at least one face was found in them."""
    from mien.evaluate.embed import embed_sources
    from mien.train.encoder_file import load_encoder, pick_device

    encoder = load_encoder(args.encoder, device=pick_device(args.device))
    account = embed_sources(
        args.sources,
        encoder,
        args.out,
        batch_size=args.batch,
        models=args.finder,
        identities=args.identities,
        strict=args.strict,
    )
    print(f"{account.in_words()}\n{args.out}: {account.num_rows:,} rows of {encoder.feature_dim} features")
    return 0 if account.num_rows else 1
