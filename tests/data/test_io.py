from __future__ import annotations

import errno
import os
import pickle
import shutil

import pytest
from planted_tracking import PlantedTracking

from mien.data.parts import Fingerprint
from mien.data.sources import Source
from mien.data.store_writer import JpegSettings, write_video
from mien.io import WriteError, only_one, replacing, write_bytes


def test_a_temporary_that_vanished_leaves_the_file_as_it_was(tmp_path):
    path = tmp_path / "a.bin"
    path.write_bytes(b"old")
    with (
        pytest.raises(WriteError, match=r"cannot write .*a\.bin"),
        replacing(path, temporary_folder=tmp_path / "tmp") as temporary,
    ):
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

    with pytest.raises(WriteError):
        write(store, video, cleared_half_way())
    assert (store / "crops/a.mp4.tar").read_bytes() == before


def test_a_video_without_a_face_has_no_crops(plant, tmp_path):
    video, store = plant(tmp_path / "a.mp4", "." * 5), tmp_path / "store"
    assert write(store, video, PlantedTracking()(video)).num_crops == 0
    assert not list(store.glob("crops/*"))


def limited(monkeypatch, code):
    """From here on no file takes a byte, as on a full disk, say."""

    def refuse(*_given):
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr("mien.io.os.fsync", refuse)


@pytest.mark.parametrize(
    ("code", "says"),
    [
        (errno.ENOSPC, "No space left on device. Make room, then run the same command again"),
        (errno.EIO, "Input/output error. Check the disk, then run the same command again"),
    ],
)
def test_a_disk_that_refuses_names_the_file_and_the_way_out(tmp_path, monkeypatch, code, says):
    limited(monkeypatch, code)
    with pytest.raises(WriteError) as refused:
        write_bytes(tmp_path / "page.html", b"content", temporary_folder=tmp_path / "tmp")
    assert str(refused.value).startswith(f"cannot write {tmp_path / 'page.html'}: {says}")
    assert not refused.value.is_of_one_name
    assert not list(tmp_path.rglob("*.*"))


@pytest.mark.parametrize(
    ("name", "says"),
    [
        (
            "x" * 300,
            "File name too long. Its name is too long for this disk: give the source a",
        ),
        ("folder", "Is a directory. A file stands where a folder is needed, or a folder where a file is"),
        ("file/x", "Not a directory. A file stands where a folder is needed, or a folder where a file is"),
    ],
)
def test_a_name_that_cannot_be_used_is_told_before_anything_is_written(tmp_path, name, says):
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").touch()
    with pytest.raises(WriteError) as refused, replacing(tmp_path / name, temporary_folder=tmp_path):
        pytest.fail("the body ran")
    assert str(refused.value).startswith(f"cannot write {tmp_path / name}: {says}")
    copy = pickle.loads(pickle.dumps(refused.value))
    assert (str(copy), copy.is_of_one_name) == (str(refused.value), True)


def test_an_error_about_another_file_keeps_its_name(tmp_path):
    with (
        pytest.raises(FileNotFoundError, match=r"missing\.csv"),
        replacing(tmp_path / "a", temporary_folder=tmp_path / "tmp"),
    ):
        (tmp_path / "missing.csv").read_bytes()


def test_a_lock_whose_file_was_removed_lets_go_of_no_other_one(tmp_path):
    lock = tmp_path / "table.lock"
    first, second = (only_one(lock, refusal=RuntimeError(name)) for name in ("first", "second"))
    first.__enter__()
    lock.unlink()
    second.__enter__()
    first.__exit__(None, None, None)
    with pytest.raises(RuntimeError, match="third"), only_one(lock, refusal=RuntimeError("third")):
        pass
    second.__exit__(None, None, None)
