"""RAF-DB, basic expressions: pictures from the web in seven classes (Li et al., CVPR 2017).

ROOT/EmoLabel/list_patition_label.txt        train_00001.jpg 5   (the file's own spelling)
ROOT/Image/aligned/train_00001_aligned.jpg   or ROOT/Image/original/train_00001.jpg
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import ClassVar

import numpy as np

from mien.datasets.base import DATASETS, PICTURE, DatasetError, LabelledFrames
from mien.datasets.published import Published

RAFDB_EXPRESSIONS = ("Surprise", "Fear", "Disgust", "Happy", "Sad", "Anger", "Neutral")
"""Classes 1 to 7 of the label file."""

_BASIC = re.compile(r"(train|test)_(\d{4,5})\.jpg")


@DATASETS.register("rafdb")
class RafDb:
    """The basic set, official train and test. Nobody knows who is who: each picture is its own subject."""

    name: ClassVar[str] = "rafdb"
    action_units: ClassVar[tuple[int, ...]] = ()
    published: ClassVar[Published] = Published(
        source="the set's own description", frames=15_339, splits={"train": 12_271, "test": 3_068}
    )

    def __init__(self, root: Path) -> None:
        self.root = Path(root)
        self.label_path = self.root / "EmoLabel" / "list_patition_label.txt"
        if not self.label_path.is_file():
            raise DatasetError(
                f"{self.label_path}: no such file (the set spells it so); expected lines `train_00001.jpg 5`"
            )

    def frames(self) -> LabelledFrames:
        """One row a picture."""
        labels = [self._label(line, text) for line, text in _lines(self.label_path)]
        _refuse_compound(self.label_path, labels)
        self._require_each_once(labels)
        rows = [(name, number) for _, name, number in labels]
        stems = [name.removesuffix(".jpg") for name, _ in rows]
        return LabelledFrames(
            action_units=(),
            path_N=np.array([self._picture(stem) for stem in stems], np.str_),
            frame_N=np.full(len(rows), PICTURE, np.int64),
            seconds_N=np.full(len(rows), np.nan),
            subject_N=np.array(stems, np.str_),
            occurrence_NA=np.zeros((len(rows), 0), np.float32),
            split_N=np.array([stem.split("_")[0] for stem in stems], np.str_),
            expression_N=np.array([number - 1 for _, number in rows], np.int64),
            expressions=RAFDB_EXPRESSIONS,
        )

    def _label(self, line: int, text: str) -> tuple[int, str, int]:
        name, _, number = text.partition(" ")
        if not _BASIC.fullmatch(name) or not number.strip().isdecimal() or int(number) < 1:
            raise DatasetError(
                f"{self.label_path}, line {line}: found {text!r}; "
                "expected `train_00001.jpg 5` or `test_0001.jpg 5`, a class from 1 to 7"
            )
        return line, name, int(number)

    def _require_each_once(self, labels: list[tuple[int, str, int]]) -> None:
        first: dict[str, int] = {}
        for line, name, _ in labels:
            if first.setdefault(name, line) != line:
                raise DatasetError(
                    f"{self.label_path}, line {line}: {name} stands in line {first[name]} already; "
                    "expected each picture once"
                )

    def _picture(self, stem: str) -> str:
        places = (f"Image/aligned/{stem}_aligned.jpg", f"Image/original/{stem}.jpg")
        for place in places:
            if (self.root / place).is_file():
                return place
        raise DatasetError(
            f"{self.root}: {stem} is labelled, but neither {places[0]} nor {places[1]} is there"
        )


def _lines(path: Path) -> list[tuple[int, str]]:
    texts = path.read_text(encoding="utf-8", errors="replace").splitlines()
    return [(line, text.strip()) for line, text in enumerate(texts, start=1) if text.strip()]


def _refuse_compound(path: Path, labels: list[tuple[int, str, int]]) -> None:
    """DatasetError when this is RAF-DB's compound set, which bears the same file name, or no set at all."""
    classes = sorted({number for _, _, number in labels})
    four_digits = any(re.fullmatch(r"train_\d{4}\.jpg", name) for _, name, _ in labels)
    if four_digits or max(classes, default=0) > len(RAFDB_EXPRESSIONS):
        raise DatasetError(
            f"{path}: this is the compound set of RAF-DB (11 classes, train names with four digits; found "
            f"classes {classes}); expected the basic set, train_00001.jpg with classes 1 to 7"
        )
    if not classes:
        raise DatasetError(f"{path}: empty; expected lines `train_00001.jpg 5`")
