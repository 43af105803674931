"""Reading labelled sets: numbers in text columns, numbered pictures, rows that contradict each other.

Every complaint is a DatasetError that names the file and the row.
"""

from __future__ import annotations

import csv
import os
import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Collection, Hashable, Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mien.datasets.base import BY_TIME, PICTURE, DatasetError, LabelledFrames
from mien.facs import NOT_CODED


def read_table(path: Path, *, header: bool = True, only: Collection[str] | None = None) -> pd.DataFrame:
    """All cells of a CSV as stripped text, empty where empty; the index holds the number of each row's line.

    Blank lines are ignored. With `only`, columns of other headings are ignored; without a header the
    columns are called 1, 2, ... DatasetError where a line has more or fewer cells than the first one, where a
    heading occurs twice, and when it is no such file.
    """
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.reader(file, skipinitialspace=True)
            rows = [(reader.line_num, [cell.strip() for cell in row]) for row in reader]
    except OSError as error:
        raise DatasetError(f"{path}: {error.strerror or error}; expected a table of labels") from error
    except (csv.Error, UnicodeDecodeError) as error:
        raise DatasetError(f"{path}: expected comma-separated text in UTF-8; {error}") from error
    rows = [(line, row) for line, row in rows if any(row)]
    if not rows:
        raise DatasetError(f"{path}: empty; expected comma-separated text")
    headings = _headings(path, *rows[0]) if header else [str(n) for n, _ in enumerate(rows[0][1], start=1)]
    body = rows[1:] if header else rows
    for line, row in body:
        if len(row) < len(headings) or any(row[len(headings) :]):
            raise DatasetError(f"{path}, line {line}: found {len(row)} cells; expected {len(headings)}")
    chosen = [k for k, heading in enumerate(headings) if only is None or heading in only]
    cells = [[row[k] for k in chosen] for _, row in body]
    return pd.DataFrame(
        cells, index=[line for line, _ in body], columns=[headings[k] for k in chosen], dtype=str
    )


def _headings(path: Path, line: int, row: list[str]) -> list[str]:
    twice = [heading for heading, times in Counter(row).items() if heading and times > 1]
    if twice:
        raise DatasetError(f"{path}, line {line}: two columns are called {twice[0]}; expected one")
    return row


def require_columns(table: pd.DataFrame, columns: list[str], *, path: Path) -> None:
    """DatasetError naming the columns that are missing and those that are there."""
    missing = [column for column in columns if column not in table.columns]
    if missing:
        found = ", ".join(map(str, table.columns))
        hint = "; separate the columns by commas" if re.search(r"[;\t]", found) else ""
        noun = "column" if len(missing) == 1 else "columns"
        raise DatasetError(f"{path}: expected the {noun} {', '.join(missing)}; found {found}{hint}")


