"""Your own table: CSV or Parquet with a path, a subject and one column per action unit.

`path` is a picture, or a video with `frame` (from 0) or `seconds`. `subject` is who it is. `AU12` (or `AU1`,
`AU01`, `au_1`, `AU01_c`, `AU01_r`): 0 or 1, or an intensity from 0 to 5 with a stated threshold; empty or 9
means not coded. Of OpenFace's `_c` and `_r` the intensity is read with a threshold, else the presence; a unit
with `_c` alone (AU28) is read as presence either way.
Optional: `split` ("train", "test") or `fold` (any name). Paths are relative to the table's folder. A file
shows one person, and each frame has one row.
"""

from __future__ import annotations

import os
from pathlib import Path, PurePosixPath
from typing import ClassVar

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mien.data.spelling import spelt_as_on_disk
from mien.datasets.base import BY_TIME, DATASETS, PICTURE, DatasetError, LabelledFrames, occurs
from mien.datasets.label_files import (
    intensities,
    labelled_frames,
    place,
    read_table,
    refuse_first,
    require_columns,
    require_each_frame_once,
    require_one_part_a_subject,
    require_one_spelling,
    require_one_subject_a_file,
    whole_numbers,
)
from mien.facs import columns_by_unit

_OTHER_COLUMNS = ("path", "subject", "frame", "seconds", "split", "fold")


