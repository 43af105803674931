"""BP4D's real layout: columns by header, 9 left out, pictures by number, counts beside the published."""

import numpy as np
import pytest

from mien.datasets.base import PICTURE, DatasetError, check_counts
from mien.datasets.bp4d import Bp4d

AUS = Bp4d.action_units


def test_codes_land_under_their_action_units_and_nine_is_not_coded(tmp_path, bp4d_task):
    bp4d_task(tmp_path, "F001_T1", [{1, 12}, set(), {12, 24, 5}], hidden=(2,))
    frames = Bp4d(tmp_path).frames()
    assert frames.num_frames == 3
    assert frames.occurrence_NA[:, AUS.index(12)].tolist() == [1, 0, 1]
    assert frames.occurrence_NA[:, AUS.index(1)].tolist() == [1, 0, 0]
    assert frames.occurrence_NA[:, AUS.index(24)].tolist() == [0, 0, 1]
    assert np.isnan(frames.occurrence_NA[:, AUS.index(2)]).all()
    assert np.isnan(frames.occurrence_NA).sum() == 3


@pytest.mark.parametrize("digits", [4, 5, 0])
@pytest.mark.parametrize("sequences", ["Sequences(2D+3D)", "Sequences"])
def test_picture_names_may_be_padded_or_not(tmp_path, bp4d_task, digits, sequences):
    bp4d_task(tmp_path, "M018_T8", [set(), {1}], first=732, digits=digits, sequences=sequences)
    frames = Bp4d(tmp_path).frames()
    names = [f"{sequences}/M018/T8/{str(n).zfill(digits)}.jpg" for n in (732, 733)]
    assert frames.path_N.tolist() == names
    assert (frames.frame_N == PICTURE).all()
    assert frames.subject_N.tolist() == ["M018", "M018"]
    assert frames.seconds_N.tolist() == [732 / 25, 733 / 25]
    assert set(frames.videos().tolist()) == {f"{sequences}/M018/T8"}


@pytest.mark.parametrize("folder", ["AU_INT", "AU_INT/AU12"])
def test_intensities_are_read_from_either_place_by_frame_number(tmp_path, bp4d_task, write_rows, folder):
    bp4d_task(tmp_path, "F001_T1", [{12}, {12}, set()], first=10)
    write_rows(tmp_path / "AUCoding" / folder / "F001_T1_AU12.csv", [[11, 4], [10, 9], [12, 0]])
    intensity_NA = Bp4d(tmp_path).frames().intensity_NA
    assert np.isnan(intensity_NA[0, AUS.index(12)])
    assert intensity_NA[1:, AUS.index(12)].tolist() == [4, 0]
    assert np.isnan(intensity_NA[:, AUS.index(10)]).all()


def test_frames_without_a_picture_are_left_out(tmp_path, bp4d_task):
    bp4d_task(tmp_path, "F001_T1", [{1}, {2}, {4}], first=5)
    (tmp_path / "Sequences(2D+3D)/F001/T1/0006.jpg").unlink()
    frames = Bp4d(tmp_path).frames()
    assert frames.path_N.tolist() == [f"Sequences(2D+3D)/F001/T1/000{n}.jpg" for n in (5, 7)]
    assert frames.occurrence_NA[1, AUS.index(4)] == 1


def test_counts_that_differ_from_the_published_ones_are_told(tmp_path, bp4d_task):
    bp4d_task(tmp_path, "F001_T1", [{1}, set()])
    checks = check_counts(Bp4d(tmp_path).frames(), Bp4d.published)
    assert len(checks) == 2 + 12
    assert not any("as published" in check for check in checks)
    assert checks[0] == "frames: 2 found, 146,847 published: -146,845 against the published"
    assert checks[2].startswith("frames with AU1: 1 found, 31,042 published")


def test_a_cell_that_is_no_code_is_named_with_file_line_and_column(tmp_path, bp4d_task):
    bp4d_task(tmp_path, "F001_T1", [{1}, set()])
    path = tmp_path / "AUCoding/AU_OCC/F001_T1.csv"
    lines = path.read_text().splitlines()
    path.write_text("\n".join([*lines[:2], lines[2].replace(",0", ",3", 1)]))
    with pytest.raises(DatasetError, match=r"F001_T1.csv, line 3, column 1: found '3'; expected 0, 1, 9"):
        Bp4d(tmp_path).frames()


def test_a_file_without_the_numbered_header_is_refused(tmp_path, bp4d_task, write_rows):
    bp4d_task(tmp_path, "F001_T1", [{1}])
    write_rows(tmp_path / "AUCoding/AU_OCC/F001_T1.csv", [["frame", "AU1"], [1, 0]])
    with pytest.raises(DatasetError, match=r"F001_T1.csv: expected the columns 0, 1, 2"):
        Bp4d(tmp_path).frames()


def test_a_stray_file_name_is_refused(tmp_path, bp4d_task, write_rows):
    bp4d_task(tmp_path, "F001_T1", [{1}])
    write_rows(tmp_path / "AUCoding/AU_OCC/X1.csv", [[0]])
    with pytest.raises(DatasetError, match=r"expected a name like F001_T1.csv"):
        Bp4d(tmp_path).frames()


def test_missing_folders_say_what_they_should_be_called(tmp_path, bp4d_task):
    with pytest.raises(DatasetError, match="AUCoding/AU_OCC or AU_OCC"):
        Bp4d(tmp_path)
    (tmp_path / "AU_OCC").mkdir()
    with pytest.raises(DatasetError, match=r"Sequences\(2D\+3D\) or Sequences"):
        Bp4d(tmp_path)


def test_two_pictures_of_one_frame_are_refused(tmp_path, bp4d_task, touch):
    bp4d_task(tmp_path, "F001_T1", [{1}], first=7)
    touch(tmp_path / "Sequences(2D+3D)/F001/T1/007.jpg")
    with pytest.raises(DatasetError, match="is frame 7 too"):
        Bp4d(tmp_path).frames()
