"""Every registered method through the whole command, on the moving discs and on rendered faces."""

from __future__ import annotations

import json
import shutil

import pandas as pd
import pytest
import torch
from safetensors.torch import load_file

from mien import cli
from mien.data.store import TrackStore
from mien.train.encoder_file import load_encoder
from mien.train.method import METHODS
from tests.tiny_recipe import write_recipe

FLOW = ["flow_side_px=32", "decoder_width=4", "window_steps=2", "patience_windows=1"]
SMALL = {
    "clp": ["bank_size=32", "num_candidates=16"],
    "cvc": ["bank_size=32", "cycle_bank_size=40"],
    "emoco": ["bank_size=32", "num_emotions=2"],
    "fabnet": FLOW,
    "moco": ["bank_size=32"],
    "supervised_action_units": ["action_units=[1, 12]"],
    "supervised_expression": ["num_expressions=2"],
    "tcae": FLOW,
}
RUN = ["data.clips_per_step=6", "run.steps=4", "run.checkpoint_every_steps=2", "run.keep_checkpoints=2"]


@pytest.fixture(scope="module")
def labels(disc_store, tmp_path_factory):
    """Discs of even videos smile."""
    sources = TrackStore.open(disc_store).tracks["source_path"].to_pylist()
    rows = [
        (source, frame, number % 2, frame % 2, number % 2, number % 2)
        for number, source in enumerate(sources)
        for frame in range(40)
    ]
    path = tmp_path_factory.mktemp("labels") / "labels.csv"
    columns = ["path", "frame", "AU12", "AU01", "expression", "emotion"]
    pd.DataFrame(rows, columns=columns).to_csv(path, index=False)
    return path


@pytest.fixture
def recipe(tmp_path, labels):
    def write(name, *, labels=labels):
        method = [f"method.{one}" for one in SMALL.get(name, [])]
        return write_recipe(tmp_path / f"{name}.toml", name, *method, *RUN, f"data.labels='{labels}'")

    return write


def pretrain(recipe, store, out, *more):
    return cli.main(
        ["pretrain", str(recipe), "--store", str(store), "--out", str(out), *(f"--set={one}" for one in more)]
    )


@pytest.mark.parametrize("name", METHODS.names())
def test_method_trains_and_a_resumed_run_ends_bit_equal(recipe, disc_store, tmp_path, name):
    out, resumed = tmp_path / "unbroken", tmp_path / "resumed"
    assert pretrain(recipe(name), disc_store, out) == 0
    assert load_encoder(out / "encoder.safetensors").feature_dim == 32
    shutil.copytree(out, resumed)
    (resumed / "checkpoints" / "step-000000004.safetensors").unlink()
    assert pretrain(recipe(name), disc_store, resumed) == 0
    states = [load_file(run / "checkpoints" / "step-000000004.safetensors") for run in (out, resumed)]
    assert states[0].keys() == states[1].keys()
    assert all(torch.equal(states[0][key], states[1][key]) for key in states[0] if "window/" not in key)


def test_a_method_that_needs_labels_says_so(recipe, disc_store, tmp_path, capsys):
    path = recipe("supervised_action_units", labels="")
    assert pretrain(path, disc_store, tmp_path / "out") == 1
    assert "set data.labels to a CSV or Parquet table with the columns path, frame, AU01" in (
        capsys.readouterr().err
    )


@pytest.fixture(scope="module")
def faces(face_videos, face_store, tmp_path_factory):
    """(store, labels) of rendered faces: 6 people, 2 videos each of 40 frames."""
    labels = pd.read_parquet(face_videos / "labels.parquet")
    person = labels["identity"].str.removeprefix("id").astype(int)
    labels["expression"] = labels["emotion"] = person % 2
    path = tmp_path_factory.mktemp("faces") / "labels.csv"
    labels.to_csv(path, index=False)
    return face_store, path


@pytest.mark.slow
@pytest.mark.parametrize("name", METHODS.names())
def test_loss_falls_on_rendered_faces(recipe, faces, tmp_path, name):
    store, labels = faces
    out = tmp_path / "out"
    longer = ["run.steps=60", "run.log_every_steps=15", "run.checkpoint_every_steps=0"]
    quicker = ["data.clips_per_step=12", "optimiser.rate_per_64_clips=0.01"]
    # a band that moves to harder pairs is meant to raise the loss
    still = ["method.window_steps=100"] if name in ("fabnet", "tcae") else []
    assert pretrain(recipe(name, labels=labels), store, out, *longer, *quicker, *still) == 0
    losses = [json.loads(line)["loss"] for line in (out / "log.jsonl").read_text().splitlines()]
    assert losses[-1] < losses[0]
