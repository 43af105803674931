from __future__ import annotations

import argparse

import pandas as pd
import pytest

from mien import cli
from mien.commands import sweep
from mien.data.store import TrackStore

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


def test_half_of_the_scoring_options_is_refused(words):
    with pytest.raises(ValueError, match="go together"):
        run([*words[:5], *words[7:]])
