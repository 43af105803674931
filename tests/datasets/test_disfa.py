"""DISFA's real layout: a file an action unit, frames from 1, occurrence from intensity 2 on."""

import pytest

from mien.datasets.base import PICTURE, DatasetError
from mien.datasets.disfa import Disfa

AUS = Disfa.action_units


def test_intensity_one_is_absent_and_two_is_present(tmp_path, disfa_subject):
    disfa_subject(tmp_path, "SN001", {12: [0, 1, 2, 3, 4, 5], 9: [5, 0, 0, 0, 0, 1]})
    frames = Disfa(tmp_path).frames()
    assert frames.occurrence_NA[:, AUS.index(12)].tolist() == [0, 0, 1, 1, 1, 1]
    assert frames.occurrence_NA[:, AUS.index(9)].tolist() == [1, 0, 0, 0, 0, 0]
    assert frames.intensity_NA[:, AUS.index(12)].tolist() == [0, 1, 2, 3, 4, 5]


def test_the_first_label_belongs_to_the_first_frame_of_the_video(tmp_path, disfa_subject):
    disfa_subject(tmp_path, "SN001", {1: [0, 3]})
    frames = Disfa(tmp_path).frames()
    assert frames.frame_N.tolist() == [0, 1]
    assert frames.seconds_N.tolist() == [0, 0.05]
    assert set(frames.path_N.tolist()) == {"Videos_LeftCamera/LeftVideoSN001_comp.avi"}


def test_pictures_counted_from_zero_fit_labels_counted_from_one(tmp_path, disfa_subject):
    disfa_subject(tmp_path, "SN032", {25: [0, 5, 0]}, media="pictures")
    frames = Disfa(tmp_path).frames()
    assert frames.path_N.tolist() == ["SN032/0.png", "SN032/1.png", "SN032/2.png"]
    assert (frames.frame_N == PICTURE).all()
    assert frames.occurrence_NA[:, AUS.index(25)].tolist() == [0, 1, 0]


def test_several_subjects_keep_their_rows_apart(tmp_path, disfa_subject):
    disfa_subject(tmp_path, "SN001", {1: [5, 5]})
    disfa_subject(tmp_path, "SN002", {1: [0, 0, 0]})
    frames = Disfa(tmp_path).frames()
    assert frames.subject_N.tolist() == ["SN001"] * 2 + ["SN002"] * 3
    assert frames.occurrence_NA[:, 0].tolist() == [1, 1, 0, 0, 0]


def test_action_units_of_different_length_are_refused(tmp_path, disfa_subject, write_rows):
    disfa_subject(tmp_path, "SN001", {1: [0, 1]})
    write_rows(tmp_path / "ActionUnit_Labels/SN001/SN001_au9.txt", [[1, 0]])
    with pytest.raises(DatasetError, match=r"SN001_au9.txt: frame 2 is in only one .* SN001_au1.txt"):
        Disfa(tmp_path).frames()


def test_labels_without_video_or_pictures_say_what_is_missing(tmp_path, disfa_subject):
    disfa_subject(tmp_path, "SN001", {1: [0]})
    (tmp_path / "Videos_LeftCamera/LeftVideoSN001_comp.avi").unlink()
    with pytest.raises(DatasetError, match=r"labels of SN001, but neither"):
        Disfa(tmp_path).frames()


def test_frames_count_from_one(tmp_path, disfa_subject, write_rows):
    disfa_subject(tmp_path, "SN001", {1: [0]})
    write_rows(tmp_path / "ActionUnit_Labels/SN001/SN001_au1.txt", [[0, 0]])
    with pytest.raises(DatasetError, match="line 1, column 1: found '0'; expected a frame number from 1 on"):
        Disfa(tmp_path).frames()
