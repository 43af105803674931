from __future__ import annotations

import shutil

import pytest
from planted_tracking import PlantedTracking

from mien.data.atomic import StoreWriteError, replacing
from mien.data.parts import Fingerprint
from mien.data.sources import Source
from mien.data.store_writer import JpegSettings, write_video


def test_a_temporary_that_vanished_leaves_the_file_as_it_was(tmp_path):
    path = tmp_path / "a.bin"
    path.write_bytes(b"old")
    with pytest.raises(FileNotFoundError), replacing(path, temporary_folder=tmp_path / "tmp") as temporary:
        temporary.write_bytes(b"new")
        shutil.rmtree(tmp_path / "tmp")
    assert path.read_bytes() == b"old"


def write(store, video, looked_at):
    source = Source(video, video.name, video.name, video.name)
    fingerprint = Fingerprint.take(video)
    return write_video(
        store, source, looked_at, fingerprint=fingerprint, frames_per_second=25.0, jpeg=JpegSettings()
    )


def test_a_process_left_behind_removes_no_crops_when_its_temporaries_are_cleared(plant, tmp_path):
    video, store = plant(tmp_path / "a.mp4", "L" * 10), tmp_path / "store"
    write(store, video, PlantedTracking()(video))
    before = (store / "crops/a.mp4.tar").read_bytes()

    def cleared_half_way():
        for number, looked in enumerate(PlantedTracking()(video)):
            if number == 5:
                shutil.rmtree(store / "tmp")
                (store / "tmp").mkdir()
            yield looked

    with pytest.raises(StoreWriteError):
        write(store, video, cleared_half_way())
    assert (store / "crops/a.mp4.tar").read_bytes() == before


def test_a_video_without_a_face_has_no_crops(plant, tmp_path):
    video, store = plant(tmp_path / "a.mp4", "." * 5), tmp_path / "store"
    assert write(store, video, PlantedTracking()(video)).num_crops == 0
    assert not list(store.glob("crops/*"))
