"""RAF-DB, basic expressions: pictures from the web in seven classes (Li et al., CVPR 2017).

ROOT/EmoLabel/list_patition_label.txt        train_00001.jpg 5   (the file's own spelling)
ROOT/Image/aligned/train_00001_aligned.jpg   or ROOT/Image/original/train_00001.jpg
"""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mien.datasets.base import DATASETS, DatasetError, LabelledFrames, Published
from mien.datasets.label_files import expression_frames, refuse_first, refuse_second

RAFDB_EXPRESSIONS = ("Surprise", "Fear", "Disgust", "Happy", "Sad", "Anger", "Neutral")
"""Classes 1 to 7 of the label file."""

_LABEL = r"^(?P<name>(?:train|test)_\d{4,5})\.jpg +(?P<number>0*[1-9]\d*)$"


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
        lines = self.label_path.read_text(encoding="utf-8", errors="replace").splitlines()
        texts = pd.Series(lines, range(1, len(lines) + 1), dtype=str, name="label").str.strip()
        texts = texts[texts != ""]
        parts = texts.str.extract(_LABEL)
        expected = "`train_00001.jpg 5` or `test_0001.jpg 5`, a class from 1 to 7"
        refuse_first(parts["name"].isna().to_numpy(), texts, path=self.label_path, expected=expected)
        refuse_second(parts["name"], path=self.label_path)
        number_N = pd.to_numeric(parts["number"]).to_numpy(np.int64)
        self._refuse_compound(parts["name"], number_N)
        splits = parts["name"].str.partition("_")[0]
        rows = list(zip(map(self._picture, parts["name"]), splits, (number_N - 1).tolist(), strict=True))
        return expression_frames(rows, parts["name"].tolist(), RAFDB_EXPRESSIONS)

    def _picture(self, stem: str) -> str:
        places = (f"Image/aligned/{stem}_aligned.jpg", f"Image/original/{stem}.jpg")
        for place in places:
            if (self.root / place).is_file():
                return place
        raise DatasetError(
            f"{self.root}: {stem} is labelled, but neither {places[0]} nor {places[1]} is there"
        )

    def _refuse_compound(self, names: pd.Series, number_N: NDArray[np.int64]) -> None:
        """DatasetError when this is RAF-DB's compound set, whose file has the same name, or no set at all."""
        is_compound = bool(names.str.fullmatch(r"train_\d{4}").any()) or (number_N > 7).any()
        if is_compound or not len(names):
            raise DatasetError(
                f"{self.label_path}: {len(names)} labels, classes {np.unique(number_N).tolist()}; expected "
                "train_00001.jpg with classes 1 to 7, the basic set (the compound set of RAF-DB has 11 "
                "classes, and train names with four digits)"
            )
