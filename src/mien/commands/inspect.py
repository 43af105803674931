"""`mien inspect`: a page and a contact sheet of a store."""

from __future__ import annotations

import argparse
from pathlib import Path

from mien.commands import flags
from mien.data.remote import path_or_url


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """STORE [--out DIR] [--tracks N]."""
    parser.add_argument(
        "store", type=path_or_url, metavar="STORE", help="a store of `mien prepare`, or its URL"
    )
    flags.add_store_cache(parser)
    parser.add_argument("--out", type=Path, metavar="DIR", help="folder of the page (default: STORE/inspect)")
    parser.add_argument(
        "--tracks", type=int, default=40, help="number of tracks on the contact sheet (default: %(default)s)"
    )


def run(args: argparse.Namespace) -> int:
    """Write DIR/index.html and DIR/contact-sheet.png, and print the figures."""
    import pyarrow.parquet as pq

    from mien.data.accounts import format_accounts, read_accounts
    from mien.data.store import StoreSummary, TrackStore, local_store
    from mien.data.store_layout import ACCOUNTS
    from mien.visualise.store_page import write_store_page

    store = TrackStore.open(local_store(args.store, cache=args.store_cache))
    out = args.out or store.path / "inspect"
    accounts = read_accounts(pq.read_table(store.path / ACCOUNTS))
    page = write_store_page(store, accounts, out, num_tracks_shown=args.tracks)
    print(format_accounts(accounts))
    print("\n" + StoreSummary.of(store).in_words())
    shown = min(args.tracks, store.num_tracks)
    print(f"page: {page}\ncontact sheet: {page.with_name('contact-sheet.png')}")
    if shown < store.num_tracks:
        print(f"{shown:,} of {store.num_tracks:,} tracks are shown; --tracks {store.num_tracks} shows all")
    return 0
