"""What is given becomes tables of different names; nothing is lost, nothing is taken twice."""

from __future__ import annotations

from pathlib import Path

import pytest

from mien.detect.media import MediaError, list_media


def touch(root, *names):
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")


def names(*given, **more):
    return {medium.name: [file.shown for file in medium.files] for medium in list_media(given, **more).media}


def test_a_folder_s_tree_is_mirrored(tmp_path):
    touch(tmp_path, "a/one.mp4", "b/one.mp4", "b/deep/two.MOV", "notes.txt", ".hidden.mp4")
    assert names(tmp_path) == {
        "a/one": ["a/one.mp4"],
        "b/deep/two": ["b/deep/two.MOV"],
        "b/one": ["b/one.mp4"],
    }
    assert list_media([tmp_path]).num_other_files == 1


def test_pictures_share_a_table(tmp_path):
    touch(tmp_path, "x/2.jpg", "x/1.PNG", "clip.avi")
    assert names(tmp_path) == {"clip": ["clip.avi"], "pictures": ["x/1.PNG", "x/2.jpg"]}


def test_names_that_differ_in_suffix_or_case_alone_stay_apart(tmp_path):
    touch(tmp_path, "clip.mp4", "clip.avi", "Clip.mov", "other.mp4")
    found = names(tmp_path)
    assert sorted(file for files in found.values() for file in files) == [
        "Clip.mov",
        "clip.avi",
        "clip.mp4",
        "other.mp4",
    ]
    assert set(found) == {"Clip.mov", "clip.avi", "clip.mp4", "other"}


def test_files_of_one_name_from_several_folders_are_named_from_above(tmp_path):
    touch(tmp_path, "a/one.mp4", "b/one.mp4")
    assert set(names(tmp_path / "a/one.mp4", tmp_path / "b/one.mp4")) == {"a/one", "b/one"}
    assert set(names(tmp_path / "a", tmp_path / "b")) == {"a/one", "b/one"}


def test_the_names_of_our_own_files_are_not_taken(tmp_path):
    touch(tmp_path, "pictures.mp4", "account.mp4", "face.png", "clip.mp4", "clip.avi", "clip.mp4.avi")
    found = names(tmp_path)
    assert len({name.casefold() for name in found}) == 6
    assert found["pictures"] == ["face.png"]
    assert "account" not in found


def test_a_file_given_twice_is_taken_once(tmp_path):
    touch(tmp_path, "a.mp4")
    (tmp_path / "link.mp4").symlink_to(tmp_path / "a.mp4")
    assert names(tmp_path, tmp_path / "a.mp4") == {"a": ["a.mp4"]}


def test_what_is_written_is_not_read(tmp_path):
    touch(tmp_path, "a.mp4", "out/a.annotated.mp4")
    assert names(tmp_path, leave_out=tmp_path / "out") == {"a": ["a.mp4"]}


def test_a_file_given_by_itself_is_taken_whatever_it_is_called(tmp_path):
    touch(tmp_path, "clip.dat")
    assert names(tmp_path / "clip.dat") == {"clip": ["clip.dat"]}


def test_names_full_of_odd_characters_stay_inside(tmp_path):
    touch(tmp_path, "a $(rm -rf) '\"<b>&.mp4", "..x.mp4")
    assert set(names(tmp_path)) == {"a $(rm -rf) '\"<b>&"}
    assert set(names(tmp_path / "..x.mp4")) == {"..x"}


def test_nothing_to_look_at_is_said(tmp_path):
    touch(tmp_path, "notes.txt")
    with pytest.raises(MediaError, match=r"no video or picture in .*other files: 1"):
        list_media([tmp_path])
    with pytest.raises(MediaError, match=r"gone\.mp4 does not exist"):
        list_media([tmp_path / "gone.mp4"])


def test_folders_named_by_way_of_a_parent_give_no_names_outside(tmp_path, monkeypatch):
    touch(tmp_path, "here/a/one.mp4", "b/one.mp4")
    monkeypatch.chdir(tmp_path / "here")
    assert set(names(Path("a"), Path("../b"))) == {"here/a/one", "b/one"}


def test_a_file_given_by_itself_is_taken_where_results_go(tmp_path):
    touch(tmp_path, "a.mp4", "a.annotated.mp4")
    assert names(tmp_path / "a.mp4", leave_out=tmp_path) == {"a": ["a.mp4"]}
    with pytest.raises(MediaError, match=r"nothing below .* is read"):
        list_media([tmp_path], leave_out=tmp_path)
