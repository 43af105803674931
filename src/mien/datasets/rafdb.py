"""RAF-DB, basic expressions: pictures from the web in seven classes (Li et al., CVPR 2017).

ROOT/EmoLabel/list_patition_label.txt        train_00001.jpg 5   (the file's own spelling)
ROOT/Image/aligned/train_00001_aligned.jpg   or ROOT/Image/original/train_00001.jpg
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import ClassVar

from mien.datasets.base import DATASETS, DatasetError, LabelledFrames, Published
from mien.datasets.label_files import expression_frames

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
        labels: dict[str, int] = {}
        lines: dict[str, int] = {}
        texts = self.label_path.read_text(encoding="utf-8", errors="replace").splitlines()
        for line, text in enumerate(texts, start=1):
            if text.strip():
                name, number = self._label(line, text.strip())
                if name in labels:
                    raise DatasetError(
                        f"{self.label_path}, line {line}: {name}.jpg is already in line {lines[name]}; "
                        "expected each picture once"
                    )
                labels[name], lines[name] = number, line
        _refuse_compound(self.label_path, labels)
        rows = [(self._picture(stem), stem.split("_")[0], number - 1) for stem, number in labels.items()]
        return expression_frames(rows, list(labels), RAFDB_EXPRESSIONS)

    def _label(self, line: int, text: str) -> tuple[str, int]:
        """The name without its suffix, and the class."""
        name, _, number = text.partition(" ")
        if not _BASIC.fullmatch(name) or not number.strip().isdecimal() or int(number) < 1:
            raise DatasetError(
                f"{self.label_path}, line {line}: found {text!r}; "
                "expected `train_00001.jpg 5` or `test_0001.jpg 5`, a class from 1 to 7"
            )
        return name.removesuffix(".jpg"), int(number)

    def _picture(self, stem: str) -> str:
        places = (f"Image/aligned/{stem}_aligned.jpg", f"Image/original/{stem}.jpg")
        for place in places:
            if (self.root / place).is_file():
                return place
        raise DatasetError(
            f"{self.root}: {stem} is labelled, but neither {places[0]} nor {places[1]} is there"
        )


def _refuse_compound(path: Path, labels: dict[str, int]) -> None:
    """DatasetError when this is RAF-DB's compound set, which bears the same file name, or no set at all."""
    classes = sorted(set(labels.values()))
    four_digits = any(re.fullmatch(r"train_\d{4}", name) for name in labels)
    if four_digits or max(classes, default=0) > len(RAFDB_EXPRESSIONS):
        raise DatasetError(
            f"{path}: this is the compound set of RAF-DB (11 classes, train names with four digits; found "
            f"classes {classes}); expected the basic set, train_00001.jpg with classes 1 to 7"
        )
    if not classes:
        raise DatasetError(f"{path}: empty; expected lines `train_00001.jpg 5`")
