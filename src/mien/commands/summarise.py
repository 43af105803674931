"""`mien summarise`: tables of a study and its conditions -> a summary per person, and group curves."""

from __future__ import annotations

import argparse
from pathlib import Path

from mien.commands.flags import add_out, add_people, add_set, add_tables


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """TABLES... --conditions CSV --out DIR, who is who, and how events are found."""
    add_tables(parser)
    parser.add_argument(
        "--conditions",
        type=Path,
        required=True,
        metavar="CSV",
        help="a CSV with the columns file, condition, and optionally face or person, stimulus, start, end "
        "(seconds). Without an end, a row lasts until the file's next start. The condition `baseline` is "
        "each person's own baseline",
    )
    add_people(parser, default="one person per face and file")
    add_out(parser, of="folder for summary.csv, curves.csv, curves.svg and quality.csv")
    parser.add_argument(
        "--events",
        default="",
        metavar="COMBINATIONS",
        help='combinations to summarise beside single units, such as "6+12,1+2+4"',
    )
    add_set(
        parser,
        of="the summary",
        example="events.shortest_seconds=0.2 quality.max_yaw_degrees=30 baseline=rest",
    )


def run(args: argparse.Namespace) -> int:
    """Summarise everything; 0, or 1 where conditions or people do not fit the tables."""
    from mien.config import build, override
    from mien.findings.events import combinations_of
    from mien.findings.study import tables_in
    from mien.findings.summary import SummarySettings, summarise
    from mien.visualise.findings_pages import write_curves

    tables = tables_in(args.tables)
    settings = build(SummarySettings, override({}, args.assignments), where="--set")
    summary = summarise(
        tables,
        args.conditions,
        people=args.people,
        combinations=combinations_of(args.events),
        settings=settings,
    )
    summary.save(args.out)
    write_curves(summary.curves, args.out / "curves.svg")
    people, conditions = (summary.people[name].nunique() for name in ("person", "condition"))
    print(f"{args.out}: {len(tables):,} tables, {people:,} people, {conditions:,} conditions")
    if summary.units_left_out:
        print(
            f"left out, because the model was not shown to detect them: {', '.join(summary.units_left_out)}"
        )
    return 0
