"""The model card's page: one HTML file that needs no other."""

from __future__ import annotations

from pathlib import Path

import jinja2

from mien.detect.card import Card
from mien.io import write_bytes


def write_card_page(card: Card, path: Path) -> None:
    """The page at `path`, at once or not at all."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("mien.visualise"), autoescape=True, undefined=jinja2.StrictUndefined
    )
    html = environment.get_template("card.html").render(card=card)
    write_bytes(path, html.encode(), temporary_folder=path.parent)
