from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from mien.config import SettingsError
from mien.video import read_frames
from mien_render.benchmark_set import PartSettings, SetSettings
from mien_render.clip import VideoSettings
from mien_render.write_set import SetMismatchError, write_set

VIDEO = VideoSettings(size_px=128, seconds=0.32, atlas_px=128, supersampling=1.0)
SMALL = SetSettings(
    name="tiny",
    seed=5,
    parts={
        "main": PartSettings(identities=3, clips=2, folds=3),
        "shifted": PartSettings(identities=1, first_identity=100, clips=1, folds=1),
    },
    video=VIDEO,
)


@pytest.fixture(scope="module")
def drawn(tiny_model_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("drawn")
    write_set(SMALL, tiny_model_path, out, processes=1)
    return out


def _hashes(out: Path) -> dict[str, str]:
    hashes: dict[str, str] = json.loads((out / "manifest.json").read_text())["sha256"]
    return hashes


@pytest.mark.slow
def test_the_number_of_processes_changes_nothing(drawn: Path, tiny_model_path: Path, tmp_path: Path):
    write_set(SMALL, tiny_model_path, tmp_path, processes=2)
    assert _hashes(tmp_path) == _hashes(drawn)


def test_another_seed_gives_other_clips(drawn: Path, tiny_model_path: Path, tmp_path: Path):
    write_set(replace(SMALL, seed=6), tiny_model_path, tmp_path, processes=1)
    assert set(_hashes(tmp_path)) == set(_hashes(drawn))
    assert not set(_hashes(tmp_path).values()) & set(_hashes(drawn).values())


def test_layout_is_identity_video_utterance(drawn: Path):
    assert (drawn / "main/mp4/id00002/v0001/00001.mp4").is_file()
    assert (drawn / "shifted/mp4/id00100/v0000/00001.mp4").is_file()


def test_every_frame_of_every_video_has_a_row(drawn: Path):
    labels = pq.read_table(drawn / "main/labels.parquet").to_pandas()
    assert len(labels) == 3 * 2 * VIDEO.num_frames
    for path, rows in labels.groupby("path", observed=True):
        frames = list(read_frames(drawn / "main" / str(path)))
        assert rows["frame"].tolist() == list(range(len(frames)))
        np.testing.assert_allclose(rows["seconds"], [frame.seconds for frame in frames], atol=1e-3)


def test_occurrence_is_the_stronger_side_at_or_above_the_threshold(drawn: Path):
    labels = pq.read_table(drawn / "main/labels.parquet").to_pandas()
    for unit in ("AU01", "AU12", "AU25", "AU45"):
        stronger = labels[[f"{unit}_left", f"{unit}_right"]].max(axis=1)
        assert ((stronger >= 2.0) == (labels[unit] == 1)).all()


def test_folds_never_share_a_person(drawn: Path):
    labels = pq.read_table(drawn / "main/labels.parquet").to_pandas()
    assert labels.groupby("identity", observed=True)["fold"].nunique().max() == 1
    assert labels["fold"].nunique() == 3


def test_a_finished_set_is_not_drawn_again(drawn: Path, tiny_model_path: Path):
    before = (drawn / "manifest.json").stat().st_mtime_ns
    write_set(SMALL, tiny_model_path, drawn, processes=1)
    assert (drawn / "manifest.json").stat().st_mtime_ns == before


def test_another_recipe_is_refused(drawn: Path, tiny_model_path: Path):
    with pytest.raises(SetMismatchError, match="another recipe"):
        write_set(replace(SMALL, seed=7), tiny_model_path, drawn, processes=1)


def test_a_killed_run_goes_on_and_ends_as_if_it_had_not_been(
    drawn: Path, tiny_model_path: Path, tmp_path: Path
):
    program = (
        "import sys; sys.path.insert(0, sys.argv[3]);"
        "from pathlib import Path; from mien_render.write_set import write_set; import write_set_test as t;"
        "write_set(t.SMALL, Path(sys.argv[1]), Path(sys.argv[2]), processes=1)"
    )
    beside = tmp_path / "code"
    beside.mkdir()
    (beside / "write_set_test.py").write_text(Path(__file__).read_text())
    out = tmp_path / "out"
    command = [sys.executable, "-c", program, str(tiny_model_path), str(out), str(beside)]
    process = subprocess.Popen(command, env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"})
    while process.poll() is None and len(list(out.glob("main/mp4/*/*/*.mp4"))) < 2:
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    write_set(SMALL, tiny_model_path, out, processes=1)
    assert _hashes(out) == _hashes(drawn)


def test_a_person_cannot_be_in_two_parts():
    with pytest.raises(ValueError, match="person 2"):
        replace(SMALL, parts={"a": PartSettings(3), "b": PartSettings(2, first_identity=2)})


def test_a_part_inherits_what_it_does_not_say():
    recipe = {
        "set": {"name": "x"},
        "nuisance": {"yaw_degrees": 3.0, "noise": [0.0, 0.1]},
        "parts": {"main": {"identities": 1}, "shifted": {"identities": 1, "first_identity": 5}},
    }
    recipe["parts"]["shifted"]["nuisance"] = {"yaw_degrees": 30.0}
    settings = SetSettings.from_recipe(recipe, where="recipe")
    assert settings.parts["main"].nuisance.yaw_degrees == 3.0
    assert settings.parts["shifted"].nuisance.yaw_degrees == 30.0
    assert settings.parts["shifted"].nuisance.noise == (0.0, 0.1)


@pytest.mark.parametrize(
    ("recipe", "said"),
    [
        ({"set": {"name": "x"}}, "no part"),
        ({"set": {"name": "x"}, "part": {}}, "did you mean 'parts'"),
        ({"set": {"name": "x"}, "parts": {"main": {"identity": 3}}}, "did you mean 'identities'"),
        ({"set": {"name": "x"}, "parts": {"main": {"identities": 0}}}, "at least one identity"),
        ({"set": {"name": "x"}, "video": {"size": 3}, "parts": {"main": {"identities": 1}}}, "size_px"),
    ],
)
def test_a_wrong_recipe_is_named(recipe: dict, said: str):
    with pytest.raises(SettingsError, match=said):
        SetSettings.from_recipe(recipe, where="recipe")
