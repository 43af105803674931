"""Tables written row by row as they are detected: CSV, in mien's columns or another tool's, and Parquet."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from mien.detect.table import METADATA_KEY, FaceRow, TableLayout

ROWS_PER_GROUP = 4_096  # some minutes of one face; memory holds this many rows


class CsvTable:
    """A CSV in the columns of `FORMATS[csv_format]`; its lines are written out when `write` returns."""

    def __init__(self, path: Path, layout: TableLayout, csv_format: str = "mien") -> None:
        self._layout, self._format = layout, FORMATS[csv_format]
        self._file = path.open("w", newline="", encoding="utf-8", errors="backslashreplace")
        self._put([self._format.columns(layout)])

    def write(self, rows: Sequence[FaceRow]) -> None:
        """Append rows."""
        self._put([self._format.cells(self._layout, row) for row in rows])

    def close(self) -> None:
        """No more rows."""
        self._file.close()

    def _put(self, lines: list[list[str]]) -> None:
        delimiter = self._format.delimiter
        self._file.writelines(delimiter.join(map(_quoted, line)) + "\n" for line in lines)
        self._file.flush()


class ParquetTable:
    """A Parquet file, written under a temporary name and moved to `path` when it is finished."""

    def __init__(self, path: Path, layout: TableLayout) -> None:
        self._path, self._layout = path, layout
        self._part = path.with_name(f".{path.name}.part")
        # Without a copy of the schema: its metadata, of the start, would be read in place of the file's.
        self._writer = pq.ParquetWriter(self._part, layout.schema, store_schema=False)
        self._waiting: list[FaceRow] = []

    def write(self, rows: Sequence[FaceRow]) -> None:
        """Append rows."""
        self._waiting += rows
        if len(self._waiting) >= ROWS_PER_GROUP:
            self._write_group()

    def finish(self, metadata: Mapping[str, Any]) -> None:
        """Complete the file, with the table's metadata."""
        self._write_group()
        self._writer.add_key_value_metadata({METADATA_KEY: json.dumps(metadata).encode()})
        self._writer.close()
        self._part.replace(self._path)

    def close(self) -> None:
        """Give up; no effect once the table is finished."""
        try:
            self._writer.close()
        finally:
            self._part.unlink(missing_ok=True)

    def _write_group(self) -> None:
        if self._waiting:
            self._writer.write_table(self._layout.table(self._waiting))
            self._waiting = []


@dataclass(frozen=True)
class TableFormat:
    """A CSV's header, and the cells of a row."""

    columns: Callable[[TableLayout], list[str]]
    cells: Callable[[TableLayout, FaceRow], list[str]]
    delimiter: str = ","


def _mien_columns(layout: TableLayout) -> list[str]:
    """All columns of the Parquet table, in its order."""
    return list(layout.schema.names)


def _mien_cells(layout: TableLayout, row: FaceRow) -> list[str]:
    """Empty where a frame without a face has no value."""
    seen = int(row.face_id is not None)
    face_id = "" if row.face_id is None else str(row.face_id)
    first = [
        row.input,
        str(row.frame),
        _seconds(row),
        face_id,
        str(seen),
        _number(row.confidence),
        row.reason,
        str(int(row.is_usable)),
    ]
    if row.place_21 is None or row.values_V is None:
        return first + [""] * (len(layout.schema.names) - len(first))
    A = len(layout.units)
    values = [_number(value) for value in row.values_V.tolist()]
    present = [_number(value) for value in layout.present(row).tolist()]
    return [*first, *map(_pixels, row.place_21.tolist()), *values[:A], *present, *values[A:]]


def _openface_columns(layout: TableLayout) -> list[str]:
    """OpenFace's `FeatureExtraction` columns, those that mien has values for.

    Frames count from 1; a frame without a face is a line of zeros. `_c` is presence by the model's
    thresholds, empty in all lines where it is left blank; `_r` exists only for units whose intensity the
    model gives, and is never a probability.
    """
    order, coded_A = _ascending(layout)
    intensity = [f"AU{layout.units[at]:02d}_r" for at in order if coded_A[at]]
    presence = [f"AU{layout.units[at]:02d}_c" for at in order]
    return ["frame", "face_id", "timestamp", "confidence", "success", *intensity, *presence]


def _openface_cells(layout: TableLayout, row: FaceRow) -> list[str]:
    first = [str(row.frame + 1), str(row.face_id or 0), _seconds(row)]
    order, coded_A = _ascending(layout)
    if row.face_id is None:
        blank_A = np.isnan(layout.threshold_A)
        return [*first, "0", "0", *["0"] * sum(coded_A), *("" if blank_A[at] else "0" for at in order)]
    intensity_A, present_A = layout.intensity(row), layout.present(row)
    levels = [] if intensity_A is None else [_number(intensity_A[at].item()) for at in order if coded_A[at]]
    presence = [_number(present_A[at].item()) for at in order]
    return [*first, _number(row.confidence), "1", *levels, *presence]


def _ascending(layout: TableLayout) -> tuple[list[int], Sequence[bool]]:
    """The units' positions in ascending order of their numbers, and which have an intensity."""
    coded_A = layout.coded_A
    no_unit = [False] * len(layout.units)
    return np.argsort(layout.units).tolist(), no_unit if coded_A is None else coded_A.tolist()


def _pyfeat_columns(layout: TableLayout) -> list[str]:
    """py-feat's Fex columns: face box, score, pose, probabilities, input, frame and person."""
    units = [f"AU{unit:02d}" for unit in layout.units]
    box = ["FaceRectX", "FaceRectY", "FaceRectWidth", "FaceRectHeight", "FaceScore"]
    return [*box, "Pitch", "Roll", "Yaw", *units, "input", "frame", "approx_time", "Identity"]


def _pyfeat_cells(layout: TableLayout, row: FaceRow) -> list[str]:
    """Empty where a frame without a face has no value."""
    minutes, seconds = divmod(int(max(0.0, row.seconds)), 60)
    last = [row.input, str(row.frame), f"{minutes:02d}:{seconds:02d}"]
    if row.place_21 is None:
        return [*[""] * (8 + len(layout.units)), *last, ""]
    left, top, right, bottom = row.place_21[:4].tolist()
    yaw, pitch, roll = row.place_21[14:17].tolist()
    box = [_pixels(value) for value in (left, top, right - left, bottom - top)]
    pose = [_pixels(value) for value in (pitch, roll, yaw)]
    values = [_number(value) for value in layout.probability(row).tolist()]
    return [*box, _number(row.confidence), *pose, *values, *last, f"Person_{row.face_id}"]


FORMATS = {
    "mien": TableFormat(_mien_columns, _mien_cells),
    "openface": TableFormat(_openface_columns, _openface_cells, delimiter=", "),
    "pyfeat": TableFormat(_pyfeat_columns, _pyfeat_cells),
}


def _seconds(row: FaceRow) -> str:
    return f"{row.seconds:.6f}"


def _pixels(value: float) -> str:
    return "" if math.isnan(value) else f"{value:.2f}"


def _number(value: float) -> str:
    return "" if math.isnan(value) else f"{value:.6g}"


def _quoted(cell: str) -> str:
    """The cell in quotes where it holds a comma, a quote or a line end."""
    if any(character in cell for character in ',"\n\r'):
        return '"' + cell.replace('"', '""') + '"'
    return cell
