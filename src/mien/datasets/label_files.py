"""Reading labelled sets: numbers in text columns, numbered pictures, rows that contradict each other.

Every complaint is a DatasetError that names the file and the row.
"""

from __future__ import annotations

import csv
import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Collection, Hashable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mien.datasets.base import PICTURE, DatasetError, LabelledFrames
from mien.facs import NOT_CODED

_PICTURE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp")
_IsRight = Callable[[NDArray[np.float64]], NDArray[np.bool_]]


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
    headings = rows[0][1] if header else [str(n) for n, _ in enumerate(rows[0][1], start=1)]
    for heading, times in Counter(headings).items():
        if heading and times > 1:
            raise DatasetError(f"{path}, line {rows[0][0]}: two columns are called {heading}; expected one")
    body = rows[1:] if header else rows
    for line, row in body:
        if len(row) < len(headings) or any(row[len(headings) :]):
            raise DatasetError(f"{path}, line {line}: found {len(row)} cells; expected {len(headings)}")
    chosen = [k for k, heading in enumerate(headings) if only is None or heading in only]
    cells = {line: [row[k] for k in chosen] for line, row in body}
    return pd.DataFrame.from_dict(cells, "index", dtype=str, columns=[headings[k] for k in chosen])


def require_columns(table: pd.DataFrame, columns: list[str], *, path: Path) -> None:
    """DatasetError naming the columns that are missing and those that are there."""
    missing = [column for column in columns if column not in table.columns]
    if missing:
        found = ", ".join(map(str, table.columns))
        hint = "; separate the columns by commas" if re.search(r"[;\t]", found) else ""
        raise DatasetError(f"{path}: expected the columns {', '.join(missing)}; found {found}{hint}")


def read_intensities(path: Path, *, least: int) -> pd.Series:
    """Intensities by frame number, which is `least` or more, out of lines `frame,intensity`."""
    table = read_table(path, header=False)
    if table.shape[1] != 2:
        raise DatasetError(f"{path}, line 1: found {table.shape[1]} columns; expected two, frame,intensity")
    frame_N = frame_numbers(table["1"], path=path, least=least)
    return pd.Series(intensities(table["2"], path=path), frame_N)


def whole_numbers(texts: pd.Series, *, path: Path) -> NDArray[np.int64]:
    """(N,) integers; DatasetError at the first cell that is none."""
    return _numbers(texts, lambda v: v == np.floor(v), path=path, expected="a whole number").astype(np.int64)


def frame_numbers(texts: pd.Series, *, path: Path, least: int) -> NDArray[np.int64]:
    """(N,) frame numbers from `least` on, none twice; DatasetError at the first row that breaks this."""
    frame_N = whole_numbers(texts, path=path)
    refuse_first(frame_N < least, texts, path=path, expected=f"a frame number from {least} on")
    refuse_second(pd.Series(frame_N, texts.index), path=path, what="frame ")
    return frame_N


def class_numbers(texts: pd.Series, *, path: Path, most: int) -> NDArray[np.int64]:
    """(N,) classes from 0 to `most`; DatasetError at the first cell that is none."""
    classes, expected = np.arange(most + 1), f"a class from 0 to {most}"
    return _numbers(texts, lambda v: np.isin(v, classes), path=path, expected=expected).astype(np.int64)


def occurrences(texts: pd.Series, *, path: Path, hint: str = "") -> NDArray[np.float32]:
    """(N,) 0 or 1, NaN for 9 and for an empty cell; DatasetError at the first other cell."""
    expected = f"0, 1, 9 (not coded) or nothing{hint}"
    return _coded(texts, lambda v: np.isin(v, (0, 1)), path=path, expected=expected)


def intensities(texts: pd.Series, *, path: Path) -> NDArray[np.float32]:
    """(N,) 0 to 5, NaN for 9 and for an empty cell; DatasetError at the first other cell."""
    expected = "an intensity from 0 to 5, 9 (not coded) or nothing"
    return _coded(texts, lambda v: (v >= 0) & (v <= 5), path=path, expected=expected)


