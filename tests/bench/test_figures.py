from __future__ import annotations

import json

import pytest
import torch

from mien import cli
from mien.bench.clock import Turns
from mien.bench.figures import Bench, Figure, Machine, Projection, in_words, project
from mien.bench.network_parts import flops_of_clip, flops_of_picture

FIGURES = [
    Figure("prepare", "frames/s", 100.0, 400.0, "decoding"),
    Figure("store", "clips/s", 50.0, 100.0, "JPEG"),
]


def machine(**changed):
    known = {
        "device": "abacus",
        "cores": 2,
        "threads": 1,
        "clock": "seconds",
        "load": 0.4,
        "multiply_flops": 1e9,
        "copy_bytes": 1e9,
        "precision": "float32",
        "torch": "2",
    }
    return Machine(**(known | changed))


def test_the_backbones_flops_are_the_papers():
    """3.66 G multiply-adds for ResNet-34 at 224 px, of which each is two FLOPs."""
    assert flops_of_picture(224) == pytest.approx(2 * 3.66e9, rel=0.01)
    assert flops_of_clip(224) == 35 * flops_of_picture(224)


def test_the_papers_run_is_projected_from_rates():
    projection = project(FIGURES, step_flops=1e12, flops_of_paper_clip=1e11)
    assert projection.clips_per_second == pytest.approx(10.0)
    assert projection.pretrain_hours == pytest.approx(9_600_000 / 10 / 3600)
    assert projection.prepare_hours_a_core == pytest.approx(86_300 / 3600)
    assert projection.reading_cores == pytest.approx(0.2)


def test_a_busy_machine_is_called_one_unless_its_own_seconds_were_counted():
    projection = Projection(1.0, 2.0, 3.0, 4.0)
    assert "This machine is busy" not in in_words(Bench(machine(), tuple(FIGURES), projection))
    assert "This machine is busy" in in_words(Bench(machine(load=7.0), tuple(FIGURES), projection))
    counted = machine(load=7.0, clock="CPU seconds")
    assert "This machine is busy" not in in_words(Bench(counted, tuple(FIGURES), projection))


def test_arms_take_turns_and_the_first_turn_is_not_counted():
    order = []
    arms = {name: lambda name=name: order.append(name) for name in "ab"}
    seconds = Turns(2, torch.device("cpu")).least_seconds(arms)
    assert order == list("ababab")
    assert all(0 <= value < float("inf") for value in seconds.values())


def test_seconds_of_the_cpu_are_refused_for_another_device(monkeypatch, capsys):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert cli.main(["bench", "--device", "cuda", "--cpu-time"]) == 1
    assert "--cpu-time says nothing about cuda" in capsys.readouterr().err
    assert cli.main(["bench", "--rounds", "0"]) == 1


@pytest.mark.slow
def test_the_verb_measures_every_part_and_prints_json(capsys):
    threads = torch.get_num_threads()
    assert cli.main(["bench", "--device", "cpu", "--rounds", "1", "--cpu-time", "--json"]) == 0
    torch.set_num_threads(threads)
    result = json.loads(capsys.readouterr().out)
    parts = [figure["part"] for figure in result["figures"]]
    assert [part for part in parts if part != "find"] == [
        "decode",
        "prepare",
        "store",
        "views",
        "step",
        "embed",
        "probe",
        "detect",
    ]
    for figure in result["figures"]:
        assert figure["per_second"] > 0
        assert figure["share"] == pytest.approx(figure["per_second"] / figure["limit_per_second"])
    assert result["projection"]["pretrain_hours"] > 0
