"""examples/show_warps.py on runs of two steps."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import cv2
import pytest
import torch

from mien import cli
from tests.tiny_recipe import write_recipe

EXAMPLE = Path(__file__).parents[3] / "examples" / "show_warps.py"


@pytest.fixture(scope="module")
def show_warps():
    spec = importlib.util.spec_from_file_location("show_warps", EXAMPLE)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(("name", "columns"), [("fabnet", 4), ("tcae", 7)])
def test_a_row_a_pair_with_every_warp_and_flow(show_warps, disc_store, tmp_path, name, columns):
    run, out = tmp_path / "run", tmp_path / "warps.png"
    changes = ("method.flow_side_px=32", "method.decoder_width=4", "run.steps=2")
    recipe = write_recipe(tmp_path / "recipe.toml", name, *changes)
    assert cli.main(["pretrain", str(recipe), "--store", str(disc_store), "--out", str(run)]) == 0
    show_warps.main(run, disc_store, out)
    assert cv2.imread(str(out)).shape == (32 * show_warps.NUM_PAIRS, 32 * columns, 3)


def test_no_motion_is_white_and_directions_have_hues_of_their_own(show_warps):
    flow = torch.zeros(1, 2, 8, 8)
    assert (show_warps.flow_colours(flow) == 255).all()
    flow[:, 0, :, :4], flow[:, 0, :, 4:] = 2.0, -2.0
    colours = show_warps.flow_colours(flow)[0]
    assert colours[0, 0].tolist() != colours[0, 7].tolist()
