"""`mien convert`: codings from and to ELAN, BORIS and Praat, and labels for `mien fit`."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from mien.commands.flags import add_coding, add_out

if TYPE_CHECKING:
    from mien.findings.coding import Coding


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """CODING... --to FORMAT --out DIR."""
    parser.add_argument(
        "codings",
        nargs="+",
        type=Path,
        metavar="CODING",
        help="tables of `mien detect`, of events or of labels; .eaf, .boris and .TextGrid files; events "
        "exported from BORIS",
    )
    parser.add_argument(
        "--to",
        required=True,
        choices=["elan", "boris", "praat", "events", "labels"],
        help="format to write; labels: a table for `mien fit --dataset table` (needs --media)",
    )
    add_out(parser, of="folder for the files")
    add_coding(parser)


def run(args: argparse.Namespace) -> int:
    """Write every coding in the other format; 0, or 1 where events lie outside their video."""
    from mien.findings.exchange import read_coding, write_coding

    well = []
    for path in args.codings:
        coding = read_coding(path, occurs_at=args.occurs_at, media=args.media, people=args.people)
        written = write_coding(coding, args.out, args.to)
        print(f"{path}: {len(coding.events):,} events -> {', '.join(map(str, written))}")
        well.append(print_remarks(coding))
    return 0 if all(well) else 1


def print_remarks(coding: Coding) -> bool:
    """What of its file was left out, and the events outside their video; whether there are none."""
    if coding.left_out:
        print(f"{coding.path}: left out, because not action units: {', '.join(coding.left_out)}")
    if outside := coding.outside():
        print("\n".join([f"{len(outside)} events lie outside their video; correct them:", *outside]))
    return not outside
