from __future__ import annotations

import argparse
import contextlib
import hashlib
import re
import subprocess
import sys
import time

import pandas as pd
import psutil
import pytest
import torch

from mien import cli
from mien.commands import sweep
from mien.data.store import TrackStore
from mien.io import only_one

RECIPE = """
[method]
name = "simclr"

[backbone]
name = "resnet18"
width = 4

[views]
output_size_px = 32

[data]
frame_size_px = 36
workers = 0

[optimiser]
name = "adam"

[run]
threads = 1
accelerator = "cpu"
tensorboard = false
log_every_steps = 2
"""

SWEEP = """
recipe = "{recipe}"
rows = 48
rows_per_step = 12
rate = 0.001

[[runs]]
name = "simclr"

[[runs]]
name = "labelled"
method = {{ name = "supervised_action_units", action_units = [12], occurs_at = 2.0 }}
"""


@pytest.fixture
def words(disc_store, tmp_path):
    """The command on the discs, whose later half of each video is coded as AU12."""
    (tmp_path / "tiny.toml").write_text(RECIPE)
    (tmp_path / "sweep.toml").write_text(SWEEP.format(recipe=tmp_path / "tiny.toml"))
    sources = TrackStore.open(disc_store).tracks["source_path"].to_pylist()
    rows = [(source, frame, 5.0 * (frame >= 20), 0.0) for source in sources for frame in range(40)]
    labels = tmp_path / "labels.csv"
    pd.DataFrame(rows, columns=["path", "frame", "AU12", "AU01"]).to_csv(labels, index=False)
    store, table = str(disc_store), str(labels)
    return [
        str(tmp_path / "sweep.toml"),
        *("--store", store, "--labels", table, "--score-store", store, "--score-labels", table),
        *("--out", str(tmp_path / "out")),
    ]


def run(words):
    parser = argparse.ArgumentParser()
    sweep.add_arguments(parser)
    return sweep.run(parser.parse_args(words))


@pytest.mark.slow
def test_one_line_a_run_and_nothing_done_twice(words, tmp_path, capfd):
    assert run(words) == 0
    results = pd.read_csv(tmp_path / "out" / "results.csv")
    assert results["run"].tolist() == ["simclr", "labelled"]
    assert results["rows"].tolist() == [48, 48]
    assert results["clips_per_step"].tolist() == [6, 12]
    assert (results[["rows_per_second", "memory_mb", "identity_accuracy"]] > 0).all(axis=None)
    assert results["auc"].between(0, 1).all()
    assert results["auc_AU01"].isna().all()  # never present: undefined, not 0
    assert "| simclr | 1 |" in (tmp_path / "out" / "summary.md").read_text()
    capfd.readouterr()
    assert run(words) == 0
    assert "steps of" not in capfd.readouterr().err
    assert cli.main(["compare", str(tmp_path / "out" / "predictions")]) == 0
    compared = capfd.readouterr().out
    assert "labelled-seed0" in compared
    assert f"{100 * results['f1'][0]:.1f}" in compared  # scored anew from the predictions, in percent


@pytest.mark.slow
def test_a_failed_run_is_told_and_the_others_go_on(words, tmp_path, capfd):
    path = tmp_path / "sweep.toml"
    path.write_text(path.read_text().replace("rate = 0.001", "rate = 1e30"))
    store_words = words[:5] + words[-2:]
    assert run(store_words) == 1
    err = capfd.readouterr().err
    assert "simclr-seed0 failed" in err
    assert "labelled-seed0 failed" in err
    assert "rate_per_64_clips" in err


def test_list_says_what_would_run_and_runs_nothing(words, tmp_path, capsys):
    assert run([*words, "--list"]) == 0
    assert "simclr-seed0" in capsys.readouterr().out
    assert not (tmp_path / "out").exists()


def test_several_devices_a_run_are_refused_where_each_is_given_one(words, tmp_path):
    assert run([*words, "--device", "cpu", "--list"]) == 0
    path = tmp_path / "sweep.toml"
    path.write_text(path.read_text().replace('name = "simclr"', 'name = "simclr"\nset = ["run.devices=2"]'))
    assert run([*words, "--list"]) == 0
    with pytest.raises(ValueError, match="--device cpu gives each run one device, but run 'simclr'"):
        run([*words, "--device", "cpu"])


def test_runs_that_another_sweep_is_at_are_told_by_the_exit_status(words, tmp_path, capfd):
    locks = tmp_path / "out" / "locks"
    locks.mkdir(parents=True)
    with only_one(locks / "simclr-seed0"), only_one(locks / "labelled-seed0"):
        assert run(words) == 3
    assert "another sweep is working on labelled-seed0, simclr-seed0" in capfd.readouterr().err


def test_half_of_the_scoring_options_is_refused(words):
    with pytest.raises(ValueError, match="go together"):
        run([*words[:5], *words[7:]])


# What the clock and the machine say, the warning of a loader that is waited for among it.
MEASURED = ["rows_per_second", "minutes", "memory_mb", "warnings"]


