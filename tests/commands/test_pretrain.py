from __future__ import annotations

import functools
import json
import os
import pickle
import resource
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import torch
from safetensors.torch import load_file
from tqdm import tqdm

from mien import cli
from mien.train.encoder_file import load_encoder
from tests.tiny_recipe import write_recipe


@pytest.fixture
def tiny(tmp_path):
    method = ("method.bank_size=64", "method.num_candidates=32", "method.batch_norm_output=true")
    run = ("optimiser.rate_per_64_clips=0.016", "run.steps=8", "run.log_every_steps=2")
    return write_recipe(tmp_path / "tiny.toml", "clp", *method, *run)


def pretrain(recipe, store, out, *more):
    return cli.main(words(recipe, store, out, *more))


def words(recipe, store, out, *more):
    settings = [f"--set={one}" for one in more]
    return ["pretrain", str(recipe), "--store", str(store), "--out", str(out), *settings]


def logged(out):
    return [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]


def learnt(out):
    """The log without what depends on the clock."""
    clock = ("seconds_waiting_for_data", "seconds_per_step", "clips_per_second", "warnings")
    return [{key: value for key, value in line.items() if key not in clock} for line in logged(out)]


def newest(out):
    return load_file(sorted((out / "checkpoints").glob("step-*"))[-1])


def assert_same_run(out, other):
    left, right = newest(out), newest(other)
    assert set(left) == set(right)
    for name in left:
        assert torch.equal(left[name], right[name]), name
    assert learnt(out) == learnt(other)


def test_a_run_leaves_settings_log_checkpoints_and_an_encoder(tiny, disc_store, tmp_path, capsys):
    out = tmp_path / "run"
    assert pretrain(tiny, disc_store, out, "method.beta=0.2") == 0
    said = capsys.readouterr().err
    assert "12 videos of 6 people with 288 legal clips (0 videos without one left out)" in said
    assert "all 8 steps taken" in said
    assert "beta = 0.2" in (out / "settings.toml").read_text()
    lines = logged(out)
    assert [line["step"] for line in lines] == [2, 4, 6, 8]
    wanted = "loss loss_tcl loss_cir clips_collapsed distance_first_last cos_query_rebuilt attention_support"
    wanted += " cos_query_bank retrieval_accuracy attention_on_own_identity effective_rank gradient_norm"
    wanted += " seconds_waiting_for_data clips_per_second rate"
    assert not set(wanted.split()) - set(lines[0])
    names = sorted(path.name for path in (out / "checkpoints").iterdir())
    assert names == ["step-000000006.safetensors", "step-000000008.safetensors"]
    encoder = load_encoder(out / "encoder.safetensors")
    assert (encoder.feature_dim, encoder.inputs.frame_size_px, encoder.inputs.input_size_px) == (32, 36, 32)
    assert encoder.contract.detector == "discs"
    assert encoder.training["steps_done"] == 8
    assert encoder.training["identities"]["count"] == 6
    trained = newest(out)
    for name, tensor in encoder.backbone.state_dict().items():
        assert torch.equal(tensor, trained[f"method/backbone.{name}"])


def test_settings_of_a_run_are_a_recipe_for_the_same_run(tiny, disc_store, tmp_path):
    first, again = tmp_path / "first", tmp_path / "again"
    assert pretrain(tiny, disc_store, first, "run.steps=4") == 0
    assert pretrain(first / "settings.toml", disc_store, again) == 0
    assert_same_run(first, again)


@pytest.mark.parametrize("workers", [0, 2])
def test_a_run_stopped_by_its_minutes_and_resumed_is_the_unbroken_run(tiny, disc_store, tmp_path, workers):
    unbroken, resumed = tmp_path / "unbroken", tmp_path / "resumed"
    assert pretrain(tiny, disc_store, unbroken) == 0
    # Stops after every step, so also within an epoch and within a log window.
    assert pretrain(tiny, disc_store, resumed, "run.max_minutes=1e-9") == 0
    for step in range(2, 6):
        overrides = ("run.max_minutes=1e-9", f"data.workers={workers}")
        assert pretrain(tiny, disc_store, resumed, *overrides) == 0
        assert f"step-{step:09d}.safetensors" in {path.name for path in (resumed / "checkpoints").iterdir()}
    assert pretrain(tiny, disc_store, resumed) == 0
    assert_same_run(unbroken, resumed)


def test_the_loss_falls_on_a_tiny_store(tiny, disc_store, tmp_path):
    out = tmp_path / "run"
    settings = ("run.steps=60", "data.clips_per_step=8", "run.checkpoint_every_epochs=0")
    assert pretrain(tiny, disc_store, out, *settings) == 0
    for name, share in (("loss", 0.95), ("loss_tcl", 0.75)):
        values = [line[name] for line in logged(out)]
        assert sum(values[-10:]) / 10 < share * sum(values[:5]) / 5, name


