"""Each labelled set in its real layout, with pictures in which one label is planted, through `mien evaluate`.

What is planted (the picture is bright) must be found in people never seen, what is not must stay at chance,
and what is not coded must stay out; counts, folds and masks are exact.
"""

from __future__ import annotations

import csv

import cv2
import numpy as np
import pytest
import torch

from mien.backbones import build_backbone
from mien.cli import main
from mien.evaluate.predictions import confusion_of, read_predictions
from mien.faces.contract import InputContract
from mien.train.encoder_file import save_encoder
from mien.video import write_video
from tests.points_beside import CONTRACT, PointsTracking, write_points

SIDE_PX, POINTS = 64, (24, 24, 40, 24, 32, 32, 25, 41, 39, 41)
PLANTED = 12
FRAMES = 20

BP4D_PEOPLE = ("F001", "F002", "F003", "F005", "F004", "F006")  # two of each part of the field's list
DISFA_PEOPLE = ("SN001", "SN002", "SN006", "SN011", "SN003", "SN004")
BP4D_UNITS = (1, 2, 4, 6, 7, 10, 12, 14, 15, 17, 23, 24)
DISFA_UNITS = (1, 2, 4, 5, 6, 9, 12, 15, 17, 20, 25, 26)
GFT_UNITS = (1, 2, 4, 6, 10, 12, 14, 15, 23, 24)


class Planter:
    """Writes trees below `root`; the same numbers whenever it is made anew."""

    def __init__(self, root):
        self.root = root
        self.random = np.random.default_rng(0)

    def labels(self, units):
        """(FRAMES, len(units)) codes: the planted one present in half of the frames, the rest by chance."""
        codes = (self.random.random((FRAMES, len(units))) < 0.4).astype(int)
        codes[:, units.index(PLANTED)] = self.random.permutation(np.arange(FRAMES) % 2)
        return codes

    def picture(self, bright):
        tint = self.random.integers(0, 40, 3)
        return (np.full((SIDE_PX, SIDE_PX, 3), 60 + 110 * bright) + tint).astype(np.uint8)

    def pictures(self, folder, names, bright):
        (self.root / folder).mkdir(parents=True, exist_ok=True)
        for name, value in zip(names, bright, strict=True):
            cv2.imwrite(str(self.root / folder / name), self.picture(value))
        write_points(self.root / folder, [[t, 0, *POINTS] for t in range(len(names))])

    def video(self, path, bright, *, frames_per_second):
        (self.root / path).parent.mkdir(parents=True, exist_ok=True)
        write_video(self.root / path, map(self.picture, bright), frames_per_second=frames_per_second)
        write_points(self.root / path, [[t, 0, *POINTS] for t in range(len(bright))])

    def rows(self, path, rows):
        (self.root / path).parent.mkdir(parents=True, exist_ok=True)
        with (self.root / path).open("w", newline="") as file:
            csv.writer(file).writerows(rows)


def bp4d(plant):
    for person in BP4D_PEOPLE:
        codes = plant.labels(BP4D_UNITS)
        rows = []
        for t in range(FRAMES):
            cells = dict.fromkeys(range(1, 100), 9) | dict(zip(BP4D_UNITS, codes[t], strict=True))
            cells[24] = 9 if t < 5 else cells[24]
            rows.append([100 + t, *cells.values()])
        plant.rows(f"AUCoding/AU_OCC/{person}_T1.csv", [range(100), *rows])
        bright = codes[:, BP4D_UNITS.index(PLANTED)]
        plant.pictures(f"Sequences(2D+3D)/{person}/T1", [f"{100 + t:04d}.jpg" for t in range(FRAMES)], bright)


def disfa_videos(plant):
    _disfa(
        plant,
        lambda person, bright: plant.video(
            f"Videos_LeftCamera/LeftVideo{person}_comp.mp4", bright, frames_per_second=20
        ),
    )


