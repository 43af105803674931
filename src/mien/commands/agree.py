"""`mien agree`: two codings of the same videos -> how far they agree, and where they do not."""

from __future__ import annotations

import argparse
from pathlib import Path

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
    add_out(parser, of="for agreement.csv, disagreements.csv and agreement.html")
    add_coding(parser)
    parser.add_argument(
        "--tolerance",
        type=float,
        default=0.5,
        metavar="SECONDS",
        help="two events are one if their onsets are at most this far apart (default: %(default)s)",
    )


def run(args: argparse.Namespace) -> int:
    """Print the scores and write them; 0, or 1 where events lie outside their video."""
    from mien.findings.agreement import agree
    from mien.findings.exchange import beyond, find_videos, known_limits, read_coding, read_people
    from mien.io import write_csv
    from mien.visualise.agreement_page import write_agreement_page

    a, b = (read_coding(path, occurs_at=args.occurs_at) for path in (args.a, args.b))
    videos = find_videos(a, args.media) if args.media else {}
    found = agree(
        a,
        b,
        tolerance_seconds=args.tolerance,
        timelines={name: video.timeline for name, video in videos.items()},
        people=read_people(args.people, a) if args.people else None,
    )
    for name, table in (("agreement", found.scores), ("disagreements", found.disagreements)):
        write_csv(args.out / f"{name}.csv", table, float_format="%.4f")
    write_agreement_page(found, args.out / "agreement.html", names=(str(args.a), str(args.b)), videos=videos)
    shown = found.scores[list(_SHOWN)].round(3)
    print(shown.to_string(index=False, na_rep="-"))
    notes, outside = list(found.notes), []
    for coding in (a, b):
        limits = known_limits(coding, videos)
        outside += [f"{coding.path}: {line}" for line in beyond(coding.in_file_time(limits), limits)]
        notes += [
            f"{coding.path}: left out, as no event of an action unit: {what}" for what in coding.left_out
        ]
    notes.append(f"{args.out / 'agreement.html'}: {len(found.disagreements):,} disagreements")
    if outside:
        notes += [f"{len(outside)} events lie outside their video; correct them:", *outside]
    print("\n".join(notes))
    return 1 if outside else 0
