"""Command-line flags that several verbs share: one word for one thing."""

from __future__ import annotations

import argparse
from pathlib import Path

from mien.data.jobs import usable_cores


def add_workers(parser: argparse._ActionsContainer, *, of: str = "") -> None:
    """`--workers N`, by default one per usable CPU core. `of` says what they do."""
    parser.add_argument(
        "--workers",
        type=int,
        default=usable_cores(),
        metavar="N",
        help=f"worker processes{of and f' that {of}'} (default: %(default)s, the CPU cores)",
    )


def add_device(parser: argparse._ActionsContainer, *, more: str = "") -> None:
    """`--device`, by default a GPU where there is one."""
    parser.add_argument("--device", default="auto", help=f"auto, cpu or cuda{more} (default: %(default)s)")


def add_model(parser: argparse._ActionsContainer) -> None:
    """`--model M --engine E`, by default the shipped model and the fastest engine that is ready for it."""
    parser.add_argument(
        "--model", type=Path, help="an action-unit model, from `mien fit` (default: the shipped one)"
    )
    parser.add_argument(
        "--engine",
        default="auto",
        help="torch, or onnx or onnx-int8 after `mien export`; auto: onnx if its file exists, else torch "
        "(default: %(default)s)",
    )


def add_finder(parser: argparse._ActionsContainer) -> None:
    """`--finder DIR`: the face finder's weights."""
    parser.add_argument(
        "--finder",
        type=Path,
        metavar="DIR",
        help="folder of the face finder's weights (default: those of `mien download faces`)",
    )


def add_out(parser: argparse._ActionsContainer, *, of: str) -> None:
    """`--out DIR`, required. `of` says what is written there."""
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help=of)


def add_tables(parser: argparse._ActionsContainer) -> None:
    """`TABLES`, for `mien.findings.study.tables_in`."""
    parser.add_argument(
        "tables", nargs="+", type=Path, metavar="TABLES", help="tables of `mien detect`, or folders of them"
    )


def add_people(parser: argparse._ActionsContainer, *, default: str) -> None:
    """`--people CSV`."""
    parser.add_argument(
        "--people",
        type=Path,
        metavar="CSV",
        help=f"a CSV with the columns file, face, person, from `mien people` (default: {default})",
    )


def add_coding(parser: argparse._ActionsContainer) -> None:
    """`--media`, `--occurs-at` and `--people`, for `mien.findings.exchange`."""
    parser.add_argument(
        "--media", type=Path, metavar="DIR|FILE", help="the videos, for their frame times and lengths"
    )
    parser.add_argument(
        "--occurs-at",
        type=float,
        metavar="N",
        help="intensity from which a unit is present, in tables of labels",
    )
    add_people(parser, default="the labels' subjects, else one person per face and file")


def add_set(parser: argparse._ActionsContainer, *, of: str, example: str) -> None:
    """`--set key=value ...`, repeatable, as `args.assignments`; for `mien.config.override`."""
    parser.add_argument(
        "--set",
        nargs="+",
        action="extend",
        default=[],
        dest="assignments",
        metavar="key=value",
        help=f"settings of {of}, such as {example}",
    )


def add_recipe(parser: argparse.ArgumentParser, *, kind: str) -> None:
    """`RECIPE`."""
    parser.add_argument("recipe", metavar="RECIPE", help=f"name of a shipped {kind}, or a TOML file")


def add_store_cache(parser: argparse._ActionsContainer) -> None:
    """`--store-cache DIR`, beside a `--store` that may be a URL."""
    parser.add_argument(
        "--store-cache", type=Path, metavar="DIR", help="folder for a copy of a store given as a URL"
    )


def add_identities(parser: argparse._ActionsContainer) -> None:
    """`--identities CSV|PATTERN`; for `mien.data.sources.list_sources`."""
    parser.add_argument(
        "--identities",
        default="",
        metavar="CSV|PATTERN",
        help="who each file shows: a CSV with the columns path,identity, or a regular expression whose group "
        "in the path is the identity, such as '(P\\d+)_' (default: sub-folders, else one per file)",
    )
