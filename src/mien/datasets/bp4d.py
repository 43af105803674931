"""BP4D: 41 people in 8 tasks, action units coded frame by frame (Zhang et al., IVC 2014).

ROOT/AUCoding/AU_OCC/F001_T1.csv            header 0,1,...,99: frame number, then AU 1 to 99; 9 not coded
ROOT/AUCoding/AU_INT[/AU12]/F001_T1_AU12.csv    frame,intensity without a header; AUs 6 10 12 14 17
ROOT/Sequences(2D+3D)/F001/T1/2440.jpg      zero-padded or not; 25 frames a second
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import ClassVar

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mien.datasets.base import DATASETS, DatasetError, LabelledFrames, Published
from mien.datasets.label_files import (
    first_folder,
    frame_numbers,
    labelled_frames,
    occurrences,
    read_intensities,
    read_table,
    require_columns,
    with_pictures,
)

FRAMES_PER_SECOND = 25
INTENSITY_ACTION_UNITS = (6, 10, 12, 14, 17)
_NAME = re.compile(r"([FM]\d{3})_(T\d)")


@DATASETS.register("bp4d")
class Bp4d:
    """The occurrence codes of the 12 benchmark AUs, with intensities where AU_INT is there."""

    name: ClassVar[str] = "bp4d"
    action_units: ClassVar[tuple[int, ...]] = (1, 2, 4, 6, 7, 10, 12, 14, 15, 17, 23, 24)
    published: ClassVar[Published] = Published(
        source="the set's own coding files; 12 AUs of the benchmark",
        frames=146_847,
        subjects=41,
        positives={
            **{1: 31042, 2: 25110, 4: 29755, 6: 67676, 7: 80616, 10: 87270},
            **{12: 82530, 14: 68375, 15: 24869, 17: 50406, 23: 24288, 24: 22229},
        },
    )

    def __init__(self, root: Path) -> None:
        self.root = Path(root)
        self.occurrence_folder = first_folder(
            self.root, ("AUCoding/AU_OCC", "AU_OCC"), holds="occurrence codes (F001_T1.csv)"
        )
        self.picture_folder = first_folder(
            self.root,
            ("Sequences(2D+3D)", "Sequences", "2D+3D", "2D"),
            holds="pictures (F001/T1/0000.jpg)",
        )
        self.intensity_folder = self.occurrence_folder.parent / "AU_INT"

    def frames(self) -> LabelledFrames:
        """Every coded frame that has a picture; the others count as missing in the report."""
        files = sorted(self.occurrence_folder.glob("*.csv"))
        if not files:
            raise DatasetError(
                f"{self.occurrence_folder}: expected F001_T1.csv and so on; found no .csv file"
            )
        rows = pd.concat([self._task(path) for path in files], ignore_index=True)
        occurrence_NA, intensity_NA = (
            rows[[f"{kind} {number}" for number in self.action_units]].to_numpy(np.float32)
            for kind in ("occurrence", "intensity")
        )
        return labelled_frames(
            rows, self.action_units, occurrence_NA=occurrence_NA, intensity_NA=intensity_NA
        )

    def _task(self, path: Path) -> pd.DataFrame:
        """One row per coded frame: path, seconds, subject, columns `occurrence 12` and `intensity 12`."""
        match = _NAME.fullmatch(path.stem)
        if match is None:
            raise DatasetError(f"{path}: expected a name like F001_T1.csv or M018_T8.csv")
        subject, task = match.groups()
        columns_read = ["0", *map(str, self.action_units)]
        table = read_table(path, only=columns_read)
        require_columns(table, columns_read, path=path)
        frame_T = frame_numbers(table["0"], path=path, least=0)
        columns = {}
        for number in self.action_units:
            columns[f"occurrence {number}"] = occurrences(table[str(number)], path=path)
            columns[f"intensity {number}"] = self._intensity(path.stem, number, frame_T)
        seconds_T = frame_T / FRAMES_PER_SECOND
        rows = pd.DataFrame({"number": frame_T, "seconds": seconds_T, "subject": subject, **columns})
        return with_pictures(rows, self.picture_folder / subject / task, self.root)

    def _intensity(self, stem: str, number: int, frame_T: NDArray[np.int64]) -> NDArray[np.float32]:
        """NaN where the set has no intensities: for other AUs, or when AU_INT was not unpacked."""
        name = f"{stem}_AU{number:02d}.csv"
        for path in (self.intensity_folder / name, self.intensity_folder / f"AU{number:02d}" / name):
            if number in INTENSITY_ACTION_UNITS and path.is_file():
                values_T: NDArray[np.float32] = read_intensities(path, least=0).reindex(frame_T).to_numpy()
                return values_T
        return np.full(len(frame_T), np.nan, np.float32)
