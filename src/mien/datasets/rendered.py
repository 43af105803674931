"""The rendered benchmark: one part of a set that `mien render` drew, such as OUT/main."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

import numpy as np
import pyarrow.parquet as pq

from mien.datasets.base import DATASETS, DatasetError, LabelledFrames
from mien.facs import ACTION_UNITS
from mien.render.actions import UNIT_NUMBERS


@DATASETS.register("rendered")
class Rendered:
    """`labels.parquet` beside the folder `mp4`; all frames are coded, intensity by the stronger side."""

    name: ClassVar[str] = "rendered"
    action_units: ClassVar[tuple[int, ...]] = UNIT_NUMBERS

    def __init__(self, root: Path) -> None:
        self.labels_path = Path(root) / "labels.parquet"
        if not self.labels_path.is_file():
            raise DatasetError(
                f"{self.labels_path}: no such file; expected one part of a set that `mien render` drew, "
                "such as OUT/main"
            )

    def frames(self) -> LabelledFrames:
        """One row a rendered frame; the split is the part's own fold of persons."""
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
        return LabelledFrames(
            action_units=self.action_units,
            path_N=table["path"].to_numpy(np.str_),
            frame_N=table["frame"].to_numpy(np.int64),
            seconds_N=table["seconds"].to_numpy(np.float64),
            subject_N=table["identity"].to_numpy(np.str_),
            occurrence_NA=table[units].to_numpy(np.float32),
            intensity_NA=np.maximum(left_NA, right_NA),
            split_N=table["fold"].to_numpy(np.str_),
        )
