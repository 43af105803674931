"""`mien prepare`: videos -> face tracks in a store."""

from __future__ import annotations

import argparse
from pathlib import Path

from mien.data.jobs import usable_cores
from mien.data.remote import is_url, path_or_url


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """SOURCE... --out STORE [--workers N] [--shard i/n] [--strict] [--landmarks beside] [--set key=value]."""
    parser.add_argument(
        "sources",
        nargs="+",
        type=path_or_url,
        metavar="SOURCE",
        help="video files, folders (a VoxCeleb2 tree, say), URLs of either (s3://...), and CSVs with the "
        "columns path,identity",
    )
    parser.add_argument("--out", type=path_or_url, required=True, metavar="STORE", help="the store's folder")
    parser.add_argument(
        "--workers", type=int, default=usable_cores(), help="processes (default: %(default)s)"
    )
    parser.add_argument(
        "--cluster",
        default="",
        metavar="ADDRESS",
        help="let a Ray cluster's workers do it: auto, HOST:PORT, or local for one of this machine alone",
    )
    parser.add_argument(
        "--shard", default="1/1", metavar="i/n", help="only the i-th of n shares of the videos"
    )
    parser.add_argument("--strict", action="store_true", help="stop at a broken, empty or faceless file")
    parser.add_argument(
        "--landmarks",
        choices=["detect", "beside"],
        help="beside: take NAME.landmarks.csv beside each video instead of detecting faces",
    )
    parser.add_argument("--models", type=Path, metavar="DIR", help="the face models' weights, if elsewhere")
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        dest="assignments",
        metavar="key=value",
        help="a setting, as jpeg.quality=95 or min_run_frames=9; store.json lists them all",
    )


def run(args: argparse.Namespace) -> int:
    """Prepare what is not done yet and print the accounts; 0 also where files were skipped."""
    from mien.commands.prepare_progress import ProgressBar
    from mien.config import build, override
    from mien.data.accounts import format_accounts
    from mien.data.face_tracking import FaceTracking
    from mien.data.prepare import PrepareSettings, prepare
    from mien.data.sources import Shard, list_sources
    from mien.data.store import StoreSummary, TrackStore

    _refuse_address(args.out)
    shard = Shard.parse(args.shard)
    chosen = {"landmarks": args.landmarks} if args.landmarks else {}
    settings = build(PrepareSettings, override(chosen, args.assignments), where="mien prepare --set")
    listing = list_sources(args.sources)
    sources = shard.of(listing.sources)
    print(_what_is_given(listing.sources, sources, listing.num_other_files, shard))
    with ProgressBar() as progress:
        accounts = prepare(
            sources,
            args.out,
            FaceTracking(settings.tracking, landmarks=settings.landmarks, models=args.models),
            settings=settings,
            workers=args.workers,
            watcher=progress,
            shard=shard,
            strict=args.strict,
            cluster=args.cluster,
        )
    print(format_accounts(accounts))
    print("\n" + StoreSummary.of(TrackStore.open(args.out)).in_words())
    print(f"{args.out}: look at it with `mien inspect {args.out}`")
    return 0


def _refuse_address(out: Path | str) -> None:
    if is_url(out):
        raise ValueError(
            f"--out {out}: an object store is not written to. Prepare into a folder and copy it "
            "(--store takes the URL of a copied store), or mount the object store and name the folder."
        )


def _what_is_given(every: tuple, mine: tuple, num_other_files: int, shard: object) -> str:  # type: ignore[type-arg]
    words = f"{len(every):,} videos of {len({source.identity for source in every}):,} identities"
    if len(mine) < len(every):
        words += f", {len(mine):,} of them in shard {shard}"
    return words + (f"; {num_other_files:,} other files left aside" if num_other_files else "")
