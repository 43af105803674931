"""`mien people`: tables of a study -> a page of all faces, and a CSV to name and merge them in."""

from __future__ import annotations

import argparse

from mien.commands.flags import add_out, add_tables


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """TABLES... --out DIR."""
    add_tables(parser)
    add_out(parser, of="folder for people.html and people.csv, whose existing names are kept")


def run(args: argparse.Namespace) -> int:
    """Write the CSV, and the page with the pictures that can be had; 0."""
    from mien.detect.table import Detections
    from mien.findings.study import faces_of_study, people_csv, tables_in
    from mien.visualise.findings_pages import write_people_page

    tables = tables_in(args.tables)
    study = faces_of_study(Detections.load(path) for path in tables)
    people = people_csv(study, args.out / "people.csv")
    without = write_people_page(tables, people, args.out / "people.html")
    print(f"{args.out}: {len(people):,} faces in {study['file'].nunique():,} files")
    print(f"Look at people.html, then give the same person the same name in {args.out / 'people.csv'}.")
    for name, why in without[:5]:
        print(f"no pictures of {name}: {why}")
    return 0