@DATASETS.register("table")
class Table:
    """Occurrences, or intensities that count as present from `occurs_at` on."""

    name: ClassVar[str] = "table"
    action_units: ClassVar[tuple[int, ...]] = ()  # those of the table: see frames()

    def __init__(self, root: Path, *, occurs_at: float | None = None) -> None:
        self.path = Path(root)
        self.occurs_at = occurs_at
        self.unread_columns: tuple[str, ...] = ()  # known when the frames have been read
        if not self.path.is_file():
            found = "a folder" if self.path.is_dir() else "no such file"
            raise DatasetError(f"{self.path}: {found}; expected a .csv or .parquet table")
        self.root = self.path.parent

    def frames(self) -> LabelledFrames:
        """One row per row of the table."""
        table = _read(self.path)
        require_columns(table, ["path", "subject"], path=self.path)
        columns = self._action_unit_columns(table)
        if table.empty:
            raise DatasetError(f"{self.path}: no row below the columns; expected one per coded frame")
        self._require_text(table, "path")
        table["path"] = table["path"].map({path: self._spelt(path) for path in table["path"].unique()})
        self._require_text(table, "subject")
        table["path"] = [PurePosixPath(path).as_posix() for path in table["path"]]  # ./a.mp4 is a.mp4
        value_NA = np.stack(
            [intensities(table[name], path=self.path, column=name) for name in columns.values()], axis=1
        )
        occurrence_NA, intensity_NA = self._occurrences(table, value_NA, list(columns.values()))
        frame_N, seconds_N = self._times(table)
        require_one_spelling(table, "subject", path=self.path)
        require_one_subject_a_file(table, path=self.path)
        require_each_frame_once(table, frame_N, seconds_N, path=self.path)
        return labelled_frames(
            self._with_split(table).assign(frame=frame_N, seconds=seconds_N),
            tuple(columns),
            occurrence_NA=occurrence_NA,
            intensity_NA=intensity_NA,
        )

    def _with_split(self, table: pd.DataFrame) -> pd.DataFrame:
        """The column `split` or `fold`, where there is one, is called `split`."""
        given = [name for name in ("split", "fold") if name in table.columns]
        if not given:
            return table
        if len(given) == 2:
            raise DatasetError(
                f"{self.path}, line 1: both split and fold are there; expected one of them (split: train or "
                "test, tested one way; fold: every part is tested once)"
            )
        self._require_text(table, given[0])
        if given == ["split"]:
            wrong_N = ~table["split"].isin(["train", "test"]).to_numpy(bool)
            self._refuse(wrong_N, table["split"], "split", expected="train or test; other parts are a fold")
        require_one_spelling(table, given[0], path=self.path)
        require_one_part_a_subject(table, given[0], path=self.path)
        return table.rename(columns={given[0]: "split"})

    def _action_unit_columns(self, table: pd.DataFrame) -> dict[int, str]:
        """Column by AU number, in the order of the numbers."""
        try:
            given = columns_by_unit(map(str, table.columns))
        except ValueError as error:
            raise DatasetError(f"{self.path}, line 1: {error}") from error
        kinds = ("c", "r") if self.occurs_at is None else ("r", "c")  # where OpenFace gives both
        found: dict[int, str] = {}
        for number, kind in given:
            both = {k: given[number, k] for k in kinds if (number, k) in given}
            if not kind and both:
                names = f"{given[number, kind]} and {next(iter(both.values()))}"
                raise DatasetError(f"{self.path}, line 1: {names} are the same action unit")
            found[number] = next(iter(both.values()), given[number, kind])
        if not found:
            raise DatasetError(
                f"{self.path}, line 1: expected columns AU01 to AU45; "
                f"found {', '.join(map(str, table.columns))}"
            )
        read = {*_OTHER_COLUMNS, *found.values()}
        self.unread_columns = tuple(str(column) for column in table.columns if column not in read)
        return dict(sorted(found.items()))

    def _occurrences(
        self, table: pd.DataFrame, value_NA: NDArray[np.float32], columns: list[str]
    ) -> tuple[NDArray[np.float32], NDArray[np.float32] | None]:
        is_presence_A = np.array([self.occurs_at is None or name.lower().endswith("_c") for name in columns])
        other_NA = is_presence_A & ~np.isnan(value_NA) & ~np.isin(value_NA, (0, 1))
        if other_NA.any():
            row, column = (int(index[0]) for index in np.nonzero(other_NA))
            hint = ", or an intensity with --occurs-at (2 for DISFA's rule)" if self.occurs_at is None else ""
            raise DatasetError(
                f"{place(self.path, table.index[row])}, column {columns[column]}: "
                f"found {value_NA[row, column]:g}; expected 0, 1, 9 or nothing{hint}"
            )
        if self.occurs_at is None:
            return value_NA, None
        occurrence_NA = np.where(is_presence_A, value_NA, occurs(value_NA, at=self.occurs_at))
        intensity_NA = np.where(is_presence_A, np.float32(np.nan), value_NA)
        return occurrence_NA, None if is_presence_A.all() else intensity_NA

    def _times(self, table: pd.DataFrame) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        N = len(table)
        seconds_N = np.full(N, np.nan)
        if "seconds" in table.columns:
            texts = table["seconds"]
            seconds_N = pd.to_numeric(texts, errors="coerce").to_numpy(np.float64)
            wrong_N = (~np.isfinite(seconds_N) & (texts != "").to_numpy()) | (seconds_N < 0)
            self._refuse(wrong_N, texts, "seconds", expected="a number from 0 on, or nothing for a picture")
        if "frame" in table.columns:
            texts = table["frame"].replace("", str(PICTURE))
            frame_N = whole_numbers(texts, path=self.path, column="frame")
            wrong_N = (frame_N < 0) & (table["frame"] != "").to_numpy()
            self._refuse(wrong_N, texts, "frame", expected="a number from 0 on, or nothing for a picture")
            by_time_N = (frame_N == PICTURE) & ~np.isnan(seconds_N)
            return np.where(by_time_N, BY_TIME, frame_N), seconds_N
        return np.where(np.isnan(seconds_N), PICTURE, BY_TIME).astype(np.int64), seconds_N

    def _require_text(self, table: pd.DataFrame, column: str) -> None:
        self._refuse((table[column] == "").to_numpy(bool), table[column], column, expected=f"a {column}")

    def _refuse(self, wrong_N: NDArray[np.bool_], texts: pd.Series, column: str, *, expected: str) -> None:
        refuse_first(wrong_N, texts, path=self.path, column=column, expected=expected)

    def _spelt(self, path: str) -> str:
        """The path as the disk spells it, below the table's folder."""
        found = spelt_as_on_disk(self.root / path)
        return path if found == self.root / path else Path(os.path.relpath(found, self.root)).as_posix()


def _read(path: Path) -> pd.DataFrame:
    """The table as text, so that both formats meet the same checks."""
    if path.suffix.lower() != ".parquet":
        return read_table(path)
    try:
        table = pd.read_parquet(path)
    except (OSError, ValueError) as error:
        raise DatasetError(f"{path}: not a Parquet table: {error}") from error
    texts = table.map(lambda cell: "" if pd.isna(cell) else str(cell).strip())
    return texts.set_axis(range(1, len(texts) + 1))
