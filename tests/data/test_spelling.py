"""Names in another Unicode normal form or with backslashes, as other systems and their tables write them."""

from __future__ import annotations

import csv

import pytest

from mien.data.sources import SourceError, list_sources
from mien.data.spelling import spelt_as_on_disk
from mien.datasets.table import Table
from mien.detect.media import MediaError, list_media

COMPOSED, DECOMPOSED = "Jos\u00e9", "Jose\u0301"


@pytest.fixture(params=[(COMPOSED, DECOMPOSED), (DECOMPOSED, COMPOSED)])
def spelt(request, tmp_path):
    """A folder with one video, and the path that another system would write."""
    there, asked = request.param
    (tmp_path / there).mkdir()
    (tmp_path / there / f"{there}.mp4").touch()
    return tmp_path, f"{there}/{there}.mp4", f"{asked}/{asked}.mp4"


def test_a_source_is_found_by_either_normal_form(spelt):
    folder, there, asked = spelt
    (found,) = list_sources([folder / asked]).sources
    assert found.path == folder / there
    (medium,) = list_media([folder / asked]).media
    assert medium.files[0].path == folder / there
    (of_folder,) = list_sources([folder]).sources
    assert of_folder.identity == COMPOSED


@pytest.mark.parametrize("separator", ["/", "\\"])
def test_a_list_and_a_table_name_files_as_another_system_does(spelt, separator):
    folder, there, asked = spelt
    asked = asked.replace("/", separator)
    with (folder / "list.csv").open("w", newline="") as file:
        csv.writer(file).writerows([["path", "identity"], [asked, DECOMPOSED]])
    (found,) = list_sources([folder / "list.csv"]).sources
    assert (found.path, found.identity) == (folder / there, COMPOSED)
    with (folder / "labels.csv").open("w", newline="") as file:
        csv.writer(file).writerows([["path", "subject", "frame", "AU12"], [asked, "s", 0, 1]])
    assert Table(folder / "labels.csv").frames().path_N.tolist() == [there]


def test_an_exact_name_goes_before_one_of_another_form(tmp_path):
    for name in (COMPOSED, DECOMPOSED):
        (tmp_path / name).touch()
    for name in (COMPOSED, DECOMPOSED):
        assert spelt_as_on_disk(tmp_path / name) == tmp_path / name


def test_a_backslash_that_belongs_to_a_name_stays(tmp_path):
    (tmp_path / "a\\b.mp4").touch()
    (tmp_path / "a").mkdir()
    (tmp_path / "a/b.mp4").touch()
    assert spelt_as_on_disk(tmp_path / "a\\b.mp4") == tmp_path / "a\\b.mp4"


def test_a_name_that_only_looks_alike_is_shown_by_its_letters(tmp_path):
    (tmp_path / "\u0441lip.mp4").touch()  # a Cyrillic letter
    says = r"clip.mp4 does not exist; 'clip.mp4' is asked for, there is '\\u0441lip.mp4'"
    with pytest.raises(SourceError, match=says):
        list_sources([tmp_path / "clip.mp4"])
    with pytest.raises(MediaError, match=says):
        list_media([tmp_path / "clip.mp4"])


def test_a_name_behind_backslashes_is_compared_with_those_in_its_folder(tmp_path):
    (tmp_path / "in").mkdir()
    (tmp_path / "in/clip.mp4").touch()
    with pytest.raises(MediaError, match=r"'clap.mp4' is asked for, there is 'clip.mp4'"):
        list_media([tmp_path / "in\\clap.mp4"])


def test_a_name_too_long_for_any_file_is_not_there(tmp_path):
    assert spelt_as_on_disk(tmp_path / ("x" * 300)) == tmp_path / ("x" * 300)
