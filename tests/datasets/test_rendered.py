from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mien.datasets.base import DATASETS, DatasetError
from mien.facs import ACTION_UNITS
from mien.render.clip import Clip, VideoSettings, label_table
from mien.render.motion import MotionSettings
from mien.render.nuisance import NuisanceSettings

VIDEO = VideoSettings(size_px=48, seconds=2.0)


@pytest.fixture
def part(tmp_path: Path) -> Path:
    clip = Clip.draw((2, 1, 0), motion=MotionSettings(), nuisance=NuisanceSettings(), video=VIDEO)
    points = np.zeros((VIDEO.num_frames, 5, 2), dtype=np.float32)
    table = label_table(clip, points, frames_per_second=25, occurs_at=2.0)
    for name, value in (("path", "mp4/id00001/v0000/00001.mp4"), ("identity", "id00001"), ("fold", "fold1")):
        table = table.append_column(name, pa.array([value] * len(table)).dictionary_encode())
    pq.write_table(table, tmp_path / "labels.parquet")
    return tmp_path


def test_every_frame_is_coded_for_every_unit(part: Path):
    frames = DATASETS.get("rendered")(part).frames()
    assert frames.num_frames == VIDEO.num_frames
    assert not np.isnan(frames.occurrence_NA).any()
    assert frames.frame_N.tolist() == list(range(VIDEO.num_frames))


def test_intensity_is_the_stronger_side(part: Path):
    frames = DATASETS.get("rendered")(part).frames()
    table = pq.read_table(part / "labels.parquet").to_pandas()
    for at, number in enumerate(frames.action_units):
        name = ACTION_UNITS[number].column
        expected = table[[f"{name}_left", f"{name}_right"]].max(axis=1)
        np.testing.assert_array_equal(frames.intensity_NA[:, at], expected)
        np.testing.assert_array_equal(frames.occurrence_NA[:, at], (expected >= 2).astype(np.float32))


def test_a_folder_without_labels_is_refused(tmp_path: Path):
    with pytest.raises(DatasetError, match=r"labels\.parquet"):
        DATASETS.get("rendered")(tmp_path)


def test_a_missing_column_is_named(part: Path):
    path = part / "labels.parquet"
    pq.write_table(pq.read_table(path).drop_columns(["AU12_left"]), path)
    with pytest.raises(DatasetError, match="AU12_left"):
        DATASETS.get("rendered")(part).frames()
