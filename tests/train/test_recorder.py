from __future__ import annotations

import json
import math

import torch

from mien.train.recorder import JsonLines, LogWindow


def lines(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_a_window_gives_means_and_starts_anew():
    window = LogWindow()
    window.add({"loss": torch.tensor(1.0), "rate": 0.5})
    window.add({"loss": torch.tensor(2.0), "rate": 0.5})
    assert window.take_means() == {"loss": 1.5, "rate": 0.5}
    assert window.take_means() == {}


def test_undefined_steps_are_left_out_of_a_mean():
    window = LogWindow()
    for value in (1.0, math.nan, 3.0):
        window.add({"cos": torch.tensor(value), "never": math.nan})
    means = window.take_means()
    assert means["cos"] == 2.0
    assert math.isnan(means["never"])


def test_a_window_saved_and_loaded_goes_on():
    whole, saved = LogWindow(), LogWindow()
    for window in (whole, saved):
        window.add({"loss": torch.tensor(0.1), "cos": math.nan})
    resumed = LogWindow()
    resumed.load_state(saved.state())
    for window in (whole, resumed):
        window.add({"loss": torch.tensor(0.7), "cos": 0.25})
    assert whole.take_means() == resumed.take_means()


def test_a_log_resumed_has_no_step_twice_and_no_torn_line(tmp_path):
    path = tmp_path / "log.jsonl"
    log = JsonLines(path, after_step=0)
    for step in (10, 20, 30):
        log.write({"step": step, "loss": 1.0})
    log.close()
    with path.open("a") as file:
        file.write('{"step": 40, "lo')
    resumed = JsonLines(path, after_step=20)
    resumed.write({"step": 30, "loss": 2.0})
    resumed.close()
    assert lines(path) == [{"step": 10, "loss": 1.0}, {"step": 20, "loss": 1.0}, {"step": 30, "loss": 2.0}]


def test_a_number_that_json_lacks_is_null(tmp_path):
    log = JsonLines(tmp_path / "log.jsonl", after_step=0)
    log.write({"step": 1, "cos": math.nan, "far": math.inf, "text": ["a"]})
    log.close()
    assert lines(tmp_path / "log.jsonl") == [{"step": 1, "cos": None, "far": None, "text": ["a"]}]


def test_a_log_begun_anew_forgets_an_abandoned_one(tmp_path):
    path = tmp_path / "log.jsonl"
    path.write_text('{"step": 1}\n')
    JsonLines(path, after_step=0).close()
    assert path.read_text() == ""
