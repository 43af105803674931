"""RAF-DB and AffectNet: both releases, classes by name, the wrong set refused by name."""

import numpy as np
import pytest

from mien.datasets.affectnet import AFFECTNET_EXPRESSIONS, AffectNet
from mien.datasets.base import DatasetError, check_counts
from mien.datasets.rafdb import RAFDB_EXPRESSIONS, RafDb


@pytest.fixture
def rafdb(tmp_path, touch):
    def write(lines, *, picture="Image/aligned/{}_aligned.jpg"):
        path = tmp_path / "EmoLabel" / "list_patition_label.txt"
        path.parent.mkdir(exist_ok=True)
        path.write_text("\n".join(lines) + "\n")
        for line in lines:
            touch(tmp_path / picture.format(line.split(".")[0]))
        return tmp_path

    return write


@pytest.mark.parametrize("picture", ["Image/aligned/{}_aligned.jpg", "Image/original/{}.jpg"])
def test_rafdb_reads_classes_and_split(rafdb, picture):
    lines = ["train_00001.jpg 5", "train_00002.jpg 1", "test_0001.jpg 7"]
    frames = RafDb(rafdb(lines, picture=picture)).frames()
    assert [RAFDB_EXPRESSIONS[k] for k in frames.expression_N] == ["Sad", "Surprise", "Neutral"]
    assert frames.split_N.tolist() == ["train", "train", "test"]
    assert frames.path_N[2] == picture.format("test_0001")
    assert frames.occurrence_NA.shape == (3, 0)


@pytest.mark.parametrize("lines", [["train_0001.jpg 3", "test_0001.jpg 1"], ["train_00001.jpg 11"]])
def test_the_compound_set_is_recognised_and_refused(rafdb, lines):
    with pytest.raises(DatasetError, match="compound set of RAF-DB"):
        RafDb(rafdb(lines)).frames()


def test_a_missing_picture_of_rafdb_is_named(rafdb):
    root = rafdb(["train_00001.jpg 5"])
    (root / "Image/aligned/train_00001_aligned.jpg").unlink()
    with pytest.raises(DatasetError, match="train_00001 is labelled, but neither"):
        RafDb(root).frames()


def test_rafdb_counts_are_checked_by_split(rafdb):
    checks = check_counts(RafDb(rafdb(["train_00001.jpg 5", "test_0001.jpg 1"])).frames(), RafDb.published)
    assert [check.rpartition(":")[0] for check in checks if "in t" in check] == [
        "frames in train: 1 found, 12,271 published",
        "frames in test: 1 found, 3,068 published",
    ]


@pytest.fixture
def affectnet_old(tmp_path, write_rows):
    header = "subDirectory_filePath,face_x,face_y,face_width,face_height,facial_landmarks,expression,valence"

    def write(classes_by_file):
        for number, (name, classes) in enumerate(classes_by_file.items()):
            rows = [[f"{number}/{k}.jpg", 0, 0, 9, 9, "1;2", label, 0.1] for k, label in enumerate(classes)]
            write_rows(tmp_path / name, [header.split(","), *rows])
        return tmp_path

    return write


def test_the_old_affectnet_keeps_the_seven_classes_only(affectnet_old):
    frames = AffectNet(affectnet_old({"training.csv": [0, 7, 6, 10, 1], "validation.csv": [3]})).frames()
    assert " ".join(AFFECTNET_EXPRESSIONS[k] for k in frames.expression_N) == "Neutral Anger Happy Surprise"
    assert frames.split_N.tolist() == ["train"] * 3 + ["test"]
    assert frames.path_N.tolist() == ["0/0.jpg", "0/2.jpg", "0/4.jpg", "1/0.jpg"]


def test_the_affectnet_of_2021_keeps_its_classes_in_small_arrays(tmp_path):
    for split, classes in (("train_set", [0, 7, 5]), ("val_set", [2])):
        (tmp_path / split / "annotations").mkdir(parents=True)
        for k, number in enumerate(classes):
            np.save(tmp_path / split / "annotations" / f"{k}_exp.npy", np.array(str(number)))
    frames = AffectNet(tmp_path).frames()
    paths = ["train_set/images/0.jpg", "train_set/images/2.jpg", "val_set/images/0.jpg"]
    assert frames.path_N.tolist() == paths
    assert frames.expression_N.tolist() == [0, 5, 2]


def test_a_pickled_annotation_is_not_opened(tmp_path):
    (tmp_path / "train_set/annotations").mkdir(parents=True)
    np.save(tmp_path / "train_set/annotations/0_exp.npy", np.array([{}], dtype=object))
    with pytest.raises(DatasetError, match=r"0_exp.npy: expected one number"):
        AffectNet(tmp_path).frames()


def test_a_folder_that_is_no_affectnet_names_both_releases(tmp_path):
    with pytest.raises(DatasetError, match=r"neither training.csv .* nor train_set/annotations"):
        AffectNet(tmp_path)