def table(folder):
    return pd.read_csv(folder / "results.csv", dtype=str, keep_default_na=False).drop(columns=MEASURED)


@pytest.fixture
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.mark.slow
def test_runs_side_by_side_two_shards_and_a_killed_run_give_the_serial_table(
    words, tmp_path, one_thread, capfd
):
    path = tmp_path / "sweep.toml"
    path.write_text(path.read_text().replace("rows = 48", "rows = 600\nseeds = [0, 1]"))
    together = words[:-1]
    assert run([*together, str(tmp_path / "serial")]) == 0
    serial = table(tmp_path / "serial")
    assert serial["run"].tolist() == ["simclr", "labelled"] * 2
    folder = tmp_path / "jobs"
    command = [sys.executable, "-m", "mien", "sweep", *together, str(folder), "--workers", "2"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    kill_a_child(process)
    said = process.communicate(timeout=900)[1]
    assert process.returncode == 0, said
    assert "was killed by signal 9" in said
    assert "is continued now that the others are done" in said
    pd.testing.assert_frame_equal(table(folder), serial)
    halves = [[*together, str(tmp_path / "halves"), "--shard", f"{number}/2"] for number in (2, 1)]
    assert [run(half) for half in halves] == [0, 0]
    pd.testing.assert_frame_equal(table(tmp_path / "halves"), serial)


def kill_a_child(process):
    """SIGKILL for the first run that has begun."""
    first_child(process).kill()


def first_child(process):
    """The first run that has begun."""
    deadline = time.monotonic() + 600
    while time.monotonic() < deadline:
        for child in psutil.Process(process.pid).children(recursive=True):
            with contextlib.suppress(psutil.Error):  # one that has just ended
                if "pretrain" in child.cmdline():
                    return child
        time.sleep(0.05)
    raise AssertionError("no run has begun")


@pytest.mark.slow
def test_a_sweep_that_was_killed_stops_its_run_and_goes_on_from_there(words, tmp_path, one_thread, capfd):
    path = tmp_path / "sweep.toml"
    path.write_text(path.read_text().replace("rows = 48", "rows = 600"))
    command = [sys.executable, "-m", "mien", "sweep", *words]
    sweep_process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    training = first_child(sweep_process)
    log = tmp_path / "out" / "runs" / "simclr-seed0" / "log.jsonl"
    while not log.is_file():
        time.sleep(0.05)
    training.suspend()  # so that it is there while the next sweep looks
    sweep_process.kill()
    sweep_process.wait()
    try:
        assert run(words) == 3
        assert "another sweep is working on simclr-seed0" in capfd.readouterr().err
        assert table(tmp_path / "out")["run"].tolist() == ["labelled"]
    finally:
        training.resume()
        training.wait(timeout=600)
    assert run(words) == 0
    again = table(tmp_path / "out")
    assert run([*words[:-1], str(tmp_path / "unbroken")]) == 0
    pd.testing.assert_frame_equal(again, table(tmp_path / "unbroken"))


@pytest.mark.slow
def test_two_sweeps_in_one_folder_do_no_run_twice(words, tmp_path):
    command = [sys.executable, "-m", "mien", "sweep", *words]
    processes = [subprocess.Popen(command, stderr=subprocess.PIPE, text=True) for _ in range(2)]
    said = [process.communicate(timeout=900)[1] for process in processes]
    statuses = {process.returncode for process in processes}
    assert 0 in statuses <= {0, 3}, said  # the first to end may leave the other its run
    begun = re.findall(r"\] (\S+): \d+ steps", "".join(said))
    assert sorted(begun) == ["labelled-seed0", "simclr-seed0"]
    assert sorted(pd.read_csv(tmp_path / "out" / "results.csv")["run"]) == ["labelled", "simclr"]


STARTED = """
[[runs]]
name = "started"
set = ["optimiser.weight_decay=0.1"]
start = "simclr"
"""


@pytest.mark.slow
def test_a_run_begins_with_the_encoder_of_another_of_its_seed(words, tmp_path, capfd):
    path = tmp_path / "sweep.toml"
    path.write_text(path.read_text() + STARTED)
    assert run([*words, "--shard", "3/3"]) == 1
    assert "starts from simclr-seed0, which is not done" in capfd.readouterr().err
    assert run([*words, "--workers", "2"]) == 0
    first = tmp_path / "out" / "runs" / "simclr-seed0" / "encoder.safetensors"
    digest = hashlib.sha256(first.read_bytes()).hexdigest()
    said = (tmp_path / "out" / "logs" / "started-seed0.log").read_text()
    assert f"begins with the weights of {first}, SHA-256 {digest}" in said
    assert table(tmp_path / "out")["run"].tolist() == ["simclr", "labelled", "started"]


@pytest.mark.parametrize("start", ["nobody", "started"])
def test_a_start_that_is_no_run_without_a_start_is_refused(words, tmp_path, start):
    path = tmp_path / "sweep.toml"
    path.write_text(path.read_text() + STARTED.replace('start = "simclr"', f'start = "{start}"'))
    with pytest.raises(ValueError, match="no run of these seeds"):
        run(words)