def test_a_run_from_memory_is_the_run_from_the_store(tiny, disc_store, tmp_path):
    read, resident = tmp_path / "read", tmp_path / "resident"
    assert pretrain(tiny, disc_store, read, "run.steps=3") == 0
    assert pretrain(tiny, disc_store, resident, "run.steps=3", "data.in_memory=host") == 0
    assert_same_run(read, resident)


def test_the_command_of_a_finished_run_changes_nothing_and_another_one_is_refused(
    tiny, disc_store, tmp_path, capsys
):
    out = tmp_path / "run"
    assert pretrain(tiny, disc_store, out, "run.steps=2") == 0
    before, written = (out / "log.jsonl").read_bytes(), (out / "settings.toml").read_text()
    older = written.replace('batch_norm = "device"\n', "").replace("warm_up_steps = 0\n", "")
    assert older.count("\n") == written.count("\n") - 2
    for settings in (written, older):  # an earlier version had no such settings
        (out / "settings.toml").write_text(settings)
        assert pretrain(tiny, disc_store, out, "run.steps=2") == 0
        assert "all 2 steps taken" in capsys.readouterr().err
    assert (out / "log.jsonl").read_bytes() == before
    assert pretrain(tiny, disc_store, out, "run.steps=2", "method.beta=0.5") == 1
    assert "method.beta: 0.1 there, 0.5 now" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["method.betta=0.2"], r"[method]: unknown key 'betta'; did you mean 'beta'?"),
        (["optimizer.name=sgd"], r"unknown section 'optimizer'; did you mean 'optimiser'?"),
        (["method.name=clpp"], r"unknown method 'clpp'; did you mean 'clp'?"),
        (["backbone.widht=3"], r"[backbone]: unknown key 'widht'; did you mean 'width'?"),
        (["method.beta=much"], r"[method]: beta = 'much'"),
        (["views.output_size_px=33"], r"the difference must be even"),
        (["run.devices=3"], r"data.clips_per_step = 4 does not divide among run.devices = 3"),
        (["method.clip_len=21"], r"none of the 12 videos (12 tracks) has a run of 41 frames"),
        (["data.clips_per_step=13"], r"12 videos x 1 clips do not fill one step of 13 clips"),
    ],
)
def test_a_setting_that_cannot_be_is_named(tiny, disc_store, capsys, overrides, message):
    out = tiny.parent / "run"
    assert pretrain(tiny, disc_store, out, *overrides) == 1
    assert message in capsys.readouterr().err
    assert not out.exists()


def test_the_recipe_stands_anywhere_and_set_takes_several(tiny, disc_store, tmp_path, monkeypatch):
    monkeypatch.chdir(tiny.parent)
    given = [
        "--store",
        str(disc_store),
        "--out",
        "run",
        "tiny.toml",
        "--set",
        "run.steps=1",
        "method.beta=0.3",
    ]
    assert cli.main(["pretrain", *given, "--set", "run.seed=4"]) == 0
    assert {"beta = 0.3", "steps = 1", "seed = 4"} <= set(Path("run/settings.toml").read_text().splitlines())


@pytest.mark.parametrize("name", ["clp-labtop", "render-mien-bench-v1"])
def test_a_mistyped_recipe_offers_only_those_that_pretrain(disc_store, tmp_path, capsys, name):
    assert pretrain(name, disc_store, tmp_path / "run") == 1
    said = capsys.readouterr().err
    assert f"no recipe '{name}'" in said
    assert "clp-laptop" in said
    assert "render-" not in said.replace(name, "")


def test_a_store_that_is_none_is_named(tiny, tmp_path, capsys):
    assert pretrain(tiny, tmp_path, tmp_path / "run") == 1
    assert f"{tmp_path} is not a store" in capsys.readouterr().err


def test_a_checkpoint_that_is_a_pickle_is_refused(tiny, disc_store, tmp_path, capsys):
    out = tmp_path / "run"
    assert pretrain(tiny, disc_store, out, "run.steps=2", "run.checkpoint_every_epochs=0") == 0
    for path in (out / "checkpoints").glob("step-*"):
        path.write_bytes(pickle.dumps({"weights": [1.0] * 100}))
    assert pretrain(tiny, disc_store, out, "run.steps=2", "run.checkpoint_every_epochs=0") == 1
    said = capsys.readouterr().err
    assert "no checkpoint in" in said
    assert "is a pickle" in said


