from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mien.data.store import TrackStore
from mien.datasets.base import DATASETS, DatasetError
from mien.datasets.rendered import Rendered, shipped_clips
from mien.facs import ACTION_UNITS
from mien_render.actions import UNIT_NUMBERS
from mien_render.clip import Clip, VideoSettings, label_table
from mien_render.motion import MotionSettings
from mien_render.nuisance import NuisanceSettings

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


def test_the_units_are_those_of_the_renderer():
    assert Rendered.action_units == UNIT_NUMBERS


def test_the_shipped_clips_are_what_their_manifest_says_and_small():
    folder = shipped_clips()
    sha256 = json.loads((folder / "manifest.json").read_text())["sha256"]
    for name, digest in sha256.items():
        assert hashlib.sha256((folder / name).read_bytes()).hexdigest() == digest, name
    assert {path.relative_to(folder).as_posix() for path in folder.glob("*/**/*.*")} == set(sha256)
    assert sum(path.stat().st_size for path in folder.rglob("*.*")) < 4e6


def test_the_shipped_clips_have_a_hundred_people_and_every_unit_in_every_fold_of_main():
    parts = [Rendered(shipped_clips() / part).frames() for part in ("pretraining", "main", "shifted")]
    people = [set(part.subject_N) for part in parts]
    assert [len(one) for one in people] == [60, 30, 10]
    assert len(set.union(*people)) == 100
    main = parts[1]
    assert main.split_N is not None
    folds = [main.occurrence_NA[main.split_N == name] for name in ("fold0", "fold1", "fold2")]
    assert all((fold.sum(axis=0) > 0).all() for fold in folds)


def test_the_finder_finds_every_frame_of_some_shipped_clips(face_store):
    store = TrackStore.open(face_store)
    assert [store.num_frames(track) for track in range(store.num_tracks)] == [40] * 12
