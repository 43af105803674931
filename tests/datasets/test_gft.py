"""GFT's real layout: columns by name, the user's file of the official partition."""

import numpy as np
import pytest

from mien.datasets.base import PICTURE, DatasetError
from mien.datasets.gft import Gft, read_split

AUS = Gft.action_units


@pytest.fixture
def tree(tmp_path, gft_subject, write_rows):
    codes = {au: [0, 0, 0] for au in reversed(AUS)}
    gft_subject(tmp_path, "001A", codes | {12: [1, 9, 0], 5: [1, 1, 1]})
    gft_subject(tmp_path, "001B", codes | {24: [0, 1, 1]}, prefix="")
    write_rows(tmp_path / "split.csv", [["subject", "split"], ["001A", "train"], ["001B", "test"]])
    return tmp_path


def test_columns_are_found_by_name_in_any_order(tree):
    frames = Gft(tree).frames()
    assert frames.occurrence_NA[:3, AUS.index(12)].tolist()[::2] == [1, 0]
    assert np.isnan(frames.occurrence_NA[1, AUS.index(12)])
    assert frames.occurrence_NA[3:, AUS.index(24)].tolist() == [0, 1, 1]
    assert np.isnan(frames.occurrence_NA).sum() == 1


def test_the_users_partition_becomes_the_split(tree):
    frames = Gft(tree).frames()
    assert frames.split_N.tolist() == ["train"] * 3 + ["test"] * 3
    assert frames.frame_N.tolist() == [0, 1, 2] * 2


def test_labels_that_start_at_frame_zero_count_from_zero(tree, gft_subject):
    gft_subject(tree, "001A", {au: [0, 1] for au in AUS}, first=0)
    assert Gft(tree).frames().frame_N[:2].tolist() == [0, 1]


def test_pictures_serve_in_place_of_a_video(tree, gft_subject):
    (tree / "videos/001A.mp4").unlink()
    gft_subject(tree, "001A", {au: [0, 1] for au in AUS}, first=40, media="pictures")
    frames = Gft(tree).frames()
    assert frames.path_N[:2].tolist() == ["frames/001A/00040.jpg", "frames/001A/00041.jpg"]
    assert (frames.frame_N[:2] == PICTURE).all()


def test_a_missing_partition_says_what_to_write(tree):
    (tree / "split.csv").unlink()
    with pytest.raises(DatasetError, match=r"split.csv: no such file.*`subject,split`, one line per subject"):
        Gft(tree)


def test_a_subject_in_both_parts_is_refused(tree, write_rows):
    path = write_rows(tree / "split.csv", [["subject", "split"], ["001A", "train"], ["001A", "test"]])
    with pytest.raises(DatasetError, match=r"line 3, column split: found 'test' where line 2 has 'train'"):
        read_split(path)


def test_a_subject_without_a_line_in_the_partition_is_refused(tree, write_rows):
    write_rows(tree / "split.csv", [["subject", "split"], ["001A", "train"]])
    with pytest.raises(DatasetError, match="no line for subject 001B"):
        Gft(tree).frames()


def test_a_missing_action_unit_is_named(tree, gft_subject):
    gft_subject(tree, "001A", {au: [0] for au in AUS if au != 15})
    with pytest.raises(DatasetError, match=r"001A.csv: expected the columns AU15"):
        Gft(tree).frames()
