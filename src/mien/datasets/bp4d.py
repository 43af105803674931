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

from mien.datasets.base import DATASETS, PICTURE, DatasetError, LabelledFrames
from mien.datasets.label_files import frame_numbers, intensities, occurrences, read_table, require_columns
from mien.datasets.numbered_pictures import first_folder, numbered_pictures, relative, require_shown
from mien.datasets.published import Published

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
        positives=dict(
            zip(
                action_units,
                (31042, 25110, 29755, 67676, 80616, 87270, 82530, 68375, 24869, 50406, 24288, 22229),
                strict=True,
            )
        ),
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
        return _joined([self._task(path) for path in files], self.action_units)

    def _task(self, path: Path) -> pd.DataFrame:
        """One row a coded frame: path, seconds, subject, columns `occurrence 12` and `intensity 12`."""
        match = _NAME.fullmatch(path.stem)
        if match is None:
            raise DatasetError(f"{path}: expected a name like F001_T1.csv or M018_T8.csv")
        subject, task = match.groups()
        columns_read = ["0", *map(str, self.action_units)]
        table = read_table(path, only=columns_read)
        require_columns(table, columns_read, path=path)
        frame_T = frame_numbers(table["0"], path=path, column="0", least=0)
        columns = {
            f"occurrence {number}": occurrences(table[str(number)], path=path, column=str(number))
            for number in self.action_units
        }
        for number in self.action_units:
            columns[f"intensity {number}"] = self._intensity(path.stem, number, frame_T)
        folder = self.picture_folder / subject / task
        pictures = numbered_pictures(folder)
        rows = pd.DataFrame({"frame": frame_T, "subject": subject, **columns})
        rows["seconds"] = rows["frame"] / FRAMES_PER_SECOND
        prefix = relative(folder, self.root)
        rows["path"] = [f"{prefix}/{pictures[n]}" if n in pictures else "" for n in frame_T.tolist()]
        shown = rows[rows["path"] != ""]
        require_shown(shown, frame_T.tolist(), folder)
        return shown

    def _intensity(self, stem: str, number: int, frame_T: NDArray[np.int64]) -> NDArray[np.float32]:
        path = self._intensity_path(stem, number)
        if path is None:
            return np.full(len(frame_T), np.nan, np.float32)
        table = read_table(path, header=False)
        if table.shape[1] != 2:
            raise DatasetError(
                f"{path}, line 1: found {table.shape[1]} columns; expected two, frame,intensity"
            )
        frame = frame_numbers(table["1"], path=path, column="1", least=0)
        value = intensities(table["2"], path=path, column="2")
        value_by_frame = dict(zip(frame.tolist(), value.tolist(), strict=True))
        return np.array([value_by_frame.get(n, np.nan) for n in frame_T.tolist()], np.float32)

    def _intensity_path(self, stem: str, number: int) -> Path | None:
        """None where the set has no intensities: for other AUs, or when AU_INT was not unpacked."""
        if number not in INTENSITY_ACTION_UNITS:
            return None
        name = f"{stem}_AU{number:02d}.csv"
        places = (self.intensity_folder / name, self.intensity_folder / f"AU{number:02d}" / name)
        return next((path for path in places if path.is_file()), None)


def _joined(tasks: list[pd.DataFrame], action_units: tuple[int, ...]) -> LabelledFrames:
    rows = pd.concat(tasks, ignore_index=True)
    return LabelledFrames(
        action_units=action_units,
        path_N=rows["path"].to_numpy(np.str_),
        frame_N=np.full(len(rows), PICTURE, np.int64),
        seconds_N=rows["seconds"].to_numpy(np.float64),
        subject_N=rows["subject"].to_numpy(np.str_),
        occurrence_NA=rows[[f"occurrence {number}" for number in action_units]].to_numpy(np.float32),
        intensity_NA=rows[[f"intensity {number}" for number in action_units]].to_numpy(np.float32),
    )
