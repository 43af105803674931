"""`mien embed`: pictures, videos or a store -> a table of features, one row a frame and face."""

from __future__ import annotations

import argparse
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """SOURCE... --encoder E --out TABLE [--device D] [--landmarks beside] [--models DIR] [--strict]."""
    parser.add_argument(
        "sources",
        nargs="+",
        type=Path,
        metavar="SOURCE",
        help="stores, videos, pictures, folders of these, and CSVs with the columns path,identity",
    )
    parser.add_argument("--encoder", type=Path, required=True, help="RUN/encoder.safetensors")
    parser.add_argument("--out", type=Path, required=True, help="the table: a .parquet or a .csv file")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda (default: %(default)s)")
    parser.add_argument("--batch", type=int, default=64, help="faces at a time (default: %(default)s)")
    parser.add_argument(
        "--landmarks",
        choices=["detect", "beside"],
        default="detect",
        help="beside: take NAME.landmarks.csv beside each video instead of detecting faces",
    )
    parser.add_argument("--models", type=Path, metavar="DIR", help="the face models' weights, if elsewhere")
    parser.add_argument("--strict", action="store_true", help="stop at a file that cannot be read")


def run(args: argparse.Namespace) -> int:
    """Embed every source; 0 when at least one face was found in them."""
    from mien.commands.embedding import embed_sources
    from mien.train.encoder_file import load_encoder
    from mien.train.engine import pick_device

    encoder = load_encoder(args.encoder, device=pick_device(args.device))
    account = embed_sources(
        args.sources,
        encoder,
        args.out,
        batch_size=args.batch,
        landmarks=args.landmarks,
        models=args.models,
        strict=args.strict,
    )
    print(f"{account.in_words()}\n{args.out}: {account.num_rows:,} rows of {encoder.feature_dim} features")
    return 0 if account.num_rows else 1