def disfa_pictures(plant):
    _disfa(plant, lambda person, bright: plant.pictures(person, [f"{t}.png" for t in range(FRAMES)], bright))


def _disfa(plant, write_media):
    for person in DISFA_PEOPLE:
        codes = plant.labels(DISFA_UNITS)
        for column, unit in enumerate(DISFA_UNITS):
            rows = [[t + 1, 3 if codes[t, column] else 1] for t in range(FRAMES)]  # 1 is absent, 3 is present
            plant.rows(f"ActionUnit_Labels/{person}/{person}_au{unit}.txt", rows)
        write_media(person, codes[:, DISFA_UNITS.index(PLANTED)])


def gft(plant):
    people = [f"{group:03d}{letter}" for group in (1, 2) for letter in "ABC"]
    split = ["train", "train", "test", "train", "train", "test"]
    plant.rows("split.csv", [["subject", "split"], *zip(people, split, strict=True)])
    for person in people:
        codes = plant.labels(GFT_UNITS)
        header = ["frame", *(f"AU{unit}" for unit in GFT_UNITS)]
        rows = [[t + 1, *codes[t]] for t in range(FRAMES)]
        rows[3][header.index("AU1")] = 9
        plant.rows(f"labels/{person}.csv", [header, *rows])
        plant.video(f"videos/{person}.mp4", codes[:, GFT_UNITS.index(PLANTED)], frames_per_second=30)


def table(plant):
    rows = [["path", "subject", "frame", "AU12", "AU04", "fold"]]
    for number, person in enumerate(("ann", "bob", "cid", "dee")):
        codes = plant.labels((PLANTED, 4))
        plant.video(f"v/{person}.mp4", codes[:, 0], frames_per_second=25)
        rows += [[f"v/{person}.mp4", person, t, codes[t, 0], codes[t, 1], number % 2] for t in range(FRAMES)]
    rows[1][4] = ""
    plant.rows("labels.csv", rows)


# people, coded frames, folds, labels that are not coded
ACTION_UNIT_SETS = {
    bp4d: ("bp4d", "", 6, 3, 6 * 5),
    disfa_videos: ("disfa", "", 6, 3, 0),
    disfa_pictures: ("disfa", "", 6, 3, 0),
    gft: ("gft", "", 2, 1, 2),
    table: ("table", "labels.csv", 4, 2, 1),
}


@pytest.fixture(autouse=True)
def points_beside(monkeypatch):
    """Faces lie where the planter says."""
    monkeypatch.setattr("mien.evaluate.labelled_faces.FaceTracking", PointsTracking)


