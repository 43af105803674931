"""`mien card`: what a model is for, what it was fitted on, how it scores, where it ends."""

from __future__ import annotations

import argparse
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """[MODEL] [--html PAGE]."""
    parser.add_argument(
        "model",
        nargs="?",
        type=Path,
        metavar="MODEL",
        help="a file that `mien fit` wrote (default: the shipped model)",
    )
    parser.add_argument(
        "--html", type=Path, metavar="PAGE", help="also write the card as a self-contained page"
    )


def run(args: argparse.Namespace) -> int:
    """Print the card."""
    from mien.detect.au_model import load_au_model, shipped_model
    from mien.detect.card import card_of
    from mien.io import write_bytes
    from mien.visualise.page_parts import template

    card = card_of(load_au_model(args.model or shipped_model()))
    print(card)
    if args.html is not None:
        html = template("card.html").render(card=card)
        write_bytes(args.html, html.encode(), temporary_folder=args.html.parent)
        print(f"\nOpen {args.html} in a browser.")
    return 0
