from __future__ import annotations

import os
import re
import tempfile
from pathlib import Path

import pytest

from mien.data.sources import Shard, SourceError, list_sources, voxceleb_names


def touch(*paths: Path) -> None:
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")


def named(*given: Path) -> dict[str, str]:
    return {source.video: source.identity for source in list_sources(given).sources}


@pytest.mark.parametrize("prefix", ["", "vox2_"])
def test_a_voxceleb_tree_gives_identity_video_and_utterance(tmp_path, prefix):
    file = tmp_path / f"dev/mp4/{prefix}id00012/21Uxsk56VDQ/00001.mp4"
    touch(file)
    expected = {"id00012/21Uxsk56VDQ/00001": "id00012"}
    assert named(tmp_path) == named(tmp_path / "dev/mp4") == named(file.parent) == named(file) == expected


def test_what_only_looks_like_voxceleb_is_none():
    assert voxceleb_names(Path("/data/id00012/21Uxsk56VDQ/interview.mp4")) is None
    assert voxceleb_names(Path("/data/anna/21Uxsk56VDQ/00001.mp4")) is None


def test_in_another_tree_the_sub_folder_is_the_identity(tmp_path):
    touch(tmp_path / "anna/a.mp4", tmp_path / "anna/deep/b.mkv", tmp_path / "ben/a.mp4")
    assert named(tmp_path) == {"anna/a.mp4": "anna", "anna/deep/b.mkv": "anna", "ben/a.mp4": "ben"}


def test_files_without_a_sub_folder_are_a_person_each(tmp_path):
    touch(tmp_path / "a.mp4", tmp_path / "a.mov")
    assert named(tmp_path) == {"a.mp4": "a.mp4", "a.mov": "a.mov"}
    assert named(tmp_path / "a.mp4") == {"a.mp4": "a.mp4"}


def test_only_videos_are_taken_and_the_others_counted(tmp_path):
    touch(*(tmp_path / name for name in ("A.MP4", "notes.txt", "a.jpg", ".hidden.mp4", ".cache/b.mp4")))
    listing = list_sources([tmp_path])
    assert [source.video for source in listing.sources] == ["A.MP4"]
    assert listing.num_other_files == 2


def test_a_csv_names_files_and_whose_they_are(tmp_path):
    touch(tmp_path / "x/one.mp4", tmp_path / "two.mp4")
    table = tmp_path / "people.csv"
    table.write_text("path,identity,note\nx/one.mp4,anna,\ntwo.mp4,,unknown\n")
    assert named(table) == {"x/one.mp4": "anna", "two.mp4": "two.mp4"}


def test_a_csv_overrides_the_identity_that_the_path_gives(tmp_path):
    touch(tmp_path / "videos/s1/a.mp4", tmp_path / "videos/s2/b.mp4")
    table = tmp_path / "people.csv"
    table.write_text(f"path,identity\n{tmp_path}/videos/s2/b.mp4,anna\n")
    expected = {"s1/a.mp4": "s1", "s2/b.mp4": "anna"}
    assert named(tmp_path / "videos", table) == named(table, tmp_path / "videos") == expected


def test_a_row_without_an_identity_is_a_person_of_its_own(tmp_path):
    touch(tmp_path / "videos/a.mp4", tmp_path / "videos/b.mp4", tmp_path / "lists/people.csv")
    for table, folder in (("people.csv", "videos"), ("lists/people.csv", f"{tmp_path}/videos")):
        (tmp_path / table).write_text(f"path,identity\n{folder}/a.mp4,\n{folder}/b.mp4,\n")
        assert len(set(named(tmp_path / table).values())) == 2
    (tmp_path / "people.csv").write_text(f"path\n{tmp_path}/videos/a.mp4\n")
    assert named(tmp_path / "people.csv") == {"videos/a.mp4": "videos/a.mp4"}


