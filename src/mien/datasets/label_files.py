"""Reading label files: numbers out of text columns, with the file and the row in every complaint."""

from __future__ import annotations

import csv
import re
import unicodedata
from collections import Counter
from collections.abc import Collection
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mien.datasets.base import DatasetError

NOT_CODED = 9
"""What FACS coders write where a face part could not be seen."""

MAX_INTENSITY = 5


def read_table(path: Path, *, header: bool = True, only: Collection[str] | None = None) -> pd.DataFrame:
    """All cells of a CSV as stripped text, empty where empty; the index holds the number of each row's line.

    Blank lines are passed over. With `only`, columns of other headings are passed over; without a header the
    columns are called 1, 2, ... DatasetError where a line has more or fewer cells than the first one, where a
    heading stands twice, and when it is no such file.
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
        _require_cells(path, line, row, headings)
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


def _require_cells(path: Path, line: int, row: list[str], headings: list[str]) -> None:
    if len(row) < len(headings) or any(row[len(headings) :]):
        raise DatasetError(f"{path}, line {line}: found {len(row)} cells; expected {len(headings)}")


def require_columns(table: pd.DataFrame, columns: list[str], *, path: Path) -> None:
    """DatasetError naming the columns that are missing and those that are there."""
    missing = [column for column in columns if column not in table.columns]
    if missing:
        found = ", ".join(map(str, table.columns))
        hint = "; separate the columns by commas" if re.search(r"[;\t]", found) else ""
        noun = "column" if len(missing) == 1 else "columns"
        raise DatasetError(f"{path}: expected the {noun} {', '.join(missing)}; found {found}{hint}")


def whole_numbers(texts: pd.Series, *, path: Path, column: str) -> NDArray[np.int64]:
    """(N,) integers; DatasetError at the first cell that is none."""
    values_N = _numbers(texts, path=path, column=column, expected="a whole number")
    wrong_N = np.isnan(values_N) | (values_N != np.floor(values_N))
    _refuse(wrong_N, texts, path=path, column=column, expected="a whole number")
    return values_N.astype(np.int64)


def frame_numbers(texts: pd.Series, *, path: Path, column: str, least: int) -> NDArray[np.int64]:
    """(N,) frame numbers from `least` on, none twice; DatasetError at the first row that breaks this."""
    frame_N = whole_numbers(texts, path=path, column=column)
    expected = f"a frame number from {least} on"
    _refuse(frame_N < least, texts, path=path, column=column, expected=expected)
    again_N = pd.Series(frame_N).duplicated().to_numpy()
    if again_N.any():
        row = int(again_N.argmax())
        line = texts.index[int((frame_N == frame_N[row]).argmax())]
        raise DatasetError(
            f"{path}, {row_word(path)} {texts.index[row]}, column {column}: frame {frame_N[row]} stands in "
            f"{row_word(path)} {line} already; expected each frame once"
        )
    return frame_N


def class_numbers(texts: pd.Series, *, path: Path, column: str, most: int) -> NDArray[np.int64]:
    """(N,) classes from 0 to `most`; DatasetError at the first cell that is none."""
    expected = f"a class from 0 to {most}"
    values_N = _numbers(texts, path=path, column=column, expected=expected)
    wrong_N = ~np.isin(values_N, np.arange(most + 1))
    _refuse(wrong_N, texts, path=path, column=column, expected=expected)
    return values_N.astype(np.int64)


def occurrences(texts: pd.Series, *, path: Path, column: str) -> NDArray[np.float32]:
    """(N,) 0 or 1, NaN for 9 and for an empty cell; DatasetError at the first other cell."""
    expected = "0, 1, 9 (not coded) or nothing"
    values_N = _numbers(texts, path=path, column=column, expected=expected)
    values_N[values_N == NOT_CODED] = np.nan
    wrong_N = ~np.isnan(values_N) & (values_N != 0) & (values_N != 1)
    _refuse(wrong_N, texts, path=path, column=column, expected=expected)
    return values_N.astype(np.float32)


def intensities(texts: pd.Series, *, path: Path, column: str) -> NDArray[np.float32]:
    """(N,) 0 to 5, NaN for 9 and for an empty cell; DatasetError at the first other cell."""
    expected = "an intensity from 0 to 5, 9 (not coded) or nothing"
    values_N = _numbers(texts, path=path, column=column, expected=expected)
    values_N[values_N == NOT_CODED] = np.nan
    wrong_N = ~np.isnan(values_N) & ((values_N < 0) | (values_N > MAX_INTENSITY))
    _refuse(wrong_N, texts, path=path, column=column, expected=expected)
    return values_N.astype(np.float32)


def _numbers(texts: pd.Series, *, path: Path, column: str, expected: str) -> NDArray[np.float64]:
    """NaN for an empty cell only."""
    values_N: NDArray[np.float64] = pd.to_numeric(texts, errors="coerce").to_numpy(np.float64, copy=True)
    wrong_N = np.isnan(values_N) & ~texts.str.lower().isin(["", "nan"]).to_numpy(bool)
    _refuse(wrong_N, texts, path=path, column=column, expected=expected)
    return values_N


def _refuse(wrong_N: NDArray[np.bool_], texts: pd.Series, *, path: Path, column: str, expected: str) -> None:
    if wrong_N.any():
        row = int(wrong_N.argmax())
        raise DatasetError(
            f"{path}, {row_word(path)} {texts.index[row]}, column {column}: "
            f"found {str(texts.iloc[row])!r}; expected {expected}"
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
