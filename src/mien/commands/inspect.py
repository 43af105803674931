"""`mien inspect`: a page and a contact sheet of a store."""

from __future__ import annotations

import argparse
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """STORE [--out DIR] [--tracks N]."""
    parser.add_argument("store", type=Path, metavar="STORE", help="what `mien prepare` wrote")
    parser.add_argument("--out", type=Path, metavar="DIR", help="where to (default: STORE/inspect)")
    parser.add_argument(
        "--tracks", type=int, default=40, help="tracks on the contact sheet (default: %(default)s)"
    )


def run(args: argparse.Namespace) -> int:
    """Write DIR/index.html and DIR/contact-sheet.png, and print the figures."""
    import pyarrow.parquet as pq

    from mien.data.accounts import format_accounts, read_accounts
    from mien.data.store import TrackStore
    from mien.data.store_layout import ACCOUNTS
    from mien.data.summary import StoreSummary
    from mien.visualise.store_page import write_store_page

    store = TrackStore.open(args.store)
    out = args.out or args.store / "inspect"
    accounts = read_accounts(pq.read_table(args.store / ACCOUNTS))
    page = write_store_page(store, accounts, out, num_tracks_shown=args.tracks)
    print(format_accounts(accounts))
    print("\n" + StoreSummary.of(store).in_words())
    print(f"page: {page}\ncontact sheet: {page.with_name('contact-sheet.png')}")
    return 0
