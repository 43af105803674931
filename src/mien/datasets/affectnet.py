"""AffectNet: web pictures in eight expressions, the paper uses seven (Mollahosseini et al., TAC 2017).

Old release: ROOT/training.csv, ROOT/validation.csv with subDirectory_filePath, ..., expression, ...;
             pictures under ROOT/Manually_Annotated_Images/, ROOT/Manually_Annotated/ or ROOT itself.
2021:        ROOT/train_set/images/N.jpg with ROOT/train_set/annotations/N_exp.npy, likewise val_set.
"""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

import numpy as np

from mien.datasets.base import DATASETS, DatasetError, LabelledFrames, Published
from mien.datasets.label_files import (
    class_numbers,
    expression_frames,
    first_folder,
    read_table,
    require_columns,
)

AFFECTNET_EXPRESSIONS = ("Neutral", "Happy", "Sad", "Surprise", "Fear", "Disgust", "Anger")
"""Classes 0 to 6. Class 7 is contempt, which the paper leaves out; above it there is no usable face."""

MAX_CLASS = 10
_OLD_FILES = {"train": "training.csv", "test": "validation.csv"}
_NEW_FOLDERS = {"train": "train_set", "test": "val_set"}


@DATASETS.register("affectnet")
class AffectNet:
    """Seven classes; "test" is the set's validation part. Each picture is its own subject."""

    name: ClassVar[str] = "affectnet"
    action_units: ClassVar[tuple[int, ...]] = ()
    published: ClassVar[Published] = Published(
        source="Li & Shan 2023: 280 000 for training, 500 a class for testing",
        splits={"train": 280_000, "test": 3_500},
        tolerance=0.02,
    )

    def __init__(self, root: Path) -> None:
        self.root = Path(root)
        self.is_old_release = (self.root / "training.csv").is_file()
        if not self.is_old_release and not (self.root / "train_set" / "annotations").is_dir():
            raise DatasetError(
                f"{self.root}: found neither training.csv (the old release) nor train_set/annotations "
                "(that of 2021)"
            )

    def frames(self) -> LabelledFrames:
        """One row a picture of the seven classes."""
        read = self._read_csv if self.is_old_release else self._read_annotations
        rows = [(path, split, number) for split in ("train", "test") for path, number in read(split)]
        kept = [row for row in rows if row[2] < len(AFFECTNET_EXPRESSIONS)]
        return expression_frames(kept, [path for path, _, _ in kept], AFFECTNET_EXPRESSIONS)

    def _read_csv(self, split: str) -> list[tuple[str, int]]:
        path = self.root / _OLD_FILES[split]
        table = read_table(path)
        require_columns(table, ["subDirectory_filePath", "expression"], path=path)
        number_N = class_numbers(table["expression"], path=path, most=MAX_CLASS)
        folder = first_folder(
            self.root, ("Manually_Annotated_Images", "Manually_Annotated", "."), holds="pictures"
        ).relative_to(self.root)
        names = [(folder / name).as_posix() for name in table["subDirectory_filePath"]]
        return list(zip(names, number_N.tolist(), strict=True))

    def _read_annotations(self, split: str) -> list[tuple[str, int]]:
        folder = self.root / _NEW_FOLDERS[split]
        files = sorted((folder / "annotations").glob("*_exp.npy"))
        if not files:
            raise DatasetError(f"{folder / 'annotations'}: expected N_exp.npy files; found none")
        return [
            (f"{folder.name}/images/{path.name.removesuffix('_exp.npy')}.jpg", _read_expression(path))
            for path in files
        ]


def _read_expression(path: Path) -> int:
    """The 0-d array of a string that the release of 2021 writes; nothing in it is executed."""
    try:
        number = int(np.load(path, allow_pickle=False))
    except (ValueError, TypeError, EOFError) as error:
        raise DatasetError(f"{path}: expected one number as a NumPy string; {error}") from error
    if not 0 <= number <= MAX_CLASS:
        raise DatasetError(f"{path}: found class {number}; expected 0 to {MAX_CLASS}")
    return number
