from __future__ import annotations

import argparse
import contextlib
import hashlib
import re
import subprocess
import sys
import time
from pathlib import Path

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


@pytest.fixture(scope="module")
def shared(disc_store, tmp_path_factory):
    """The command on the discs, whose later half of each video is coded as AU12."""
    folder = tmp_path_factory.mktemp("sweep")
    (folder / "tiny.toml").write_text(RECIPE)
    (folder / "sweep.toml").write_text(SWEEP.format(recipe=folder / "tiny.toml"))
    sources = TrackStore.open(disc_store).tracks["source_path"].to_pylist()
    rows = [(source, frame, 5.0 * (frame >= 20), 0.0) for source in sources for frame in range(40)]
    labels = folder / "labels.csv"
    pd.DataFrame(rows, columns=["path", "frame", "AU12", "AU01"]).to_csv(labels, index=False)
    store, table = str(disc_store), str(labels)
    return [
        str(folder / "sweep.toml"),
        *("--store", store, "--labels", table, "--score-store", store, "--score-labels", table, "--out"),
    ]


@pytest.fixture
def words(shared, tmp_path):
    """The command with a sweep file and a folder of the test's own."""
    path = tmp_path / "sweep.toml"
    path.write_text(Path(shared[0]).read_text())
    return [str(path), *shared[1:], str(tmp_path / "out")]


@pytest.fixture(scope="module")
def serial(shared, tmp_path_factory):
    """The folder of a sweep that nothing disturbed, on one thread."""
    folder = tmp_path_factory.mktemp("serial")
    before = torch.get_num_threads()
    torch.set_num_threads(1)  # the predictions are made here
    assert run([*shared, str(folder)]) == 0
    torch.set_num_threads(before)
    return folder


def run(words):
    parser = argparse.ArgumentParser()
    sweep.add_arguments(parser)
    return sweep.run(parser.parse_args(words))


# Measurements of time and memory, and the warning about a slow loader.
MEASURED = ["rows_per_second", "minutes", "processor_minutes", "memory_mb", "warnings"]


def table(folder):
    return pd.read_csv(folder / "results.csv", dtype=str, keep_default_na=False).drop(columns=MEASURED)


def begin(words, *more):
    """A sweep in a process of its own."""
    command = [sys.executable, "-m", "mien", "sweep", *words, *more]
    return subprocess.Popen(command, stderr=subprocess.PIPE, text=True)


def first_child(process):
    """The first training that the sweep has begun."""
    deadline = time.monotonic() + 600
    while time.monotonic() < deadline:
        for child in psutil.Process(process.pid).children(recursive=True):
            with contextlib.suppress(psutil.Error):  # one that has just ended
                if "pretrain" in child.cmdline():
                    return child
        time.sleep(0.05)
    raise AssertionError("no run has begun")


@pytest.mark.slow
def test_each_run_becomes_one_line_and_predictions_and_is_not_repeated(shared, serial, capfd):
    results = pd.read_csv(serial / "results.csv")
    assert results["run"].tolist() == ["simclr", "labelled"]
    assert results["rows"].tolist() == [48, 48]
    assert results["clips_per_step"].tolist() == [6, 12]
    assert (results[["rows_per_second", "processor_minutes", "memory_mb", "identity_accuracy"]] > 0).all(
        axis=None
    )
    assert results["auc"].between(0, 1).all()
    assert results["auc_AU01"].isna().all()  # never present: undefined, not 0
    assert "| simclr | 1 |" in (serial / "summary.md").read_text()
    capfd.readouterr()
    assert run([*shared, str(serial)]) == 0
    assert "steps of" not in capfd.readouterr().err
    assert cli.main(["compare", str(serial / "predictions")]) == 0
    compared = capfd.readouterr().out
    assert "labelled-seed0" in compared
    assert f"{100 * results['f1'][0]:.1f}" in compared  # scored anew from the predictions, in percent


def test_a_sweep_is_listed_and_refused_where_it_cannot_run_as_asked(words, tmp_path, capsys):
    assert run([*words, "--device", "cpu", "--list"]) == 0
    assert "simclr-seed0" in capsys.readouterr().out
    with pytest.raises(ValueError, match="go together"):
        run([*words[:5], *words[7:]])
    assert not (tmp_path / "out").exists()  # nor does --list write anything


