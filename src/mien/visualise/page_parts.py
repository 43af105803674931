"""Parts shared by pages and drawn copies: templates, embedded files, links, pictures, names of units."""

from __future__ import annotations

import base64
import hashlib
import os
from importlib.resources import files
from pathlib import Path
from urllib.parse import quote

import cv2
import jinja2
import numpy as np
from numpy.typing import NDArray

from mien.facs import ACTION_UNITS

Picture = NDArray[np.uint8]
"""(H, W, 3) RGB."""


def template(name: str) -> jinja2.Template:
    """A template that escapes all text; a missing value is an error.

    In it `part(FILE)` embeds a script or style unchanged, and `hash_of(FILE)` is its name in a content
    security policy.
    """
    return _ENVIRONMENT.get_template(name)


def unit_name(column: str) -> str:
    """The action unit's name in FACS: "lip corner puller" for AU12; "" for an unknown one."""
    unit = ACTION_UNITS.get(int(column.removeprefix("AU")))
    return unit.name if unit else ""


def printable(text: str) -> str:
    """The text, with bytes of a file name that are not Unicode replaced so that it can be encoded."""
    return text.encode("utf-8", "replace").decode()


def link_to(target: Path, page: Path) -> str:
    """A percent-encoded URL relative to the page; absolute if the file is on another drive."""
    try:
        parts = Path(os.path.relpath(target.resolve(), page.resolve().parent)).parts
    except ValueError:
        return target.resolve().as_uri()
    return "/".join(quote(os.fsencode(part), safe="") for part in parts)


def png(picture_HWC: Picture) -> bytes:
    """The picture as a PNG file's content."""
    return _encoded(picture_HWC, ".png", [])


def jpeg(picture_HWC: Picture, *, quality: int = 85) -> bytes:
    """The picture as a JPEG file's content."""
    return _encoded(picture_HWC, ".jpg", [cv2.IMWRITE_JPEG_QUALITY, quality])


def picture_url(picture_HWC: Picture, *, quality: int = 85) -> str:
    """The picture as a JPEG in a data URL."""
    return "data:image/jpeg;base64," + base64.b64encode(jpeg(picture_HWC, quality=quality)).decode()


def _encoded(picture_HWC: Picture, suffix: str, options: list[int]) -> bytes:
    _, content = cv2.imencode(suffix, cv2.cvtColor(picture_HWC, cv2.COLOR_RGB2BGR), options)
    return content.tobytes()


def _part(name: str) -> str:
    return (files("mien.visualise") / "templates" / name).read_text(encoding="utf-8")


def _hash_of(name: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(_part(name).encode()).digest()).decode()


_ENVIRONMENT = jinja2.Environment(
    loader=jinja2.PackageLoader("mien.visualise"), autoescape=True, undefined=jinja2.StrictUndefined
)
_ENVIRONMENT.globals |= {"part": _part, "hash_of": _hash_of, "unit_name": unit_name}