def test_a_torn_newest_checkpoint_costs_only_its_steps(tiny, disc_store, tmp_path, capsys):
    unbroken, torn = tmp_path / "unbroken", tmp_path / "torn"
    assert pretrain(tiny, disc_store, unbroken) == 0
    assert pretrain(tiny, disc_store, torn) == 0
    newest_path = sorted((torn / "checkpoints").glob("step-*"))[-1]
    newest_path.write_bytes(newest_path.read_bytes()[:1000])
    assert pretrain(tiny, disc_store, torn) == 0
    said = capsys.readouterr().err
    assert "step-000000008.safetensors cannot be used" in said
    assert "goes on from step 6 of 8" in said
    assert_same_run(unbroken, torn)


def test_going_on_with_another_store_is_refused(tiny, disc_store, tmp_path, capsys):
    out, other = tmp_path / "run", tmp_path / "other"
    assert pretrain(tiny, disc_store, out, "run.max_minutes=1e-9") == 0
    shutil.copytree(disc_store, other)
    table = pq.read_table(other / "manifest.parquet")
    renamed = ["x" + name for name in table["track_id"].to_pylist()]
    pq.write_table(table.set_column(1, "track_id", [renamed]), other / "manifest.parquet")
    assert pretrain(tiny, other, out) == 1
    assert "holds other clips, identities or crops than the store" in capsys.readouterr().err


def test_a_warning_is_said_where_the_bar_is_off_as_in_a_sweep(
    tiny, disc_store, tmp_path, monkeypatch, capsys
):
    monkeypatch.setattr("mien.methods.clp.Clp.warnings", lambda *_: ["something is odd"])
    monkeypatch.setattr("mien.train.recorder.progress_bar", functools.partial(tqdm, disable=True))
    assert pretrain(tiny, disc_store, tmp_path / "run", "run.steps=2") == 0
    assert "step 2: something is odd" in capsys.readouterr().err


@pytest.mark.parametrize(("number", "status", "workers"), [(signal.SIGTERM, 143, 1), (signal.SIGINT, 130, 0)])
@pytest.mark.usefixtures("python_answers_interrupts")
def test_a_signal_ends_the_run_after_its_step_with_a_checkpoint(
    tiny, disc_store, tmp_path, capsys, *, number, status, workers
):
    out = tmp_path / "run"

    def signal_once_it_steps():
        wait_for_a_line(out)
        os.kill(os.getpid(), number)

    threading.Thread(target=signal_once_it_steps, daemon=True).start()
    assert pretrain(tiny, disc_store, out, "run.steps=100000", f"data.workers={workers}") == status
    assert f"({signal.Signals(number).name}), saved as step-" in capsys.readouterr().err
    assert (out / "encoder.safetensors").exists()


@pytest.mark.slow
def test_a_run_killed_again_and_again_is_the_unbroken_run(tiny, disc_store, tmp_path):
    unbroken, killed = tmp_path / "unbroken", tmp_path / "killed"
    settings = ("run.steps=40", "data.workers=1", "run.checkpoint_every_steps=5")
    assert pretrain(tiny, disc_store, unbroken, *settings) == 0
    command = [sys.executable, "-m", "mien", *words(tiny, disc_store, killed, *settings)]
    for attempt in range(2):
        process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
        wait_for_a_line(killed, process)
        time.sleep(0.2 + 0.3 * attempt)
        process.kill()
        process.wait()
    assert pretrain(tiny, disc_store, killed, *settings) == 0
    assert_same_run(unbroken, killed)


def test_a_full_disk_ends_the_run_and_leaves_the_older_checkpoint(tiny, disc_store, tmp_path, capsys):
    """A limit on the size of a file stands in for the full disk."""
    out = tmp_path / "run"
    assert pretrain(tiny, disc_store, out, "run.max_minutes=1e-9") == 0
    older = sorted((out / "checkpoints").glob("step-*"))
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, before[1]))
    try:
        assert pretrain(tiny, disc_store, out) == 1
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert "mien pretrain: cannot write" in capsys.readouterr().err
    assert sorted((out / "checkpoints").iterdir()) == older
    assert pretrain(tiny, disc_store, out) == 0


def wait_for_a_line(out, process=None, seconds=600.0):
    """Until there is a new line in the log, or the process has come to its end."""
    log = out / "log.jsonl"
    before = log.stat().st_size if log.exists() else 0
    until = time.monotonic() + seconds
    while not (log.exists() and log.stat().st_size > before):
        if process and process.poll() is not None:
            return
        assert time.monotonic() < until, "nothing came"
        time.sleep(0.05)
