"""Trees and tables as they come from torn downloads, spreadsheets and haste: what is said of each.

Every message names the file, the row where there is one, what was found and what was expected.
"""

import pytest

from mien.datasets.affectnet import AffectNet
from mien.datasets.base import DatasetError
from mien.datasets.bp4d import Bp4d
from mien.datasets.disfa import Disfa
from mien.datasets.gft import Gft
from mien.datasets.rafdb import RafDb
from mien.datasets.table import Table

GFT_SPLIT = [["subject", "split"], ["001A", "train"], ["001B", "test"]]


def bp4d_file_torn_in_the_middle(make):
    path = make.bp4d() / "AUCoding/AU_OCC/F001_T1.csv"
    path.write_text("\n".join([*path.read_text().splitlines()[:2], "2441,0,0,1"]))
    return Bp4d


def bp4d_frame_twice(make):
    path = make.bp4d() / "AUCoding/AU_OCC/F001_T1.csv"
    lines = path.read_text().splitlines()
    path.write_text("\n".join([*lines, lines[1]]))
    return Bp4d


def bp4d_intensity_with_a_third_column(make):
    make.rows(make.bp4d() / "AUCoding/AU_INT/F001_T1_AU12.csv", [[2440, 3, 1]])
    return Bp4d


def bp4d_without_the_pictures_of_a_task(make):
    folder = make.bp4d() / "Sequences(2D+3D)/F001/T1"
    for picture in folder.iterdir():
        picture.unlink()
    folder.rmdir()
    return Bp4d


def bp4d_without_a_single_picture(make):
    for picture in (make.bp4d() / "Sequences(2D+3D)/F001/T1").iterdir():
        picture.unlink()
    return Bp4d


def disfa_without_an_action_unit(make):
    (make.disfa() / "ActionUnit_Labels/SN001/SN001_au9.txt").unlink()
    return Disfa


def disfa_with_a_word(make):
    make.rows(make.disfa() / "ActionUnit_Labels/SN001/SN001_au4.txt", [[1, 0], [2, "strong"]])
    return Disfa


def disfa_labels_of_other_frames(make):
    make.rows(make.disfa() / "ActionUnit_Labels/SN001/SN001_au9.txt", [[1, 0], [3, 0]])
    return Disfa


def gft_split_of_another_word(make):
    make.rows(make.gft() / "split.csv", [*GFT_SPLIT[:2], ["001B", "validation"]])
    return Gft


def gft_labels_without_a_frame(make):
    path = make.gft() / "labels/001A.csv"
    path.write_text(path.read_text().replace("frame", "time"))
    return Gft


def gft_subject_spelled_in_two_ways(make):
    make.rows(make.gft() / "split.csv", [*GFT_SPLIT, ["001a", "test"]])
    return Gft


def rafdb_picture_twice(make):
    make.rafdb(["train_00001.jpg 5", "test_0001.jpg 1", "train_00001.jpg 4"])
    return RafDb


def rafdb_class_zero(make):
    make.rafdb(["train_00001.jpg 5", "test_0001.jpg 0"])
    return RafDb


def affectnet_without_validation(make):
    make.rows(make.root / "training.csv", [["subDirectory_filePath", "expression"], ["1/a.jpg", 1]])
    return AffectNet


def affectnet_with_a_named_class(make):
    header = ["subDirectory_filePath", "expression"]
    make.rows(make.root / "training.csv", [header, ["1/a.jpg", 1], ["1/b.jpg", "Happy"]])
    return AffectNet


CASES = {
    bp4d_file_torn_in_the_middle: r"AU_OCC/F001_T1\.csv, line 3: found 4 cells; expected 100",
    bp4d_frame_twice: r"F001_T1\.csv, line 5, column 0: frame 2440 is already in line 2",
    bp4d_intensity_with_a_third_column: r"F001_T1_AU12\.csv, line 1: found 3 columns; expected two",
    bp4d_without_the_pictures_of_a_task: r"/F001/T1: No such file .*; expected a folder of pictures named by",
    bp4d_without_a_single_picture: r"/F001/T1: no picture of any labelled frame; expected 2440\.jpg or 2440",
    disfa_without_an_action_unit: r"SN001_au9\.txt: No such file or directory; expected a table of labels",
    disfa_with_a_word: r"SN001_au4\.txt, line 2, column 2: found 'strong'; expected an intensity",
    disfa_labels_of_other_frames: r"SN001_au9\.txt: row 2 is frame 3; expected frame 2, as in SN001_au1\.txt",
    gft_split_of_another_word: r"split\.csv, line 3: found split 'validation'; expected train or test",
    gft_labels_without_a_frame: r"labels/001A\.csv: expected the column frame; found AU1, .*, time",
    gft_subject_spelled_in_two_ways: r"split\.csv, line 4, column subject: found '001a' where line 2 has",
    rafdb_picture_twice: r"label\.txt, line 3: train_00001\.jpg is already in line 1",
    rafdb_class_zero: r"label\.txt, line 2: found 'test_0001\.jpg 0'; expected .* a class from 1 to 7",
    affectnet_without_validation: r"validation\.csv: No such file or directory; expected a table of labels",
    affectnet_with_a_named_class: r"training\.csv, line 3, column expression: found 'Happy'; expected a",
}


