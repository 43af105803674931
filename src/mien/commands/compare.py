"""`mien compare`: predictions of several systems -> all scores anew, with paired tests between them."""

from __future__ import annotations

import argparse
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """PREDICTIONS... [--out DIR]."""
    parser.add_argument(
        "predictions",
        nargs="+",
        type=Path,
        metavar="PREDICTIONS",
        help="Parquet files of `mien evaluate`, or folders of them; the first is compared with all others",
    )
    parser.add_argument("--out", type=Path, metavar="DIR", help="also write a report there")


def run(args: argparse.Namespace) -> int:
    """Print every score; the tests are between systems tested on the same frames, folds and labels."""
    from mien.evaluate.predictions import compare, in_order, read_predictions, require_comparable
    from mien.evaluate.tables import as_markdown
    from mien.visualise.evaluation_report import Report

    paths = _files(args.predictions)
    results = [read_predictions(path) for path in paths]
    for path, predictions in zip(paths[1:], results[1:], strict=True):
        require_comparable(results[0], predictions, names=(str(paths[0]), str(path)))
    comparisons = [compare(other, results[0]) for other in results[1:]]
    report = Report(in_order(results), given_comparisons=comparisons)
    if args.out:
        report.write(args.out)
    tables = [as_markdown(table) for table in report.tables]
    print("\n".join([*tables, report.best, *report.lines]))
    return 0


def _files(given: list[Path]) -> list[Path]:
    """Files as they are, the .parquet files of folders by name; ValueError when there is none."""
    found: list[Path] = []
    for path in given:
        found += sorted(path.glob("*.parquet")) if path.is_dir() else [path]
    if not found:
        raise ValueError(
            f"{', '.join(map(str, given))}: no .parquet file there; expected predictions of `mien evaluate`"
        )
    return found
