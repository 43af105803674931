"""The drawn faces: a toy whose action units are known because they were drawn (mien.render.drawn_videos)."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

import numpy as np
import pandas as pd

from mien.datasets.base import DATASETS, DatasetError, LabelledFrames, occurs
from mien.render.drawn_person import DRAWN_ACTION_UNITS, drawn_columns

OCCURS_AT = 2.0
"""Intensity from which an action unit counts as present: FACS level B, as in DISFA."""


@DATASETS.register("drawn")
class Drawn:
    """`labels.csv` with intensities 0 to 5 beside the folder `mp4`; every frame is coded."""

    name: ClassVar[str] = "drawn"
    action_units: ClassVar[tuple[int, ...]] = DRAWN_ACTION_UNITS

    def __init__(self, root: Path) -> None:
        self.labels_path = Path(root) / "labels.csv"
        if not self.labels_path.is_file():
            raise DatasetError(
                f"{self.labels_path}: no such file; expected the folder `mien demo` draws into"
            )

    def frames(self) -> LabelledFrames:
        """One row a drawn frame."""
        table = pd.read_csv(self.labels_path, dtype={"path": str, "subject": str})
        expected = ["path", "frame", "seconds", "subject", *drawn_columns()]
        if list(table.columns) != expected:
            raise DatasetError(f"{self.labels_path}: columns {list(table.columns)}; expected {expected}")
        intensity_NA = table[drawn_columns()].to_numpy(np.float32)
        return LabelledFrames(
            action_units=self.action_units,
            path_N=table["path"].to_numpy(np.str_),
            frame_N=table["frame"].to_numpy(np.int64),
            seconds_N=table["seconds"].to_numpy(np.float64),
            subject_N=table["subject"].to_numpy(np.str_),
            occurrence_NA=occurs(intensity_NA, at=OCCURS_AT),
            intensity_NA=intensity_NA,
        )