def test_a_row_without_an_identity_that_is_of_voxceleb_has_that_of_its_tree(tmp_path):
    file = tmp_path / "mp4/id00012/21Uxsk56VDQ/00001.mp4"
    touch(file, tmp_path / "lists/people.csv")
    (tmp_path / "lists/people.csv").write_text(f"path,identity\n{file},\n")
    assert named(tmp_path / "lists/people.csv") == {"id00012/21Uxsk56VDQ/00001": "id00012"}


def test_a_row_without_an_identity_takes_none_from_a_folder_beside(tmp_path):
    touch(tmp_path / "videos/anna/a.mp4")
    (tmp_path / "people.csv").write_text("path,identity\nvideos/anna/a.mp4,\n")
    assert named(tmp_path / "people.csv", tmp_path / "videos") == {"anna/a.mp4": "anna"}


def taken_from(*given: Path, identities: str = "") -> str:
    return list_sources(given, identities=identities).in_words()


def test_what_identities_were_taken_from_is_said(tmp_path):
    touch(tmp_path / "flat/P01_a.mp4", tmp_path / "flat/P01_b.mp4", tmp_path / "tree/anna/a.mp4")
    flat = "2 identities, taken from file names: each such file counts as another person unless --identities"
    assert flat in taken_from(tmp_path / "flat")
    assert taken_from(tmp_path / "tree").endswith("1 identities, taken from sub-folders")
    touch(tmp_path / "id00012/21Uxsk56VDQ/00001.mp4", tmp_path / "people.csv")
    (tmp_path / "people.csv").write_text("path,identity\nflat/P01_a.mp4,anna\n")
    mixed = taken_from(tmp_path, tmp_path / "people.csv")
    expected = "a VoxCeleb2 tree (1 of 4 files), people.csv (1 of 4 files), sub-folders (2 of 4 files)"
    assert f"4 videos of 4 identities, taken from {expected}" in mixed


def test_a_pattern_gives_the_identities_of_a_flat_folder(tmp_path):
    touch(*(tmp_path / "P99" / name for name in ("P01_a.mp4", "P01_b.mp4", "P02_a.mp4")))
    sources = list_sources([tmp_path / "P99"], identities=r"(P\d+)_").sources
    assert [source.identity for source in sources] == ["P01", "P01", "P02"]
    assert taken_from(tmp_path / "P99", identities=r"(P\d+)_") == (
        r"3 videos of 2 identities, taken from the pattern (P\d+)_"
    )


def test_a_csv_of_identities_adds_no_videos(tmp_path):
    touch(tmp_path / "videos/s1/a.mp4", tmp_path / "videos/s2/b.mp4", tmp_path / "other/c.mp4")
    table = tmp_path / "people.csv"
    table.write_text("path,identity\nvideos/s1/a.mp4,anna\nvideos/s2/b.mp4,anna\nother/c.mp4,ben\n")
    sources = list_sources([tmp_path / "videos"], identities=str(table)).sources
    assert {source.video: source.identity for source in sources} == {"s1/a.mp4": "anna", "s2/b.mp4": "anna"}


@pytest.mark.parametrize(
    ("identities", "says"),
    [
        (r"(P\d+)_", "gives none for b.mp4, nor for 1 others"),
        (r"P\d+_", "expected a CSV, or a pattern with one group"),
        (r"(P)(\d+)", "expected a CSV, or a pattern with one group"),
        (r"(P", "not a regular expression"),
        ("people.csv", "gives none for b.mp4, nor for 1 others"),
    ],
)
def test_a_file_left_without_an_identity_is_an_error(tmp_path, monkeypatch, identities, says):
    monkeypatch.chdir(tmp_path)
    touch(*(tmp_path / "videos" / name for name in ("P01_a.mp4", "b.mp4", "c.mp4")))
    Path("people.csv").write_text("path,identity\nvideos/P01_a.mp4,anna\nvideos/b.mp4,\n")
    with pytest.raises(SourceError, match=re.escape(says)):
        list_sources([tmp_path / "videos"], identities=identities)


