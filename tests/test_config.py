"""Settings: strict keys, checked types, overrides as in TOML."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import pytest

from mien.config import (
    SettingsError,
    build,
    differences,
    find_recipe,
    load_recipe,
    override,
    recipes_folder,
    require_same,
    to_dict,
    to_toml,
)


@dataclass(frozen=True)
class Inner:
    rate: float = 0.1


@dataclass(frozen=True)
class Outer:
    name: str = "x"
    steps: int = 3
    inner: Inner = field(default_factory=Inner)
    where: Path | None = None
    precision: Literal["32", "bf16"] = "32"

    def __post_init__(self) -> None:
        if self.steps < 0:
            raise ValueError("steps must not be negative")


def test_defaults_stand_where_nothing_is_given():
    assert build(Outer, {}, where="[outer]") == Outer()


def test_nested_sections_build_their_dataclass():
    assert build(Outer, {"inner": {"rate": 2}}, where="[outer]").inner == Inner(2.0)


def test_unknown_key_names_the_nearest_right_one():
    with pytest.raises(SettingsError, match=r"\[outer\]: unknown key 'stepz'; did you mean 'steps'\?"):
        build(Outer, {"stepz": 1}, where="[outer]")


def test_unknown_key_in_a_nested_section_names_the_section():
    with pytest.raises(SettingsError, match=r"\[outer\]\.inner: unknown key 'rat'"):
        build(Outer, {"inner": {"rat": 1}}, where="[outer]")


@pytest.mark.parametrize(
    ("key", "value"), [("steps", "many"), ("steps", 2.5), ("name", 0.5), ("precision", 16), ("inner", 4)]
)
def test_wrong_type_names_the_key_and_the_value(key, value):
    with pytest.raises(SettingsError, match=f"{key} = "):
        build(Outer, {key: value}, where="[outer]")


def test_a_value_the_dataclass_refuses_is_a_settings_error():
    with pytest.raises(SettingsError, match="must not be negative"):
        build(Outer, {"steps": -1}, where="[outer]")


def test_to_dict_and_build_are_inverse():
    settings = Outer("y", 7, Inner(0.5), Path("a/b"))
    assert build(Outer, to_dict(settings), where="x") == settings


def test_override_reads_toml_values_and_bare_words_and_leaves_the_original_alone():
    recipe = {"method": {"beta": 0.1}}
    changed = override(recipe, ["method.beta=0.2", "method.name=clp", "run.flags=[1, 2]", "data.path=a b"])
    assert changed == {
        "method": {"beta": 0.2, "name": "clp"},
        "run": {"flags": [1, 2]},
        "data": {"path": "a b"},
    }
    assert recipe == {"method": {"beta": 0.1}}


@pytest.mark.parametrize("assignment", ["precision=32", "name=2024", "name=2024-05-01", 'name="7"'])
def test_text_that_looks_like_a_number_or_a_date_is_still_text(assignment):
    key, text = assignment.replace('"', "").split("=")
    assert getattr(build(Outer, override({}, [assignment]), where="[outer]"), key) == text


@pytest.mark.parametrize("text", ["beta", "=3", "method.beta.deep=1"])
def test_a_malformed_override_is_an_error(text):
    with pytest.raises(SettingsError, match="override"):
        override({"method": {"beta": 0.1}}, [text])


def test_a_missing_recipe_and_a_broken_one_name_the_file(tmp_path):
    with pytest.raises(SettingsError, match=r"nothing\.toml"):
        load_recipe(tmp_path / "nothing.toml")
    broken = tmp_path / "broken.toml"
    broken.write_text("[method\n")
    with pytest.raises(SettingsError, match=r"broken\.toml is not valid TOML"):
        load_recipe(broken)


@pytest.mark.parametrize(("key", "value"), [("steps", True), ("steps", "7"), ("steps", 2.0), ("name", False)])
def test_a_value_of_a_near_type_is_not_bent_to_fit(key, value):
    with pytest.raises(SettingsError, match=f"{key} = "):
        build(Outer, {key: value}, where="[outer]")


def test_settings_that_differ_are_named_by_section_and_key():
    begun = {"head": {"epochs": 15, "left_out": {"AU9": "rare"}}, "mien_version": "1", "scores": {"f1": 0.5}}
    require_same(begun, {"head": {"epochs": 15, "left_out": {"AU9": "rare"}}, "mien_version": "2"}, where="M")
    with pytest.raises(
        SettingsError, match=r"M was begun with other settings:\n  head.epochs: 15 there, 3 now"
    ):
        require_same(begun, {"head": {"epochs": 3, "left_out": {"AU9": "rare"}}}, where="M")
    with pytest.raises(SettingsError, match=r"head.left_out.AU9: 'rare' there, no such setting now"):
        require_same(begun, {"head": {"epochs": 15, "left_out": {}}}, where="M")


def test_differences_are_named_with_both_values():
    left = {"a": {"x": 1, "y": 2}, "b": {"z": 0}}
    lines = differences(left, {"a": {"x": 1, "y": 3}}, ours="in A", theirs="in B")
    assert lines == "\n  a.y: 2 in A, 3 in B\n  b.z: 0 in A, no such setting in B"


SETTINGS = {
    "method": {"name": "clp", "beta": 0.1, "note": 'quotes " and é', "none": None},
    "run": {"steps": 3, "on": True, "rate": 1e-05, "list": [1.0, 2.5]},
}


def test_written_settings_are_read_back():
    expected = {**SETTINGS, "method": {k: v for k, v in SETTINGS["method"].items() if v is not None}}
    assert tomllib.loads(to_toml(SETTINGS)) == expected


def test_shipped_recipes_are_found_by_name():
    assert find_recipe("clp-paper", section="method") == recipes_folder() / "clp-paper.toml"
    assert find_recipe("clp-paper", section="method").is_file()


def test_a_misspelt_recipe_names_the_nearest():
    with pytest.raises(SettingsError, match=r"no recipe 'clp-papr'.*did you mean 'clp-paper'"):
        find_recipe("clp-papr", section="method")


def test_a_path_is_taken_as_it_is(tmp_path):
    assert find_recipe(str(tmp_path / "mine.toml"), section="method") == tmp_path / "mine.toml"
