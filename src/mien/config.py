"""Settings from a recipe file and overrides on the command line: typed and strict.

A recipe is TOML. Each section builds one frozen dataclass that lives in the class it configures:

    [method]
    name = "clp"
    beta = 0.1          # -> Clp.Settings(beta=0.1)

Types are checked by pydantic; an unknown key is an error that names the nearest valid one.
"""

from __future__ import annotations

import copy
import dataclasses
import enum
import json
import tomllib
import typing
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

import pydantic

from mien.registry import nearest

T = TypeVar("T")
Settings = dict[str, Any]


class SettingsError(ValueError):
    """A recipe or an override that cannot be used; the message names the key and what was expected."""


def load_recipe(path: Path) -> Settings:
    """The nested dictionary of a TOML recipe; SettingsError if the file is missing or is not TOML."""
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise SettingsError(f"recipe {path}: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SettingsError(f"recipe {path} is not valid TOML: {error}") from error


def recipes_folder() -> Path:
    """The folder of the shipped recipes: in the installed package, or beside src/ in a working copy."""
    package = Path(__file__).parent
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
    """Sections of numbers, strings, booleans and lists as TOML, a recipe again; None is omitted."""
    sections = []  # JSON strings, numbers, booleans and flat lists are valid TOML
    for section, values in settings.items():
        pairs = (
            (key, json.dumps(value, ensure_ascii=False)) for key, value in values.items() if value is not None
        )
        sections.append("\n".join([f"[{section}]", *(f"{key} = {text}" for key, text in pairs)]) + "\n")
    return "\n".join(sections)


def override(settings: Settings, assignments: Iterable[str]) -> Settings:
    """A copy of `settings` with `section.key=value` assignments applied; values are written as in TOML.

    A value that is not TOML is taken as a string, so `method.name=clp` needs no quotes.
    """
    changed = copy.deepcopy(settings)
    for assignment in assignments:
        dotted, separator, text = assignment.partition("=")
        if not separator or not dotted.strip():
            raise SettingsError(f"override {assignment!r}: expected section.key=value")
        *sections, key = dotted.strip().split(".")
        target = changed
        for section in sections:
            target = target.setdefault(section, {})
            if not isinstance(target, dict):
                raise SettingsError(f"override {assignment!r}: {section!r} is a value, not a section")
        target[key] = _parse_value(text)
    return changed


def build(cls: type[T], values: Mapping[str, Any], *, where: str) -> T:
    """An instance of the dataclass `cls` from `values`, types checked, nested dataclasses included.

    `where` names the section (and the file) in errors. SettingsError for an unknown key (with the
    nearest valid one), a wrong type, and a value that the dataclass refuses.
    """
    values = _with_known_keys(cls, values, where=where)
    try:
        # Through JSON: strict mode then accepts a list as a tuple and an integer as a float, but neither "7"
        # as 7, true as 1, nor 1.0 as 1.
        text = json.dumps(values, default=_plain)
        return pydantic.TypeAdapter(cls).validate_json(text, strict=True)
    except pydantic.ValidationError as error:
        raise SettingsError(f"{where}: {_first_problem(error)}") from error


def to_dict(settings: Any) -> Settings:
    """The plain dictionary (JSON types only) that `build` turns back into `settings`."""
    plain: Settings = json.loads(json.dumps(dataclasses.asdict(settings), default=_plain))
    return plain


def _parse_value(text: str) -> Any:
    try:
        value = tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text.strip()
    return (
        value if isinstance(value, str | bool | int | float | list | dict) else text.strip()
    )  # a date: text


def _with_known_keys(cls: type, values: Mapping[str, Any], *, where: str) -> Settings:
    """The values; an integer as text for a setting that is a string, as `precision = 32`."""
    types = typing.get_type_hints(cls)
    known = [field.name for field in dataclasses.fields(cls) if field.init]
    checked = dict(values)
    for key, value in values.items():
        if key not in known:
            raise SettingsError(f"{where}: unknown key {key!r}{nearest(key, known)}")
        inner = types[key]
        if dataclasses.is_dataclass(inner) and isinstance(inner, type) and isinstance(value, Mapping):
            checked[key] = _with_known_keys(inner, value, where=f"{where}.{key}")
        elif type(value) is int and (inner is str or str(value) in typing.get_args(inner)):
            checked[key] = str(value)
    return checked


def _first_problem(error: pydantic.ValidationError) -> str:
    problem = error.errors()[0]
    key = ".".join(str(part) for part in problem["loc"]) or "the section"
    found = "" if problem["type"] == "missing" else f" = {problem['input']!r}"
    return f"{key}{found}: {problem['msg']}"


def _plain(value: Any) -> Any:
    if isinstance(value, Path):
        return str(value)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return dataclasses.asdict(value)
    if isinstance(value, enum.Enum):
        return value.value
    raise SettingsError(f"{value!r} cannot be a setting: expected a number, text, true, false or a list")


def require_same(begun: Mapping[str, Any], now: Mapping[str, Any], *, where: Path | str) -> None:
    """SettingsError that names the settings in `now` that differ from those in `begun`.

    Top-level keys that are only in `begun`, and versions, may differ.
    """
    before, after = (
        json.loads(json.dumps({key: settings.get(key) for key in now})) for settings in (begun, now)
    )
    if lines := differences(before, after, ours="there", theirs="now"):
        raise SettingsError(
            f"{where} was begun with other settings:{lines}\nGive the same ones, or another --out."
        )


def differences(left: Settings, right: Settings, *, ours: str, theirs: str) -> str:
    """A line for every `section.key` that differs: `key: 1 OURS, 2 THEIRS`; "" if none does.

    A missing key counts as None, and is called `no such setting`: settings come and go with versions, which
    (`..._version`) may differ themselves.
    """
    one, other = dict(_flat(left)), dict(_flat(right))
    return "".join(
        f"\n  {key}: {_shown(one, key)} {ours}, {_shown(other, key)} {theirs}"
        for key in sorted({*one, *other})
        if one.get(key) != other.get(key) and not key.endswith("_version")
    )


def _shown(flat: Settings, key: str) -> str:
    return repr(flat[key]) if key in flat else "no such setting"


def _flat(plain: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in plain.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value
