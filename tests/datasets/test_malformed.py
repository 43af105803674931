"""Trees and tables as they come from torn downloads, spreadsheets and haste: what is said of each.

Every message names the file, the row where there is one, what was found and what was expected.
"""

import shutil

import pytest

from mien.datasets.base import DATASETS, DatasetError
from mien.datasets.table import Table

OCCURRENCE, SEQUENCE = "AUCoding/AU_OCC/F001_T1.csv", "Sequences(2D+3D)/F001/T1"
DISFA, RAFDB = "ActionUnit_Labels/SN001/SN001", "EmoLabel/list_patition_label.txt"
CASES = {
    "a file torn in the middle": (
        *("bp4d", OCCURRENCE, lambda text: "\n".join([*text.splitlines()[:2], "2441,0,0,1"])),
        r"AU_OCC/F001_T1\.csv, line 3: found 4 cells; expected 100",
    ),
    "a frame twice": (
        *("bp4d", OCCURRENCE, lambda text: text + text.splitlines()[1]),
        r"F001_T1\.csv, line 5: frame 2440 is already in line 2",
    ),
    "a third column": (
        *("bp4d", "AUCoding/AU_INT/F001_T1_AU12.csv", lambda text: "2440,3,1"),
        r"F001_T1_AU12\.csv, line 1: found 3 columns; expected two",
    ),
    "no folder of pictures": (
        *("bp4d", SEQUENCE, None),
        r"/F001/T1: No such file .*; expected a folder of pictures named by",
    ),
    "no picture": (
        *("bp4d", f"{SEQUENCE}/*.jpg", None),
        r"/F001/T1: no picture of any labelled frame; expected 2440\.jpg or 2440",
    ),
    "no file of an action unit": (
        *("disfa", f"{DISFA}_au9.txt", None),
        r"SN001_au9\.txt: No such file or directory; expected a table of labels",
    ),
    "a word for an intensity": (
        *("disfa", f"{DISFA}_au4.txt", lambda text: "1,0\n2,strong"),
        r"SN001_au4\.txt, line 2, column 2: found 'strong'; expected an intensity",
    ),
    "other frames": (
        *("disfa", f"{DISFA}_au9.txt", lambda text: "1,0\n3,0"),
        r"SN001_au9\.txt: frame 2 is in only one of this file and SN001_au1\.txt",
    ),
    "another word for a split": (
        *("gft", "split.csv", lambda text: text.replace("test", "validation")),
        r"split\.csv, line 3, column split: found 'validation'; expected train or test",
    ),
    "no frame numbers": (
        *("gft", "labels/001A.csv", lambda text: text.replace("frame", "time")),
        r"labels/001A\.csv: expected the columns frame; found AU1, .*, time",
    ),
    "a subject spelled in two ways": (
        *("gft", "split.csv", lambda text: text + "001a,test"),
        r"split\.csv, line 4, column subject: found '001a' where line 2 has",
    ),
    "a picture twice": (
        *("rafdb", RAFDB, lambda text: text + "train_00001.jpg 4"),
        r"label\.txt, line 3: train_00001 is already in line 1",
    ),
    "class zero": (
        *("rafdb", RAFDB, lambda text: text.replace("jpg 1", "jpg 0")),
        r"label\.txt, line 2, column label: found 'test_0001\.jpg 0'; expected .* a class from 1 to 7",
    ),
    "no validation": (
        *("affectnet", "validation.csv", None),
        r"validation\.csv: No such file or directory; expected a table of labels",
    ),
    "a class by name": (
        *("affectnet", "training.csv", lambda text: text + "1/b.jpg,Happy"),
        r"training\.csv, line 3, column expression: found 'Happy'; expected a",
    ),
}
"""Data set, file, its text as it should not be (None: it is gone), what is said."""


@pytest.fixture
def trees(tmp_path, write_rows, bp4d_task, disfa_subject, gft_subject):
    """A folder per set with a small whole tree."""
    bp4d_task(tmp_path / "bp4d", "F001_T1", [{1}, {12}, set()])
    write_rows(tmp_path / "bp4d/AUCoding/AU_INT/F001_T1_AU12.csv", [[2440, 3]])
    disfa_subject(tmp_path / "disfa", "SN001", {12: [0, 3]})
    for subject in ("001A", "001B"):
        gft_subject(tmp_path / "gft", subject, {au: [0, 1] for au in DATASETS.get("gft").action_units})
    write_rows(tmp_path / "gft/split.csv", [["subject", "split"], ["001A", "train"], ["001B", "test"]])
    write_rows(tmp_path / "rafdb" / RAFDB, [["train_00001.jpg 5"], ["test_0001.jpg 1"]])
    for name in ("train_00001", "test_0001"):
        write_rows(tmp_path / f"rafdb/Image/aligned/{name}_aligned.jpg", [])
    for name in ("training.csv", "validation.csv"):
        rows = [["subDirectory_filePath", "expression"], [f"{name[0]}/a.jpg", 1]]
        write_rows(tmp_path / "affectnet" / name, rows)
    return tmp_path


@pytest.mark.parametrize(("name", "file", "spoil", "message"), CASES.values(), ids=CASES)
def test_what_is_wrong_is_named_by_file_row_and_what_was_expected(trees, name, file, spoil, message):
    for path in sorted((trees / name).glob(file)):
        if spoil:
            path.write_text(spoil(path.read_text()))
        else:
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    with pytest.raises(DatasetError, match=message) as refused:
        DATASETS.get(name)(trees / name).frames()
    assert str(trees / name) in str(refused.value)


def test_the_trees_are_whole_before_they_are_spoiled(trees):
    num_frames = {"bp4d": 3, "disfa": 2, "gft": 4, "rafdb": 2, "affectnet": 2}
    assert {name: DATASETS.get(name)(trees / name).frames().num_frames for name in num_frames} == num_frames


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
