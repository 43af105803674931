"""`mien people` and `mien summarise` as a user types them."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest

from mien.cli import main
from mien.video import write_video
from mien.visualise.detection_page import write_detection_page
from tests.findings.test_summary import TABLES


@pytest.fixture
def results(tmp_path):
    """The tables of two files as `mien detect` leaves them, and the video of the first."""
    out = tmp_path / "results"
    out.mkdir()
    for name, table in zip(("p1", "p2"), TABLES, strict=True):
        table.save(out / f"{name}.parquet")
        video = {"inputs": [{"path": str(tmp_path / f"{name}.mp4")}]}
        (out / f"{name}.json").write_text(json.dumps(video))
    pictures = [np.full((120, 160, 3), 90, np.uint8)] * 30
    write_video(tmp_path / "p1.mp4", pictures, frames_per_second=10)
    return out


def mien(*words):
    return main([str(word) for word in words])


def test_a_study_from_its_tables_to_its_curves(results, tmp_path, capsys):
    out = tmp_path / "findings"
    assert mien("people", results, "--out", out) == 0
    assert "2 faces in 2 files" in (said := capsys.readouterr().out)
    assert "no pictures of p2.mp4: " in said
    page = (out / "people.html").read_text()
    assert page.count("data:image/jpeg") == 1
    assert "<b>p2.mp4</b>" in page
    people = pd.read_csv(out / "people.csv")
    people.assign(person="Ann <b>").to_csv(out / "people.csv", index=False)
    assert mien("people", results, "--out", out) == 0
    assert "<h2>Ann &lt;b&gt;</h2>" in (out / "people.html").read_text()
    conditions = tmp_path / "conditions.csv"
    conditions.write_text("file,condition,start\np1,rest,0\np1,film,1.5\np2,rest,0\np2,film,1.5\n")
    words = ("summarise", results, "--conditions", conditions, "--people", out / "people.csv", "--out", out)
    assert mien(*words, "--set", "baseline=rest", "curves.bin_seconds=0.5") == 0
    assert "2 tables, 1 people, 2 conditions" in capsys.readouterr().out
    summary = pd.read_csv(out / "summary.csv").set_index("condition")
    assert summary.loc["film", ["person", "trials"]].tolist() == ["Ann <b>", 2]
    assert summary.loc["film", "share_change"] == pytest.approx((10 + 2 - 2 - 10) / 30)
    assert set(pd.read_csv(out / "curves.csv")["condition"]) == {"rest", "film"}
    assert "AU12 lip corner puller" in (out / "curves.svg").read_text()
    assert len(pd.read_csv(out / "quality.csv")) == 2


def test_conditions_that_do_not_fit_are_refused_and_nothing_is_written(results, tmp_path, capsys):
    conditions = tmp_path / "conditions.csv"
    conditions.write_text("file,condition\np3,rest\n")
    words = ("summarise", results, "--conditions", conditions, "--out", tmp_path / "findings")
    assert mien(*words) == 1
    assert "row 2, p3: no such file, face or person" in capsys.readouterr().err
    assert not (tmp_path / "findings").exists()
    conditions.write_text("file,condition\np1,rest\n")
    assert mien(*words, "--set", "events.shortest=1") == 1
    assert "shortest_seconds" in capsys.readouterr().err


def test_the_detection_page_shows_events_and_quality(results, tmp_path):
    page = write_detection_page(TABLES[0], tmp_path / "p1.mp4", tmp_path / "p1.html").read_text()
    assert '<button class="at" data-seek="1.2500" data-unit="AU12" title="Go to the onset">' in page
    assert "face 0: 100% usable, longest gap 0.0 s" in page
