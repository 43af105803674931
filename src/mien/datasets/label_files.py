"""Reading label files: numbers out of text columns, with the file and the row in every complaint."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mien.datasets.base import DatasetError

NOT_CODED = 9
"""What FACS coders write where a face part could not be seen."""

MAX_INTENSITY = 5


def read_table(path: Path, *, header: int | None = 0, only: Collection[str] | None = None) -> pd.DataFrame:
    """All cells of a CSV as stripped text, empty where empty; DatasetError when it is no such file.

    A column heading loses the blanks around it. With `only`, columns of other headings are passed over.
    """
    wanted = None if only is None else lambda heading: str(heading).strip() in only
    try:
        table = pd.read_csv(
            path, dtype=str, keep_default_na=False, header=header, skipinitialspace=True, usecols=wanted
        )
    except OSError as error:
        raise DatasetError(f"{path}: {error.strerror or error}") from error
    except (pd.errors.ParserError, pd.errors.EmptyDataError, UnicodeDecodeError) as error:
        raise DatasetError(f"{path}: expected comma-separated text with equal rows: {error}") from error
    if header is not None:
        table.columns = [str(column).strip() for column in table.columns]
    return table


def require_columns(table: pd.DataFrame, columns: list[str], *, path: Path) -> None:
    """DatasetError naming the columns that are missing and those that are there."""
    missing = [column for column in columns if column not in table.columns]
    if missing:
        raise DatasetError(
            f"{path}: expected the columns {', '.join(missing)}; found {', '.join(map(str, table.columns))}"
        )


def whole_numbers(texts: pd.Series, *, path: Path, column: str, first_row: int) -> NDArray[np.int64]:
    """(N,) integers; DatasetError at the first cell that is none. `first_row`: the line of the first cell."""
    values_N = _numbers(texts, path=path, column=column, first_row=first_row, expected="a whole number")
    wrong_N = np.isnan(values_N) | (values_N != np.floor(values_N))
    _refuse(wrong_N, texts, path=path, column=column, first_row=first_row, expected="a whole number")
    return values_N.astype(np.int64)


def occurrences(texts: pd.Series, *, path: Path, column: str, first_row: int) -> NDArray[np.float32]:
    """(N,) 0 or 1, NaN for 9 and for an empty cell; DatasetError at the first other cell."""
    expected = "0, 1, 9 (not coded) or nothing"
    values_N = _numbers(texts, path=path, column=column, first_row=first_row, expected=expected)
    values_N[values_N == NOT_CODED] = np.nan
    wrong_N = ~np.isnan(values_N) & (values_N != 0) & (values_N != 1)
    _refuse(wrong_N, texts, path=path, column=column, first_row=first_row, expected=expected)
    return values_N.astype(np.float32)


def intensities(texts: pd.Series, *, path: Path, column: str, first_row: int) -> NDArray[np.float32]:
    """(N,) 0 to 5, NaN for 9 and for an empty cell; DatasetError at the first other cell."""
    expected = "an intensity from 0 to 5, 9 (not coded) or nothing"
    values_N = _numbers(texts, path=path, column=column, first_row=first_row, expected=expected)
    values_N[values_N == NOT_CODED] = np.nan
    wrong_N = ~np.isnan(values_N) & ((values_N < 0) | (values_N > MAX_INTENSITY))
    _refuse(wrong_N, texts, path=path, column=column, first_row=first_row, expected=expected)
    return values_N.astype(np.float32)


def _numbers(
    texts: pd.Series, *, path: Path, column: str, first_row: int, expected: str
) -> NDArray[np.float64]:
    """NaN for an empty cell only."""
    stripped = texts.astype(str).str.strip()
    values_N: NDArray[np.float64] = pd.to_numeric(stripped, errors="coerce").to_numpy(np.float64, copy=True)
    wrong_N = np.isnan(values_N) & ~stripped.str.lower().isin(["", "nan"]).to_numpy(bool)
    _refuse(wrong_N, texts, path=path, column=column, first_row=first_row, expected=expected)
    return values_N


def _refuse(
    wrong_N: NDArray[np.bool_], texts: pd.Series, *, path: Path, column: str, first_row: int, expected: str
) -> None:
    if wrong_N.any():
        row = int(wrong_N.argmax())
        raise DatasetError(
            f"{path}, line {first_row + row}, column {column}: "
            f"found {str(texts.iloc[row])!r}; expected {expected}"
        )
