"""`mien convert`: codings from and to ELAN, BORIS and Praat, and labels for `mien fit`."""

from __future__ import annotations

import argparse
from pathlib import Path

from mien.commands.flags import add_coding, add_out


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
        help="labels: the table that `mien fit --dataset table` reads; it needs --media",
    )
    add_out(parser, of="where the files are written")
    add_coding(parser)


def run(args: argparse.Namespace) -> int:
    """Write every coding in the other format; 0, or 1 where events lie outside their video."""
    from mien.findings.exchange import (
        beyond,
        find_videos,
        known_limits,
        read_coding,
        read_people,
        write_coding,
    )

    outside: list[str] = []
    for path in args.codings:
        coding = read_coding(path, occurs_at=args.occurs_at)
        videos = find_videos(coding, args.media) if args.media else {}
        limits = known_limits(coding, videos)
        coding = coding.in_file_time(limits)
        people = read_people(args.people, coding) if args.people else {}
        subjects = {name: person for (name, _), person in people.items()}
        written = write_coding(coding, args.out, args.to, videos=videos, subjects=subjects)
        print(f"{path}: {len(coding.events):,} events -> {', '.join(map(str, written))}")
        if coding.left_out:
            print(f"{path}: left out, as no event of an action unit: {', '.join(coding.left_out)}")
        outside += [f"{path}: {line}" for line in beyond(coding, limits)]
    if outside:
        print("\n".join([f"{len(outside)} events lie outside their video; correct them:", *outside]))
    return 1 if outside else 0