def _coded(texts: pd.Series, is_right: _IsRight, *, path: Path, expected: str) -> NDArray[np.float32]:
    lacks_N = texts.str.lower().isin(["", "nan"]) | (pd.to_numeric(texts, errors="coerce") == NOT_CODED)
    values_N = np.full(len(texts), np.nan, np.float32)
    values_N[~lacks_N] = _numbers(texts[~lacks_N], is_right, path=path, expected=expected)
    return values_N


def _numbers(texts: pd.Series, is_right: _IsRight, *, path: Path, expected: str) -> NDArray[np.float64]:
    values_N: NDArray[np.float64] = pd.to_numeric(texts, errors="coerce").to_numpy(np.float64)
    refuse_first(~is_right(values_N) | np.isinf(values_N), texts, path=path, expected=expected)
    return values_N


def refuse_first(wrong_N: NDArray[np.bool_], texts: pd.Series, *, path: Path, expected: str) -> None:
    """DatasetError for the first cell of a column that is wrong."""
    if wrong_N.any():
        row = int(wrong_N.argmax())
        found = repr(str(texts.iloc[row])) if texts.iloc[row] != "" else "nothing"
        where = f"{place(path, texts.index[row])}, column {texts.name}"
        raise DatasetError(f"{where}: found {found}; expected {expected}")


def refuse_second(keys: pd.Series, *, path: Path, what: str = "") -> None:
    """DatasetError where a key is in two rows."""
    for row, key in keys[keys.duplicated()].items():
        first = f"{_row_word(path)} {keys.index[keys == key][0]}"
        raise DatasetError(
            f"{place(path, row)}: {what}{key} is already in {first}; expected one row per frame"
        )


def require_one(keys: pd.Series, values: pd.Series, *, path: Path, what: str) -> None:
    """DatasetError where a key has another value than in an earlier row."""
    first_row = pd.Series(keys.index, keys.index).groupby(keys.to_numpy()).transform("first")
    first = values[first_row].to_numpy()
    for row in values.index[values != first]:
        earlier = f"{_row_word(path)} {first_row[row]} has {values[first_row[row]]!r}"
        found = f"{place(path, row)}, column {values.name}: found {values[row]!r}"
        raise DatasetError(f"{found} where {earlier}; expected one {what}")


def require_one_spelling(texts: pd.Series, *, path: Path) -> None:
    """No name is spelled in two ways: `ann` and `Ann` would be two people, on both sides of a split."""
    key_of = {name: spelling_key(name) for name in texts.unique()}
    what = "spelling (case, blanks, zeros and signs do not distinguish people)"
    require_one(texts.map(key_of), texts, path=path, what=what)


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
    return f"{path}, {_row_word(path)} {row}"


def _row_word(path: Path) -> str:
    """What a row of the file is called: a Parquet file has no lines."""
    return "row" if path.suffix.lower() == ".parquet" else "line"


def with_pictures(rows: pd.DataFrame, folder: Path, root: Path) -> pd.DataFrame:
    """The rows whose `number` is the name of a picture in the folder, with its path relative to `root`.

    Names are frame numbers, zero-padded or not: 0000.jpg, 732.jpg, 0.png. DatasetError where two names are
    one number, or where none of the numbers has a picture.
    """
    try:
        entries = sorted(folder.iterdir())
    except OSError as error:
        raise DatasetError(
            f"{folder}: {error.strerror}; expected a folder of pictures named by their frame numbers"
        ) from error
    names: dict[int, Path] = {}
    for path in entries:
        if path.suffix.lower() in _PICTURE_SUFFIXES and path.stem.isdecimal():
            other = names.setdefault(int(path.stem), path)
            if other != path:
                raise DatasetError(
                    f"{path}: {other.name} is frame {int(path.stem)} too; expected one picture"
                )
    shown = rows[rows["number"].isin(list(names))]
    if shown.empty:
        first = rows["number"].min() if len(rows) else 0
        raise DatasetError(
            f"{folder}: no picture of any labelled frame; expected {first:04d}.jpg or {first}.png and so on"
        )
    return shown.assign(path=[relative(names[number], root) for number in shown["number"]], frame=PICTURE)


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
