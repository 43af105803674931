"""Parts shared by all pages: templates, embedded files and their hashes, links, pictures."""

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

Picture = NDArray[np.uint8]
"""(H, W, 3) RGB."""

_ENVIRONMENT = jinja2.Environment(
    loader=jinja2.PackageLoader("mien.visualise"), autoescape=True, undefined=jinja2.StrictUndefined
)


def template(name: str) -> jinja2.Template:
    """A template that escapes all text; a missing value is an error."""
    return _ENVIRONMENT.get_template(name)


def part(name: str) -> str:
    """A script or style that is embedded unchanged."""
    return (files("mien.visualise") / "templates" / name).read_text(encoding="utf-8")


def hash_of(content: str) -> str:
    """The content's name in a content security policy."""
    return "sha256-" + base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()


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
