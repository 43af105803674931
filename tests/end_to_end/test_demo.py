"""The demo from nothing to its report, as short as it goes."""

import shutil

import pytest

from mien import cli
from mien.datasets import rendered
from mien.evaluate.predictions import read_predictions
from tests.shipped import few_people

SHORT = [
    *("run.steps=3", "run.log_every_steps=1", "run.threads=1", "run.tensorboard=false", "backbone.width=4"),
    *("data.workers=0", "data.clips_per_step=4", "method.bank_size=32", "method.num_candidates=0"),
]


@pytest.mark.slow
def test_the_demo_ends_with_a_report_on_people_never_pretrained_on(tmp_path, monkeypatch, capsys):
    clips = tmp_path / "clips"
    few_people(clips / "main", 6, num_frames=5)
    for person in ("id00000", "id00001"):
        source = rendered.shipped_clips() / "pretraining" / "mp4" / person
        shutil.copytree(source, clips / "pretraining" / "mp4" / person)
    monkeypatch.setattr(rendered, "shipped_clips", lambda: clips)
    out = tmp_path / "demo"
    settings = [word for value in SHORT for word in ("--set", value)]
    assert cli.main(["demo", "--out", str(out), "--workers", "1", *settings]) == 0
    said = capsys.readouterr().out
    assert said.count("$ mien ") == 5
    assert "have names of people that the encoder was pretrained on" not in said
    for name in ("detections/overview.html", "agreement/agreement.html"):
        assert (out / name).exists()
    page = (out / "evaluation" / "report.html").read_text()
    assert "These faces are rendered" in page
    assert "CLP: pretrained on 12 clips in 3 steps" in page  # 3 steps of 4 clips
    predictions = out / "evaluation" / "predictions"
    assert {path.stem for path in predictions.iterdir()} == {"CLP.frozen.100", "untrained.frozen.100"}
    assert len(read_predictions(predictions / "CLP.frozen.100.parquet").path_N) == 6 * 2 * 5


def test_a_failing_command_ends_the_demo(tmp_path, capsys):
    (tmp_path / "demo").write_text("a file")
    assert cli.main(["demo", "--out", str(tmp_path / "demo")]) == 1
    assert str(tmp_path / "demo") in capsys.readouterr().err
