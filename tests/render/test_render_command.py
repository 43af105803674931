from __future__ import annotations

import argparse
from pathlib import Path

import pytest

from mien.commands import render

RECIPE = """
[set]
name = "two"
[video]
size_px = 48
seconds = 0.2
atlas_px = 128
[parts.main]
identities = 2
clips = 1
"""


def _args(tmp_path: Path, model: Path, *more: str) -> argparse.Namespace:
    recipe = tmp_path / "recipe.toml"
    recipe.write_text(RECIPE)
    parser = argparse.ArgumentParser()
    render.add_arguments(parser)
    place = ["--face-model", str(model), "--out", str(tmp_path / "out")]
    return parser.parse_args([str(recipe), *place, "--workers", "1", *more])


def test_the_verb_draws_the_recipe(tmp_path: Path, tiny_model_path: Path):
    assert render.run(_args(tmp_path, tiny_model_path)) == 0
    assert len(list((tmp_path / "out").glob("main/mp4/*/*/*.mp4"))) == 2


def test_an_override_changes_the_set(tmp_path: Path, tiny_model_path: Path):
    assert render.run(_args(tmp_path, tiny_model_path, "--set", "parts.main.identities=1")) == 0
    assert len(list((tmp_path / "out").glob("main/mp4/*/*/*.mp4"))) == 1


def test_no_workers_are_refused(tmp_path: Path, tiny_model_path: Path):
    with pytest.raises(ValueError, match="--workers"):
        render.run(_args(tmp_path, tiny_model_path, "--workers", "0"))


@pytest.mark.parametrize(
    "recipe", ["render-mien-bench-v1.toml", "render-mien-bench-small.toml", "render-shipped-clips.toml"]
)
def test_our_recipes_are_right(recipe: str):
    from mien.config import load_recipe
    from mien_render.benchmark_set import SetSettings

    path = Path(__file__).parents[2] / "recipes" / recipe
    settings = SetSettings.from_recipe(load_recipe(path), where=recipe)
    assert {"main", "shifted"} <= set(settings.parts)
