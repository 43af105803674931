"""Recipes by name or path, and resolved settings as TOML, which is a recipe again."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import mien
from mien.config import SettingsError, load_recipe
from mien.registry import nearest


def recipes_folder() -> Path:
    """The folder of the shipped recipes: in the installed package, or beside src/ in a working copy."""
    package = Path(mien.__file__).parent
    installed = package / "recipes"
    return installed if installed.is_dir() else package.parents[1] / "recipes"


def find_recipe(name_or_path: str, *, section: str) -> Path:
    """The file of a shipped recipe (`clp-laptop`), or the path itself.

    Of the shipped recipes only those with `section` are found: "method" for pretraining, "runs" for a sweep,
    "parts" for rendering. SettingsError naming the nearest of them.
    """
    path = Path(name_or_path)
    if path.suffix == ".toml" or path.is_file():
        return path
    files = recipes_folder().rglob("*.toml")
    shipped = {file.stem: file for file in files if section in load_recipe(file)}
    if name_or_path not in shipped:
        raise SettingsError(f"no recipe {name_or_path!r} and no such file{nearest(name_or_path, shipped)}")
    return shipped[name_or_path]


def to_toml(settings: Mapping[str, Any]) -> str:
    """Sections of numbers, strings, booleans and lists as TOML; None is omitted."""
    sections = []  # JSON strings, numbers, booleans and flat lists are valid TOML
    for section, values in settings.items():
        lines = [
            f"{key} = {json.dumps(value, ensure_ascii=False)}"
            for key, value in values.items()
            if value is not None
        ]
        sections.append("\n".join([f"[{section}]", *lines]) + "\n")
    return "\n".join(sections)