def test_runs_locked_by_another_sweep_give_their_own_exit_status(words, tmp_path, capfd):
    locks = tmp_path / "out" / "locks"
    locks.mkdir(parents=True)
    with only_one(locks / "simclr-seed0"), only_one(locks / "labelled-seed0"):
        assert run(words) == 3
    assert "another sweep is working on labelled-seed0, simclr-seed0" in capfd.readouterr().err


@pytest.mark.slow
def test_a_killed_run_is_continued_and_runs_side_by_side_give_the_serial_table(words, serial, tmp_path):
    process = begin(words, "--workers", "2")
    first_child(process).kill()
    printed = process.communicate(timeout=900)[1]
    assert process.returncode == 0, printed
    assert "was killed by signal 9" in printed
    assert "seed0: continued now that the others are done" in printed
    pd.testing.assert_frame_equal(table(tmp_path / "out"), table(serial))


@pytest.mark.slow
def test_a_sweep_that_was_killed_stops_its_run_and_continues_from_there(words, serial, tmp_path, capfd):
    process = begin([*words, "--shard", "1/2"])
    training = first_child(process)
    log = tmp_path / "out" / "runs" / "simclr-seed0" / "settings.toml"
    while not log.is_file():
        time.sleep(0.02)
    training.suspend()  # so that it is there while the next sweep looks
    process.kill()
    process.wait()
    process.stderr.close()  # its orphaned worker still holds the other end
    try:
        assert run(words) == 3
        assert "another sweep is working on simclr-seed0" in capfd.readouterr().err
        assert table(tmp_path / "out")["run"].tolist() == ["labelled"]
    finally:
        training.resume()
        training.wait(timeout=600)
    assert run(words) == 0
    pd.testing.assert_frame_equal(table(tmp_path / "out"), table(serial))


@pytest.mark.slow
def test_two_sweeps_in_one_folder_do_no_run_twice(words, serial, tmp_path):
    printed = [process.communicate(timeout=900)[1] for process in (begin(words), begin(words))]
    begun = re.findall(r"\] (\S+): \d+ steps", "".join(printed))
    assert sorted(begun) == ["labelled-seed0", "simclr-seed0"]
    pd.testing.assert_frame_equal(table(tmp_path / "out"), table(serial))


MORE_RUNS = """
[[runs]]
name = "started"
set = ["optimiser.weight_decay=0.1"]
start = "simclr"

[[runs]]
name = "diverging"
rate = 1e30
"""


@pytest.mark.slow
def test_a_run_starts_from_anothers_encoder_and_a_failing_one_is_reported(words, tmp_path, capfd):
    path = tmp_path / "sweep.toml"
    path.write_text(path.read_text().split('[[runs]]\nname = "labelled')[0] + MORE_RUNS)
    words = words[:3] + words[-2:]
    assert run([*words, "--shard", "2/3"]) == 1
    assert "starts from simclr-seed0, which is not done" in capfd.readouterr().err
    assert run([*words, "--workers", "2"]) == 1
    err = capfd.readouterr().err
    assert "diverging-seed0 failed" in err
    assert "rate_per_64_clips" in err
    first = tmp_path / "out" / "runs" / "simclr-seed0" / "encoder.safetensors"
    digest = hashlib.sha256(first.read_bytes()).hexdigest()
    log = (tmp_path / "out" / "logs" / "started-seed0.log").read_text()
    assert f"begins with the weights of {first}, SHA-256 {digest}" in log
    assert table(tmp_path / "out")["run"].tolist() == ["simclr", "started"]


@pytest.mark.parametrize("start", ["nobody", "started"])
def test_a_start_that_is_no_run_without_a_start_is_refused(words, tmp_path, start):
    path = tmp_path / "sweep.toml"
    path.write_text(path.read_text() + MORE_RUNS.replace('start = "simclr"', f'start = "{start}"'))
    with pytest.raises(ValueError, match="no run of these seeds"):
        run(words)
