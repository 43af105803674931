"""Rows of a table that contradict each other: who would be on both sides of a split, what would count twice.

All functions take the table with its subjects and paths, whose index holds the numbers of the rows, and raise
a DatasetError that names both rows.
"""

from __future__ import annotations

import os
from collections.abc import Hashable, Iterable
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mien.datasets.base import BY_TIME, PICTURE, DatasetError
from mien.datasets.label_files import row_word, spelling_key


def require_one_spelling(table: pd.DataFrame, column: str, *, path: Path) -> None:
    """No name is spelled in two ways: `ann` and `Ann` would be two people, on both sides of a split."""
    first: dict[str, tuple[str, int]] = {}
    for row, name in _first_rows(table[column]):
        other, other_row = first.setdefault(spelling_key(name), (name, row))
        if other != name:
            raise DatasetError(
                f"{_place(path, row)}, column {column}: found {name!r} where {row_word(path)} {other_row} "
                f"has {other!r}; expected one spelling (case, blanks, zeros and signs tell nobody apart)"
            )


def require_one_part_a_subject(table: pd.DataFrame, column: str, *, path: Path) -> None:
    """Nobody is in two folds, or in train and test."""
    _require_one(table["subject"], table[column], path=path, what=column, of="person", where=column)


def require_one_subject_a_file(table: pd.DataFrame, *, path: Path) -> None:
    """A picture or video shows one person, by whatever path it is reached; its largest face is looked at."""
    files = _files(table["path"], path.parent)
    _require_one(files, table["subject"], path=path, what="person", of="file", where="subject")


def require_each_frame_once(
    table: pd.DataFrame, frame_N: NDArray[np.int64], seconds_N: NDArray[np.float64], *, path: Path
) -> None:
    """No frame has two rows, which would count twice or contradict each other.

    So that this can be told, the rows of a video have frame numbers, or all of them times.
    """
    files = _files(table["path"], path.parent)
    kinds = pd.Series(np.where(frame_N == BY_TIME, "seconds", "frame"), index=table.index)
    _require_one(files, kinds, path=path, what="of frame and seconds", of="file", where="frame")
    first: dict[Hashable, int] = {}
    for row, file, frame, seconds in zip(
        table.index.tolist(), files, frame_N.tolist(), seconds_N.tolist(), strict=True
    ):
        by_time = frame == BY_TIME
        other = first.setdefault((file, frame, seconds if by_time else None), row)
        if other != row:
            which = f" at {seconds:g} s" if by_time else "" if frame == PICTURE else f", frame {frame}"
            raise DatasetError(
                f"{_place(path, row)}: {table['path'][row]}{which} stands in {row_word(path)} {other} "
                "already; expected one row a frame"
            )


def _require_one(
    keys: Iterable[str], values: pd.Series, *, path: Path, what: str, of: str, where: str
) -> None:
    first: dict[str, tuple[str, int]] = {}
    for row, key, value in zip(values.index.tolist(), keys, values.tolist(), strict=True):
        other, other_row = first.setdefault(key, (value, row))
        if other != value:
            raise DatasetError(
                f"{_place(path, row)}, column {where}: {key} is in {value!r} here and in {other!r} in "
                f"{row_word(path)} {other_row}; expected one {what} a {of}"
            )


def _first_rows(column: pd.Series) -> Iterable[tuple[int, str]]:
    """Each value with the number of the first row that has it."""
    first = column[~column.duplicated()]
    return zip(first.index.tolist(), first.tolist(), strict=True)


def _files(paths: pd.Series, folder: Path) -> list[str]:
    """The file behind each path: links and detours (./a.jpg) lead to the same one."""
    real = {path: os.path.realpath(folder / path) for path in paths.unique()}
    return [real[path] for path in paths]


def _place(path: Path, row: int) -> str:
    return f"{path}, {row_word(path)} {row}"
