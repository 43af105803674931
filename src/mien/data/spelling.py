"""Find files whose names differ in Unicode normal form, or use backslashes for slashes."""

from __future__ import annotations

import difflib
import os
import unicodedata
from pathlib import Path


def spelt_as_on_disk(path: Path) -> Path:
    """The path if it exists, otherwise the one file or folder whose path differs only in its spelling.

    Some systems write an accented letter as one code point, others as two; Windows uses backslashes. Returns
    `path` itself if there is no such file, or more than one.
    """
    if path_exists(path):
        return path
    for spelling in (path, Path(str(path).replace("\\", "/"))):
        if path_exists(spelling):
            return spelling
        found = [Path(spelling.anchor)]
        for part in spelling.parts[bool(spelling.anchor) :]:
            found = [entry for folder in found for entry in _entries_like(folder, part)]
        if len(found) == 1:
            return found[0]
    return path


def missing(path: Path) -> str:
    """The message `PATH does not exist`, with the most similar names in its folder, in ASCII."""
    slashed = Path(str(path).replace("\\", "/"))
    try:
        names = sorted(entry.name for entry in slashed.parent.iterdir())
    except OSError:
        return f"{path} does not exist, nor does its folder"
    # As ASCII, so that different letters that look the same are visible.
    close = difflib.get_close_matches(ascii(slashed.name), map(ascii, names), n=3)
    if not close:
        return f"{path} does not exist"
    return f"{path} does not exist; {slashed.name!a} is asked for, there is {', '.join(close)}"


def normal_form(text: str) -> str:
    """The text in Unicode's composed form, in which equal names are equal."""
    return unicodedata.normalize("NFC", text)


def _entries_like(folder: Path, name: str) -> list[Path]:
    if name == ".." or path_exists(folder / name):
        return [folder / name]
    try:
        return [entry for entry in folder.iterdir() if normal_form(entry.name) == normal_form(name)]
    except OSError:
        return []


def path_exists(path: Path) -> bool:
    """Like Path.exists, but False for a name that is too long."""
    return os.path.exists(path)  # noqa: PTH110
