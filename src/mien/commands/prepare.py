"""`mien prepare`: videos -> face tracks in a store."""

from __future__ import annotations

import argparse
from pathlib import Path

from mien.commands import flags
from mien.data.remote import is_url, path_or_url


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """SOURCE... --out STORE [--identities CSV|PATTERN] [--workers N] [--shard i/n] [--set key=value ...]."""
    parser.epilog = (
        "The same command continues an interrupted run. Videos whose content has changed are prepared again. "
        "Other settings for the same store are an error."
    )
    parser.add_argument(
        "sources",
        nargs="+",
        type=path_or_url,
        metavar="SOURCE",
        help="video files, folders, URLs of either (s3://...), and CSVs with the columns path,identity",
    )
    parser.add_argument("--out", type=path_or_url, required=True, metavar="STORE", help="the store's folder")
    flags.add_identities(parser)
    flags.add_workers(parser)
    parser.add_argument(
        "--cluster",
        default="",
        metavar="ADDRESS",
        help="use the workers of a Ray cluster: auto, HOST:PORT, or local to start one on this machine",
    )
    parser.add_argument(
        "--shard", default="1/1", metavar="i/n", help="do only the i-th of n parts of the videos"
    )
    parser.add_argument(
        "--strict", action="store_true", help="stop at a damaged or empty file, or one without faces"
    )
    flags.add_finder(parser)
    flags.add_set(
        parser, of="the store (store.json lists them all)", example="jpeg.quality=95 min_run_frames=9"
    )


def run(args: argparse.Namespace) -> int:
    """Prepare what is not done yet and print the accounts; 0 also where files were skipped."""
    from mien.config import build, override
    from mien.data.accounts import format_accounts
    from mien.data.prepare import prepare
    from mien.data.sources import Shard, list_sources
    from mien.data.store import StoreSummary, TrackStore
    from mien.data.store_writer import PrepareSettings
    from mien.faces.track import FaceTracking

    _refuse_url(args.out)
    shard = Shard.parse(args.shard)
    settings = build(PrepareSettings, override({}, args.assignments), where="mien prepare --set")
    listing = list_sources(args.sources, identities=args.identities)
    sources = shard.of(listing.sources)
    print(listing.in_words())
    if len(sources) < len(listing.sources):
        print(f"{len(sources):,} of these videos are in shard {shard}")
    accounts = prepare(
        sources,
        args.out,
        FaceTracking(settings.tracking, models=args.finder),
        settings=settings,
        workers=args.workers,
        shard=shard,
        strict=args.strict,
        cluster=args.cluster,
    )
    print(format_accounts(accounts))
    print("\n" + StoreSummary.of(TrackStore.open(args.out)).in_words())
    print(f"{args.out}: `mien inspect {args.out}` makes a page of it")
    return 0


def _refuse_url(out: Path | str) -> None:
    if is_url(out):
        raise ValueError(
            f"--out {out}: an object store is not written to. Prepare into a folder and copy it "
            "(--store takes the URL of a copied store), or mount the object store and name the folder."
        )
