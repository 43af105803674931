"""What our pages are put together from: templates, our own script and style, and their hashes."""

from __future__ import annotations

import base64
import hashlib
from importlib.resources import files

import jinja2


def template(name: str) -> jinja2.Template:
    """A template in which all text is escaped, and a missing value is an error."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("mien.visualise"), autoescape=True, undefined=jinja2.StrictUndefined
    )
    return environment.get_template(name)


def part(name: str) -> str:
    """A file of ours that goes into a page as it stands."""
    return (files("mien.visualise") / "templates" / name).read_text(encoding="utf-8")


def hash_of(content: str) -> str:
    """The content's name in a content security policy."""
    return "sha256-" + base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()


def printable(text: str) -> str:
    """The text with what is no Unicode (a file name of other bytes) replaced, so that it can be written."""
    return text.encode("utf-8", "replace").decode()