def test_names_from_a_csv_stay_inside_the_store(tmp_path):
    touch(tmp_path / "elsewhere/a.mp4")
    table = tmp_path / "lists/people.csv"
    touch(table)
    table.write_text("path,identity\n../elsewhere/a.mp4,anna\n")
    (video,) = named(table)
    assert ".." not in video
    assert not video.startswith("/")


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("file,person\na.mp4,anna\n", "path,identity"),
        ("path,identity\na.mp4,anna\na.mp4,ben\n", "line 3.*line 2 already"),
        ("path,identity\nb.mp4,anna\n", "line 2.*b.mp4 does not exist"),
        ("path,identity\n,anna\n", "line 2.*empty"),
    ],
)
def test_a_wrong_csv_is_told_with_its_line(tmp_path, content, says):
    touch(tmp_path / "a.mp4")
    table = tmp_path / "people.csv"
    table.write_text(content)
    with pytest.raises(SourceError, match=f"(?s)people.csv.*{says}"):
        list_sources([table])


def test_the_same_file_given_twice_is_one_video(tmp_path):
    touch(tmp_path / "a.mp4")
    assert named(tmp_path, tmp_path / "a.mp4", tmp_path) == {"a.mp4": "a.mp4"}


@pytest.mark.parametrize(
    ("one", "other", "name"),
    [
        ("id00001/abc/00001.mp4", "id00001/abc/00001.mpg", "id00001/abc/00001"),
        ("x/anna/a.mp4", "y/anna/a.mp4", "anna/a.mp4"),
    ],
)
def test_two_files_of_one_name_are_refused(tmp_path, one, other, name):
    touch(tmp_path / one, tmp_path / other)
    with pytest.raises(SourceError, match=f"would both be called '{name}'.*the folder above both"):
        list_sources([tmp_path / "x", tmp_path / "y"] if one.startswith("x") else [tmp_path])


def test_what_is_missing_or_empty_is_told(tmp_path):
    with pytest.raises(SourceError, match=r"nowhere\.mp4 does not exist"):
        list_sources([tmp_path / "nowhere.mp4"])
    touch(tmp_path / "a.txt")
    with pytest.raises(SourceError, match=r"no video in .*other files: 1"):
        list_sources([tmp_path])


def test_a_folder_that_cannot_be_read_is_named():
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        root.chmod(0o755)
        closed = root / "closed"
        closed.mkdir()
        closed.chmod(0)
        is_root = os.geteuid() == 0
        if is_root:
            os.seteuid(65534)
        try:
            with pytest.raises(SourceError, match=r"cannot read the folder .*closed: Permission denied"):
                list_sources([root])
        finally:
            if is_root:
                os.seteuid(0)
            closed.chmod(0o755)


def test_a_name_in_another_encoding_is_written_with_escapes(tmp_path):
    touch(tmp_path / os.fsdecode(b"caf\xe9.mp4"))
    assert named(tmp_path) == {"caf\\udce9.mp4": "caf\\udce9.mp4"}


def test_a_link_that_leads_back_up_ends(tmp_path):
    touch(tmp_path / "a/b.mp4")
    (tmp_path / "a/up").symlink_to(tmp_path)
    assert named(tmp_path) == {"a/b.mp4": "a"}


@pytest.mark.parametrize("count", [1, 2, 3, 7, 20])
def test_the_shards_are_disjoint_and_make_up_the_whole(tmp_path, count):
    touch(*(tmp_path / f"{number:02d}.mp4" for number in range(11)))
    sources = list_sources([tmp_path]).sources
    shares = [Shard(number, count).of(sources) for number in range(1, count + 1)]
    assert sorted(source.video for share in shares for source in share) == [s.video for s in sources]
    assert max(map(len, shares)) - min(map(len, shares)) <= 1


@pytest.mark.parametrize("text", ["0/3", "4/3", "3", "a/b", "1/2/3", "-1/2"])
def test_a_shard_that_is_none_is_refused(text):
    with pytest.raises(SourceError, match="expected i/n"):
        Shard.parse(text)
