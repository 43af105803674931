"""The code in docs/extending.md, dropped in as one file, is found and reads what the page says."""

import importlib
import re
import sys
from pathlib import Path

import numpy as np
import pytest

from mien.datasets.base import DATASETS, DatasetError, LabelledFrames

PAGE = Path(__file__).parents[2] / "docs" / "extending.md"


@pytest.fixture
def lab_notes(tmp_path, monkeypatch):
    """The set of the walk-through, as if its file lay in src/mien/datasets."""
    _, part = PAGE.read_text().split("\n## Add a data set\n")
    before, code = part.split("```python\n", maxsplit=1)
    (stem,) = re.findall(r"`src/mien/datasets/(\w+)\.py`:", before)[-1:]
    assert stem not in DATASETS.names()
    folder = tmp_path / "dropped"
    folder.mkdir()
    (folder / f"{stem}.py").write_text(code.split("```")[0])
    package = importlib.import_module("mien.datasets")
    monkeypatch.setattr(package, "__path__", [*package.__path__, str(folder)])
    yield DATASETS.get(stem)
    sys.modules.pop(f"mien.datasets.{stem}")
    DATASETS._imported.discard(stem)
    del DATASETS._entries[stem]


@pytest.fixture
def notes(tmp_path):
    def write(text):
        file = tmp_path / "set" / "codes" / "s1" / "morning.txt"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
        return tmp_path / "set"

    return write


def test_a_data_set_dropped_in_is_found_and_gives_its_frames(lab_notes, notes):
    assert "lab_notes" in DATASETS.names()
    frames = lab_notes(notes("1 12 0.5\n1 4 0\n17 12 x\n17 1 1\n")).frames()
    assert isinstance(frames, LabelledFrames)
    assert frames.path_N.tolist() == ["videos/s1/morning.mp4"] * 2
    assert frames.frame_N.tolist() == [0, 16]
    assert np.array_equal(frames.occurrence_NA, [[np.nan, 0, 1], [1, np.nan, np.nan]], equal_nan=True)
    assert np.array_equal(frames.intensity_NA, [[np.nan, 0, 2.5], [5, np.nan, np.nan]], equal_nan=True)


def test_its_errors_name_file_and_line(lab_notes, notes, tmp_path):
    with pytest.raises(DatasetError, match=r"morning\.txt, line 2: '1 99 0'; expected FRAME AU INTENSITY"):
        lab_notes(notes("1 12 0.5\n1 99 0\n")).frames()
    with pytest.raises(DatasetError, match=r"no codes/SUBJECT/VIDEO\.txt in it"):
        lab_notes(tmp_path)