@pytest.fixture(scope="module")
def encoder(tmp_path_factory):
    path = tmp_path_factory.mktemp("encoder") / "e.safetensors"
    torch.manual_seed(0)
    inputs = InputContract(CONTRACT, 32, 32, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    settings = {"width": 4}
    backbone = build_backbone("resnet18", **settings)
    save_encoder(
        path, backbone, backbone_name="resnet18", backbone_settings=settings, inputs=inputs, training={}
    )
    return path


def evaluate(dataset, root, encoder, out):
    settings = ["--set", "min_steps=200", "--set", "learning_rate=0.01", "--workers", "0"]
    where = ["--root", str(root), "--store", str(out / "store"), "--out", str(out / "report")]
    assert (
        main(
            [
                "evaluate",
                "--dataset",
                dataset,
                *where,
                "--encoder",
                str(encoder),
                "--modes",
                "frozen",
                *settings,
            ]
        )
        == 0
    )
    return read_predictions(out / "report/predictions/e.frozen.100.parquet")


@pytest.mark.parametrize(
    ("write", "expected"), ACTION_UNIT_SETS.items(), ids=lambda case: getattr(case, "__name__", "")
)
def test_what_is_planted_is_found_in_people_never_seen_and_noise_is_not(write, expected, encoder, tmp_path):
    dataset, root, people, folds, gaps = expected
    write(Planter(tmp_path / "set"))
    found = evaluate(dataset, tmp_path / "set" / root, encoder, tmp_path)
    assert len(found.path_N) == people * FRAMES
    assert len(np.unique(found.fold_N)) == folds
    assert np.isnan(found.label_NA).sum() == gaps
    f1, auc = ([one.value for one in found.each(score)] for score in ("f1", "roc_auc"))
    planted = found.action_units.index(PLANTED)
    assert f1[planted] > 0.97
    others = np.delete(auc, planted)
    assert (abs(others - 0.5) < 0.25).all()
    assert abs(others.mean() - 0.5) < 0.2


def rafdb(plant):
    lines, bright = [], []
    for part, number in (("test", 12), ("train", 30)):
        for k in range(number):
            stem = f"{part}_{k:05d}" if part == "train" else f"{part}_{k:04d}"
            lines.append(f"{stem}.jpg {(4, 5, 7)[k % 3]}")  # happy, sad, neutral
            bright.append((1.2, 0.6, 0)[k % 3])
    names = [line.replace(".jpg", "_aligned.jpg").split()[0] for line in lines]
    plant.pictures("Image/aligned", names, bright)
    path = plant.root / "EmoLabel/list_patition_label.txt"
    path.parent.mkdir()
    path.write_text("\n".join(lines) + "\n")


def affectnet_old(plant):
    header = "subDirectory_filePath,face_x,face_y,face_width,face_height,facial_landmarks,expression"
    for name, folder, number in (("training.csv", "1", 30), ("validation.csv", "2", 12)):
        classes = [(1, 2, 0, 8)[k % 4] for k in range(number)]  # happy, sad, neutral, no usable face
        rows = [[f"{folder}/{k:03d}.jpg", 0, 0, 9, 9, "", c] for k, c in enumerate(classes)]
        plant.rows(name, [header.split(","), *rows])
        bright = [{1: 1.2, 2: 0.6, 0: 0, 8: 1}[c] for c in classes]
        plant.pictures(f"Manually_Annotated_Images/{folder}", [row[0].split("/")[1] for row in rows], bright)


def affectnet_of_2021(plant):
    for folder, number in (("train_set", 30), ("val_set", 12)):
        classes = [(1, 2, 0, 7)[k % 4] for k in range(number)]  # happy, sad, neutral, contempt (left out)
        (plant.root / folder / "annotations").mkdir(parents=True)
        for k, c in enumerate(classes):
            np.save(plant.root / folder / f"annotations/{k:03d}_exp.npy", np.array(str(c)))
        bright = [{1: 1.2, 2: 0.6, 0: 0, 7: 1}[c] for c in classes]
        plant.pictures(f"{folder}/images", [f"{k:03d}.jpg" for k in range(number)], bright)


EXPRESSION_SETS = {rafdb: ("rafdb", 12), affectnet_old: ("affectnet", 9), affectnet_of_2021: ("affectnet", 9)}


@pytest.mark.parametrize(
    ("write", "expected"), EXPRESSION_SETS.items(), ids=lambda case: getattr(case, "__name__", "")
)
def test_planted_expressions_are_named_in_the_test_part(write, expected, encoder, tmp_path):
    dataset, num_tested = expected
    write(Planter(tmp_path / "set"))
    found = evaluate(dataset, tmp_path / "set", encoder, tmp_path)
    assert len(found.path_N) == num_tested
    assert set(found.fold_N.tolist()) == {"test"}
    confusion_CC = confusion_of(found)
    assert confusion_CC.sum() == num_tested
    assert (confusion_CC.sum(axis=1) > 0).sum() == 3
    assert confusion_CC.trace() > 0.9 * num_tested
    assert "mean of classes" in (tmp_path / "report/report.md").read_text()
    assert "Confusions" in (tmp_path / "report/report.html").read_text()
