"""`mien agree`: two codings of the same videos -> how far they agree, and where they do not."""

from __future__ import annotations

import argparse
from pathlib import Path

from mien.commands.convert import print_remarks
from mien.commands.flags import add_coding, add_out

_SHOWN = ("unit", "people", "frames", "kappa", "f1", "icc", "event_f1", "onset_ms", "offset_ms")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """A B --out DIR."""
    for name in ("a", "b"):
        parser.add_argument(
            name,
            type=Path,
            metavar=name.upper(),
            help="a table of `mien detect`, of events or of labels, an .eaf, .boris or .TextGrid file, or "
            "events exported from BORIS",
        )
    add_out(parser, of="folder for agreement.csv, disagreements.csv and agreement.html")
    add_coding(parser)
    parser.add_argument(
        "--tolerance",
        type=float,
        default=0.5,
        metavar="SECONDS",
        help="largest distance of the onsets of matching events (default: %(default)s)",
    )


def run(args: argparse.Namespace) -> int:
    """Print the scores and write them; 0, or 1 where events lie outside their video."""
    from mien.findings.agreement import agree
    from mien.findings.exchange import read_coding
    from mien.io import write_csv
    from mien.visualise.findings_pages import write_agreement_page

    a = read_coding(args.a, occurs_at=args.occurs_at, media=args.media, people=args.people)
    b = read_coding(args.b, occurs_at=args.occurs_at, media=args.media)
    found = agree(a, b, tolerance_seconds=args.tolerance)
    for name, table in (("agreement", found.scores), ("disagreements", found.disagreements)):
        write_csv(args.out / f"{name}.csv", table, float_format="%.4f")
    write_agreement_page(found, args.out / "agreement.html", a=a, b=b)
    print(found.scores[list(_SHOWN)].round(3).to_string(index=False, na_rep="-"))
    print("".join(f"{note}\n" for note in found.notes), end="")
    well = [print_remarks(coding) for coding in (a, b)]
    print(f"{args.out / 'agreement.html'}: {len(found.disagreements):,} disagreements")
    return 0 if all(well) else 1
