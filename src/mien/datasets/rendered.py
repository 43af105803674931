"""Rendered faces: one part, such as OUT/main, of a set made by `mien render` or of the shipped clips."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path
from typing import ClassVar

import numpy as np
import pyarrow.parquet as pq

from mien.datasets.base import DATASETS, DatasetError, LabelledFrames
from mien.datasets.label_files import labelled_frames
from mien.facs import ACTION_UNITS


def shipped_clips() -> Path:
    """The folder of the clips shipped with mien; its parts are `main` and `shifted`."""
    return Path(str(files("mien"))) / "clips"


@DATASETS.register("rendered")
class Rendered:
    """`labels.parquet` and the folder `mp4`; every frame is coded, by the intensity of the stronger side."""

    name: ClassVar[str] = "rendered"
    action_units: ClassVar[tuple[int, ...]] = (
        *(1, 2, 4, 5, 6, 7, 9, 10, 12, 14, 15, 17),
        *(20, 22, 23, 24, 25, 26, 27, 43, 45),
    )

    def __init__(self, root: Path) -> None:
        self.labels_path = Path(root) / "labels.parquet"
        if not self.labels_path.is_file():
            raise DatasetError(
                f"{self.labels_path}: no such file; expected one part of a set made by `mien render`, "
                "such as OUT/main"
            )

    def frames(self) -> LabelledFrames:
        """One row per frame; the split is the part's own person folds."""
        units = [ACTION_UNITS[number].column for number in self.action_units]
        sides = [f"{unit}_{side}" for unit in units for side in ("left", "right")]
        names = ["path", "frame", "seconds", "identity", "fold", *units, *sides]
        present = pq.read_schema(self.labels_path).names
        missing = [name for name in names if name not in present]
        if missing:
            raise DatasetError(
                f"{self.labels_path}: no column {missing[0]}; expected the columns of `mien render`"
            )
        table = pq.read_table(self.labels_path, columns=names).to_pandas()
        left_NA, right_NA = (
            table[[f"{unit}_{side}" for unit in units]].to_numpy(np.float32) for side in ("left", "right")
        )
        return labelled_frames(
            table.rename(columns={"identity": "subject", "fold": "split"}),
            self.action_units,
            occurrence_NA=table[units].to_numpy(np.float32),
            intensity_NA=np.maximum(left_NA, right_NA),
        )