def read_intensities(path: Path, *, least: int) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Frame numbers from `least` on and intensities out of lines `frame,intensity`."""
    table = read_table(path, header=False)
    if table.shape[1] != 2:
        raise DatasetError(f"{path}, line 1: found {table.shape[1]} columns; expected two, frame,intensity")
    frame_N = frame_numbers(table["1"], path=path, column="1", least=least)
    return frame_N, intensities(table["2"], path=path, column="2")


def whole_numbers(texts: pd.Series, *, path: Path, column: str) -> NDArray[np.int64]:
    """(N,) integers; DatasetError at the first cell that is none."""
    values_N = _numbers(
        texts, lambda v: v == np.floor(v), path=path, column=column, expected="a whole number"
    )
    return values_N.astype(np.int64)


def frame_numbers(texts: pd.Series, *, path: Path, column: str, least: int) -> NDArray[np.int64]:
    """(N,) frame numbers from `least` on, none twice; DatasetError at the first row that breaks this."""
    frame_N = whole_numbers(texts, path=path, column=column)
    refuse_first(frame_N < least, texts, path=path, column=column, expected=f"a frame number from {least} on")
    numbers = pd.Series(frame_N, texts.index)
    if numbers.duplicated().any():
        row = numbers.index[numbers.duplicated()][0]
        line = numbers.index[numbers == numbers[row]][0]
        raise DatasetError(
            f"{place(path, row)}, column {column}: frame {numbers[row]} is already in {row_word(path)} "
            f"{line}; expected each frame once"
        )
    return frame_N


def class_numbers(texts: pd.Series, *, path: Path, column: str, most: int) -> NDArray[np.int64]:
    """(N,) classes from 0 to `most`; DatasetError at the first cell that is none."""
    expected, classes = f"a class from 0 to {most}", np.arange(most + 1)
    values_N = _numbers(texts, lambda v: np.isin(v, classes), path=path, column=column, expected=expected)
    return values_N.astype(np.int64)


def occurrences(texts: pd.Series, *, path: Path, column: str) -> NDArray[np.float32]:
    """(N,) 0 or 1, NaN for 9 and for an empty cell; DatasetError at the first other cell."""
    expected = "0, 1, 9 (not coded) or nothing"
    values_N = _numbers(
        texts, lambda v: np.isin(v, (0, 1)), path=path, column=column, expected=expected, may_lack=True
    )
    return values_N.astype(np.float32)


def intensities(texts: pd.Series, *, path: Path, column: str) -> NDArray[np.float32]:
    """(N,) 0 to 5, NaN for 9 and for an empty cell; DatasetError at the first other cell."""
    expected = "an intensity from 0 to 5, 9 (not coded) or nothing"
    values_N = _numbers(
        texts, lambda v: (v >= 0) & (v <= 5), path=path, column=column, expected=expected, may_lack=True
    )
    return values_N.astype(np.float32)


def _numbers(
    texts: pd.Series,
    is_right: Callable[[NDArray[np.float64]], NDArray[np.bool_]],
    *,
    path: Path,
    column: str,
    expected: str,
    may_lack: bool = False,
) -> NDArray[np.float64]:
    """With `may_lack`, NaN for an empty cell and for 9."""
    values_N: NDArray[np.float64] = pd.to_numeric(texts, errors="coerce").to_numpy(np.float64, copy=True)
    wrong_N = ~is_right(values_N) | np.isinf(values_N)
    if may_lack:
        lacks_N = texts.str.lower().isin(["", "nan"]).to_numpy(bool) | (values_N == NOT_CODED)
        values_N[lacks_N], wrong_N[lacks_N] = np.nan, False
    refuse_first(wrong_N, texts, path=path, column=column, expected=expected)
    return values_N


def refuse_first(
    wrong_N: NDArray[np.bool_], texts: pd.Series, *, path: Path, column: str, expected: str
) -> None:
    """DatasetError for the first row that is wrong."""
    if wrong_N.any():
        row = int(wrong_N.argmax())
        found = repr(str(texts.iloc[row])) if texts.iloc[row] != "" else "nothing"
        raise DatasetError(
            f"{place(path, texts.index[row])}, column {column}: found {found}; expected {expected}"
        )


def row_word(path: Path) -> str:
    """What a row of the file is called: a Parquet file has no lines."""
    return "row" if path.suffix.lower() == ".parquet" else "line"


def spelling_key(name: str) -> str:
    """Equal for names that differ in case, blanks, signs between words, leading zeros alone.

    `S_01`, `s.1` and `S 1` are one; so are `7` and `7.0`, which spreadsheets make of each other.
    """
    visible = "".join(sign for sign in name if unicodedata.category(sign) != "Cf")
    folded = unicodedata.normalize("NFKC", visible).casefold().strip()
    folded = re.sub(r"^(\d+)\.0+$", r"\1", folded)
    words = re.sub(r"[\s._-]+", " ", folded).strip()
    words = re.sub(r"(?<=[^\W\d]) (?=\d)", "", words)
    return re.sub(r"(?<!\d)0+(?=\d)", "", words)


def place(path: Path, row: Hashable) -> str:
    """A row of a file, in words."""
    return f"{path}, {row_word(path)} {row}"


def require_one_spelling(table: pd.DataFrame, column: str, *, path: Path) -> None:
    """No name is spelled in two ways: `ann` and `Ann` would be two people, on both sides of a split."""
    key_of = {name: spelling_key(name) for name in table[column].unique()}
    for row, _, name, other, other_row in _clashes(table[column].map(key_of), table[column]):
        raise DatasetError(
            f"{place(path, row)}, column {column}: found {name!r} where {row_word(path)} {other_row} "
            f"has {other!r}; expected one spelling (case, blanks, zeros and signs do not distinguish people)"
        )


def require_one_part_a_subject(table: pd.DataFrame, column: str, *, path: Path) -> None:
    """Nobody is in two folds, or in train and test."""
    _require_one(table["subject"], table[column], path=path, what=column, of="person", where=column)


def require_one_subject_a_file(table: pd.DataFrame, *, path: Path) -> None:
    """A picture or video shows one person, on every path to it; its largest face is used."""
    files = _files(table["path"], path.parent)
    _require_one(files, table["subject"], path=path, what="person", of="file", where="subject")


def require_each_frame_once(
    table: pd.DataFrame, frame_N: NDArray[np.int64], seconds_N: NDArray[np.float64], *, path: Path
) -> None:
    """No frame has two rows, which would count twice or contradict each other.

    To make this checkable, the rows of a video all have frame numbers, or all have times.
    """
    files = _files(table["path"], path.parent)
    kinds = pd.Series(np.where(frame_N == BY_TIME, "seconds", "frame"), index=table.index)
    _require_one(files, kinds, path=path, what="of frame and seconds", of="file", where="frame")
    at_N = np.where(frame_N == BY_TIME, seconds_N, 0.0)
    keys = list(zip(files, frame_N.tolist(), at_N.tolist(), strict=True))
    for row, (_, frame, seconds), _, _, other_row in _clashes(keys, table.index.to_series()):
        which = f" at {seconds:g} s" if frame == BY_TIME else "" if frame == PICTURE else f", frame {frame}"
        raise DatasetError(
            f"{place(path, row)}: {table['path'][row]}{which} is already in {row_word(path)} "
            f"{other_row}; expected one row per frame"
        )


def _require_one(
    keys: Iterable[str], values: pd.Series, *, path: Path, what: str, of: str, where: str
) -> None:
    for row, key, value, other, other_row in _clashes(keys, values):
        raise DatasetError(
            f"{place(path, row)}, column {where}: {key} is in {value!r} here and in {other!r} in "
            f"{row_word(path)} {other_row}; expected one {what} per {of}"
        )


def _clashes(keys: Iterable[Any], values: pd.Series) -> Iterator[tuple[Any, ...]]:
    """Row, key, value, other value and its row, wherever a key has another value than in its first row."""
    first: dict[Any, tuple[Any, Any]] = {}
    for row, key, value in zip(values.index.tolist(), keys, values.tolist(), strict=True):
        other, other_row = first.setdefault(key, (value, row))
        if other != value:
            yield row, key, value, other, other_row


def _files(paths: pd.Series, folder: Path) -> list[str]:
    """The file behind each path: links and detours (./a.jpg) lead to the same one."""
    real = {path: os.path.realpath(folder / path) for path in paths.unique()}
    return [real[path] for path in paths]


PICTURE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp")


def with_pictures(rows: pd.DataFrame, folder: Path, root: Path) -> pd.DataFrame:
    """The rows whose `number` is the name of a picture in the folder, with its path relative to `root`.

    Names are frame numbers, zero-padded or not: 0000.jpg, 732.jpg, 0.png. DatasetError where two names are
    one number, or where none of the numbers has a picture.
    """
    names = _numbered_pictures(folder)
    shown = rows[rows["number"].isin(list(names))]
    if shown.empty:
        first = rows["number"].min() if len(rows) else 0
        raise DatasetError(
            f"{folder}: no picture of any labelled frame; expected {first:04d}.jpg or {first}.png and so on"
        )
    paths = [relative(folder / names[number], root) for number in shown["number"]]
    return shown.assign(path=paths, frame=PICTURE)


def _numbered_pictures(folder: Path) -> dict[int, str]:
    """File name by frame number; other files are ignored. DatasetError when two names are one number."""
    names: dict[int, str] = {}
    for name in sorted(_entries(folder)):
        stem, dot, suffix = name.rpartition(".")
        if (dot + suffix).lower() in PICTURE_SUFFIXES and stem.isdecimal():
            if int(stem) in names:
                raise DatasetError(
                    f"{folder}: {names[int(stem)]} and {name} are both frame {int(stem)}; expected one"
                )
            names[int(stem)] = name
    return names


def _entries(folder: Path) -> list[str]:
    try:
        return [path.name for path in folder.iterdir()]
    except OSError as error:
        raise DatasetError(
            f"{folder}: {error.strerror}; expected a folder of pictures named by their frame numbers"
        ) from error


def first_folder(root: Path, names: tuple[str, ...], *, holds: str) -> Path:
    """The first of `names` that is a folder in `root` ("." is root itself); DatasetError listing them all."""
    for name in names:
        if (root / name).is_dir():
            return root / name
    raise DatasetError(
        f"{root}: expected a folder with {holds} named {' or '.join(names)}; found none of them"
    )


def relative(path: Path, root: Path) -> str:
    """With forward slashes, as tables have it."""
    return path.relative_to(root).as_posix()


def labelled_frames(
    rows: pd.DataFrame,
    action_units: tuple[int, ...],
    *,
    occurrence_NA: NDArray[np.float32],
    intensity_NA: NDArray[np.float32] | None = None,
) -> LabelledFrames:
    """From the columns path, frame, subject and, where the set has them, seconds and split."""
    return LabelledFrames(
        action_units=action_units,
        path_N=rows["path"].to_numpy(np.str_),
        frame_N=rows["frame"].to_numpy(np.int64),
        seconds_N=rows["seconds"].to_numpy(np.float64) if "seconds" in rows else np.full(len(rows), np.nan),
        subject_N=rows["subject"].to_numpy(np.str_),
        occurrence_NA=occurrence_NA,
        intensity_NA=intensity_NA,
        split_N=rows["split"].to_numpy(np.str_) if "split" in rows else None,
    )


def expression_frames(
    rows: Sequence[tuple[str, str, int]], subjects: Sequence[str], expressions: tuple[str, ...]
) -> LabelledFrames:
    """Pictures with their path, split and class, each of its own subject."""
    paths, splits, classes = zip(*rows, strict=True) if rows else ((), (), ())
    table = pd.DataFrame(
        {"path": paths, "frame": PICTURE, "subject": subjects, "split": splits}, dtype=object
    )
    frames = labelled_frames(table, (), occurrence_NA=np.zeros((len(rows), 0), np.float32))
    return replace(frames, expression_N=np.array(classes, np.int64), expressions=expressions)
