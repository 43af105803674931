from __future__ import annotations

import tomllib

import pytest

from mien.config import SettingsError
from mien.train.recipe import find_recipe, recipes_folder, to_toml

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
