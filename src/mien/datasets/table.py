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
    occurrences,
    read_table,
    refuse_first,
    refuse_second,
    require_columns,
    require_one,
    require_one_spelling,
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
        for name in ("path", "subject"):
            self._refuse(table[name] == "", table[name], expected=f"a {name}")
        table["path"] = table["path"].map({path: self._spelt(path) for path in table["path"].unique()})
        occurrence_NA, intensity_NA = self._occurrences(table[list(columns.values())])
        frame_N, seconds_N = self._times(table)
        require_one_spelling(table["subject"], path=self.path)
        self._require_each_frame_once(table, frame_N, seconds_N)
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
        parts = table[given[0]]
        self._refuse(parts == "", parts, expected=f"a {given[0]}")
        if given == ["split"]:
            is_other_N = ~parts.isin(["train", "test"])
            self._refuse(is_other_N, parts, expected="train or test; other parts are a fold")
        require_one_spelling(parts, path=self.path)
        require_one(table["subject"], parts, path=self.path, what=f"{given[0]} per person")
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

    def _occurrences(self, table: pd.DataFrame) -> tuple[NDArray[np.float32], NDArray[np.float32] | None]:
        """Of the columns of action units: occurrences, and intensities if there are any."""
        is_presence_A = np.array([self.occurs_at is None or name.lower().endswith("_c") for name in table])
        hint = ", or an intensity with --occurs-at (2 for DISFA's rule)" if self.occurs_at is None else ""
        values = [
            occurrences(table[name], path=self.path, hint=hint)
            if is_presence
            else intensities(table[name], path=self.path)
            for name, is_presence in zip(table, is_presence_A, strict=True)
        ]
        value_NA = np.stack(values, axis=1)
        if self.occurs_at is None or is_presence_A.all():
            return value_NA, None
        occurrence_NA = np.where(is_presence_A, value_NA, occurs(value_NA, at=self.occurs_at))
        return occurrence_NA, np.where(is_presence_A, np.float32(np.nan), value_NA)

    def _times(self, table: pd.DataFrame) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        N = len(table)
        seconds_N = np.full(N, np.nan)
        if "seconds" in table.columns:
            texts = table["seconds"]
            seconds_N = pd.to_numeric(texts, errors="coerce").to_numpy(np.float64)
            wrong_N = (~np.isfinite(seconds_N) & (texts != "")) | (seconds_N < 0)
            self._refuse(wrong_N, texts, expected="a number from 0 on, or nothing for a picture")
        if "frame" in table.columns:
            texts = table["frame"].replace("", str(PICTURE))
            frame_N = whole_numbers(texts, path=self.path)
            wrong_N = (frame_N < 0) & (table["frame"] != "")
            self._refuse(wrong_N, texts, expected="a number from 0 on, or nothing for a picture")
            by_time_N = (frame_N == PICTURE) & ~np.isnan(seconds_N)
            return np.where(by_time_N, BY_TIME, frame_N), seconds_N
        return np.where(np.isnan(seconds_N), PICTURE, BY_TIME).astype(np.int64), seconds_N

    def _require_each_frame_once(
        self, table: pd.DataFrame, frame_N: NDArray[np.int64], seconds_N: NDArray[np.float64]
    ) -> None:
        """A file shows one person, whose largest face is used; a frame has one row, as two would count twice.

        Links and detours (./a.jpg) lead to the same file. To make this checkable, the rows of a video all
        have frame numbers, or all have times.
        """
        real = {path: os.path.realpath(self.root / path) for path in table["path"].unique()}
        files = table["path"].map(real)
        require_one(files, table["subject"], path=self.path, what="person per file")
        by_time_N = frame_N == BY_TIME
        kinds = pd.Series(np.where(by_time_N, "seconds", "frame"), table.index, name="frame")
        require_one(files, kinds, path=self.path, what="of frame and seconds per file")
        words = [f", frame {frame}" if frame != PICTURE else "" for frame in frame_N]
        for at in np.flatnonzero(by_time_N):
            words[at] = f" at {seconds_N[at]} s"
        refuse_second(files + words, path=self.path)

    def _refuse(self, wrong_N: pd.Series, texts: pd.Series, *, expected: str) -> None:
        refuse_first(wrong_N.to_numpy(bool), texts, path=self.path, expected=expected)

    def _spelt(self, path: str) -> str:
        """The path as the disk spells it, below the table's folder; ./a.mp4 is a.mp4."""
        found = spelt_as_on_disk(self.root / path)
        return PurePosixPath(
            path if found == self.root / path else os.path.relpath(found, self.root)
        ).as_posix()


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
