"""`mien pretrain`: a store of face tracks and a recipe -> a run folder with an encoder."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from typing import Any

from mien.data.remote import path_or_url


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """RECIPE --store STORE --out RUN [section.key=value ...] [--resume auto]."""
    parser.add_argument(
        "words",
        nargs="*",
        metavar="RECIPE [section.key=value ...]",
        help="a shipped recipe's name or a TOML file; then settings to change, anywhere on the line",
    )
    parser.add_argument("--recipe", help="the recipe, if it is not the first word")
    parser.add_argument(
        "--store", type=path_or_url, required=True, help="what `mien prepare` wrote; also a URL"
    )
    parser.add_argument(
        "--store-cache", type=Path, metavar="DIR", help="where a store behind a URL is copied to, once"
    )
    parser.add_argument("--out", type=Path, required=True, help="the run's folder")
    parser.add_argument(
        "--resume",
        nargs="?",
        const="auto",
        choices=["auto"],
        help="go on from the newest checkpoint in --out; begin if there is none",
    )
    _take_words_anywhere(parser)


def run(args: argparse.Namespace) -> int:
    """Train; 0 when the run is complete or out of its minutes, 128 + n when signal n ended it early."""
    from mien.commands.pretraining import pretrain
    from mien.config import load_recipe, override
    from mien.data.store import local_store
    from mien.train.ranks import LostRankError
    from mien.train.recipe import find_recipe

    recipe_name, assignments = _split_words(args.words, args.recipe)
    path = find_recipe(recipe_name)
    recipe = override(load_recipe(path), assignments)
    store = local_store(args.store, cache=args.store_cache)
    try:
        result = pretrain(recipe, where=str(path), store=store, out=args.out, resume=bool(args.resume))
    except LostRankError as error:
        # At once: a process group with a member gone may never come to its orderly end.
        print(f"mien pretrain: {error}", file=sys.stderr, flush=True)
        os._exit(1)
    return result.exit_status


def _split_words(words: list[str], recipe: str | None) -> tuple[str, list[str]]:
    from mien.config import SettingsError

    assignments = [word for word in words if "=" in word]
    names = [word for word in words if "=" not in word] + ([recipe] if recipe else [])
    if len(names) != 1:
        given = ", ".join(names) if names else "none"
        raise SettingsError(f"name one recipe, a shipped one's name or a TOML file; given: {given}")
    return names[0], assignments


def _take_words_anywhere(parser: argparse.ArgumentParser) -> None:
    """Let the words stand before, between and after the options, which argparse does only when asked."""
    parse_in_order: Any = parser.parse_known_args

    def parse(args: Any = None, namespace: Any = None) -> Any:
        parser.parse_known_args = parse_in_order  # type: ignore[method-assign]
        try:
            return parser.parse_known_intermixed_args(args, namespace)
        finally:
            parser.parse_known_args = parse  # type: ignore[method-assign]

    parser.parse_known_args = parse  # type: ignore[method-assign]
