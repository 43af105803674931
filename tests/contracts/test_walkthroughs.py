"""The code in docs/extending.md, dropped in as one file, is found and keeps the contract."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch

from mien import cli
from mien.backbones import BACKBONES, build_backbone
from mien.train.encoder_file import load_encoder
from mien.train.method import METHODS

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "extending.md"
IN_SECONDS = [
    *("backbone.width=4", "views.output_size_px=32", "data.frame_size_px=36", "data.clips_per_step=4"),
    *("data.workers=0", "run.steps=2", "run.threads=1", "run.accelerator=cpu", "run.tensorboard=false"),
]


def section(kind):
    """The part of the page below `## Add a KIND`."""
    return re.split(r"^## ", PAGE.read_text().split(f"\n## Add a {kind}\n")[1], flags=re.MULTILINE)[0]


def code_of(kind):
    """(file name, code) of a walk-through: the name is the last one before its first block of Python."""
    before, code = re.split(r"```python\n", section(kind), maxsplit=1)
    (file,) = re.findall(r"src/mien/\w+/(\w+\.py)`", before)[-1:]
    return file, code.split("```")[0]


def test_a_method_dropped_in_is_found_and_keeps_the_contract(drop_in, keeps_contract, method_clause):
    assert "barlow_twins" not in METHODS.names()
    drop_in("methods", *code_of("method"))
    assert "barlow_twins" in METHODS.names()
    keeps_contract("method", "barlow_twins", method_clause)


def test_the_method_of_the_walkthrough_learns(drop_in):
    drop_in("methods", *code_of("method"))
    cls = METHODS.get("barlow_twins")
    torch.manual_seed(0)
    method = cls(build_backbone("resnet18", width=4), cls.Settings(embedding_dim=8)).train()
    rows = torch.randn(32, 32, generator=torch.Generator().manual_seed(0))
    views = torch.cat([rows + 0.1 * torch.randn(32, 32) for _ in range(2)])
    optimiser = torch.optim.Adam(method.head.parameters(), lr=0.01)
    losses = []
    for _ in range(40):
        optimiser.zero_grad()
        losses.append(method._loss(views).loss)
        losses[-1].backward()
        optimiser.step()
    assert losses[-1] < 0.5 * losses[0]


def test_the_recipe_of_the_walkthrough_pretrains(drop_in, disc_store, tmp_path):
    drop_in("methods", *code_of("method"))
    recipe = tmp_path / "my-run.toml"
    recipe.write_text(section("method").split("```toml\n")[1].split("```")[0])
    command = ["pretrain", str(recipe), "--store", str(disc_store), "--out", str(tmp_path / "run")]
    assert cli.main([*command, "--set", *IN_SECONDS]) == 0
    assert load_encoder(tmp_path / "run" / "encoder.safetensors").feature_dim == 32


def test_a_backbone_dropped_in_is_found_and_keeps_the_contract(drop_in, keeps_contract, backbone_clause):
    assert "convnet5" not in BACKBONES.names()
    drop_in("backbones", *code_of("backbone"))
    assert "convnet5" in BACKBONES.names()
    keeps_contract("backbone", "convnet5", backbone_clause)


def test_a_dropped_in_backbone_carries_a_dropped_in_method(drop_in):
    drop_in("methods", *code_of("method"))
    drop_in("backbones", *code_of("backbone"))
    cls = METHODS.get("barlow_twins")
    method = cls(build_backbone("convnet5", width=4), cls.Settings())
    assert method.head[0].in_features == method.backbone.feature_dim == 64


def test_the_command_of_the_backbones_walkthrough_pretrains(drop_in, disc_store, tmp_path):
    drop_in("backbones", *code_of("backbone"))
    command = ["pretrain", "clp-laptop", "--store", str(disc_store), "--out", str(tmp_path / "run")]
    assert cli.main([*command, "--set", "backbone.name=convnet5", *IN_SECONDS]) == 0
    assert load_encoder(tmp_path / "run" / "encoder.safetensors").feature_dim == 64


@pytest.mark.parametrize("kind", ["method", "backbone", "data set"])
def test_the_file_of_a_walkthrough_does_not_exist_already(kind):
    file, _ = code_of(kind)
    assert not list((ROOT / "src" / "mien").rglob(file))