class Trees:
    """Small whole trees below `root`, to be spoiled."""

    def __init__(self, root, rows, touch, *subjects):
        self.root, self.rows, self.touch = root, rows, touch
        self._bp4d_task, self._disfa_subject, self._gft_subject = subjects

    def bp4d(self):
        self._bp4d_task(self.root, "F001_T1", [{1}, {12}, set()])
        return self.root

    def disfa(self):
        self._disfa_subject(self.root, "SN001", {12: [0, 3]})
        return self.root

    def gft(self):
        for subject in ("001A", "001B"):
            self._gft_subject(self.root, subject, {au: [0, 1] for au in Gft.action_units})
        self.rows(self.root / "split.csv", GFT_SPLIT)
        return self.root

    def rafdb(self, lines):
        path = self.root / "EmoLabel/list_patition_label.txt"
        path.parent.mkdir()
        path.write_text("\n".join(lines))
        self.touch(*(self.root / f"Image/aligned/{line.split('.')[0]}_aligned.jpg" for line in lines))


@pytest.fixture
def make(tmp_path, write_rows, touch, request):
    subjects = map(request.getfixturevalue, ("bp4d_task", "disfa_subject", "gft_subject"))
    return Trees(tmp_path, write_rows, touch, *subjects)


@pytest.mark.parametrize(("spoil", "message"), CASES.items(), ids=lambda case: getattr(case, "__name__", ""))
def test_what_is_wrong_is_named_by_file_row_and_what_was_expected(make, spoil, message, tmp_path):
    read = spoil(make)
    with pytest.raises(DatasetError, match=message) as refused:
        read(tmp_path).frames()
    assert str(tmp_path) in str(refused.value)


def test_the_trees_are_whole_before_they_are_spoiled(make, tmp_path):
    assert Bp4d(make.bp4d()).frames().num_frames == 3
    assert Disfa(make.disfa()).frames().num_frames == 2
    assert Gft(make.gft()).frames().num_frames == 4
    make.rafdb(["train_00001.jpg 5", "test_0001.jpg 1"])
    assert RafDb(tmp_path).frames().num_frames == 2


TABLES = {
    "semicolons": (
        b"path;subject;AU12\na.jpg;p;1\n",
        "expected the columns path, subject; found path;subject;AU12; sep",
    ),
    "another encoding": (
        "path,subject".encode("utf-16"),
        "expected comma-separated text in UTF-8; .*byte 0xff in position 0",
    ),
    "a longer row": (
        b"path,subject,AU12\na.jpg,p,1\n\nb.jpg,Mueller, Ann,1\n",
        "line 4: found 4 cells; expected 3",
    ),
    "a column twice": (
        b"path,subject,AU12,AU12\na.jpg,p,1,0\n",
        "line 1: two columns are called AU12; expected one",
    ),
    "a decimal comma": (
        b'path,subject,AU12\na.jpg,p,"2,5"\n',
        "line 2, column AU12: found '2,5'; expected an intensity",
    ),
}


@pytest.mark.parametrize(("content", "message"), TABLES.values(), ids=TABLES)
def test_a_table_that_cannot_be_read_is_named_with_its_line(tmp_path, content, message):
    (tmp_path / "t.csv").write_bytes(content)
    with pytest.raises(DatasetError, match=rf"/t\.csv[:,] {message}"):
        Table(tmp_path / "t.csv", occurs_at=2).frames()


def test_a_folder_and_a_file_of_another_format_are_no_tables(tmp_path):
    with pytest.raises(DatasetError, match=r": a folder; expected a \.csv or \.parquet table"):
        Table(tmp_path)
    (tmp_path / "t.parquet").write_text("path,subject,AU12\n")
    with pytest.raises(DatasetError, match=r"t\.parquet: not a Parquet table"):
        Table(tmp_path / "t.parquet").frames()
