"""Tables written row by row as they are detected: CSV, in mien's columns or another tool's, and Parquet."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import pyarrow.parquet as pq

from mien.detect.table import METADATA_KEY, PLACE, FaceRow, TableLayout

ROWS_PER_GROUP = 4_096  # some minutes of one face; memory holds this many rows

Format: TypeAlias = tuple[str, Sequence[str], Callable[[FaceRow], Iterable[str]]]
"""What separates cells, the header, and the cells of a row."""


class TableWriter:
    """A CSV, whose lines are out of this process when `write` returns, and a Parquet file of the same rows.

    The Parquet file appears under its name when it is finished.
    """

    def __init__(self, csv: Path, parquet: Path, layout: TableLayout, csv_format: str = "mien") -> None:
        self._separator, header, self._cells = FORMATS[csv_format](layout)
        self._layout, self._parquet = layout, parquet
        self._waiting: list[FaceRow] = []
        self._part = parquet.with_name(f".{parquet.name}.part")
        # Without a copy of the schema: its metadata, of the start, would be read in place of the file's.
        self._writer = pq.ParquetWriter(self._part, layout.schema, store_schema=False)
        self._csv = csv.open("w", newline="", encoding="utf-8", errors="backslashreplace")
        self._put([header])

    def write(self, rows: Sequence[FaceRow]) -> None:
        """Append rows."""
        self._put(map(self._cells, rows))
        self._waiting += rows
        if len(self._waiting) >= ROWS_PER_GROUP:
            self._write_group()

    def finish(self, metadata: Mapping[str, Any]) -> None:
        """Complete the Parquet file, with the table's metadata."""
        self._write_group()
        self._writer.add_key_value_metadata({METADATA_KEY: json.dumps(metadata).encode()})
        self._writer.close()
        self._part.replace(self._parquet)

    def close(self) -> None:
        """No more rows; a Parquet file that is not finished is given up."""
        self._csv.close()
        try:
            self._writer.close()
        finally:
            self._part.unlink(missing_ok=True)

    def _put(self, lines: Iterable[Iterable[str]]) -> None:
        self._csv.writelines(self._separator.join(map(_quoted, line)) + "\n" for line in lines)
        self._csv.flush()

    def _write_group(self) -> None:
        if self._waiting:
            self._writer.write_table(self._layout.table(self._waiting))
            self._waiting = []


def _mien(layout: TableLayout) -> Format:
    """All columns of the Parquet table, in its order; empty where there is no value."""
    digits = {"timestamp": ".6f", **dict.fromkeys(PLACE, ".2f")}

    def cells(row: FaceRow) -> Iterable[str]:
        return (_text(value, digits.get(name, ".6g")) for name, value in layout.values(row).items())

    return ",", layout.schema.names, cells


def _openface(layout: TableLayout) -> Format:
    """OpenFace's `FeatureExtraction` columns, those that mien has values for.

    Frames count from 1; a frame without a face is a line of zeros. `_c` is presence by the model's
    thresholds, empty in all lines where it is left blank; `_r` exists only for units whose intensity the
    model gives, and is never a probability.
    """
    coded_A = [False] * len(layout.units) if layout.coded_A is None else layout.coded_A
    graded = [f"AU{unit:02d}" for unit, coded in sorted(zip(layout.units, coded_A, strict=True)) if coded]
    units, shown = [f"AU{unit:02d}" for unit in sorted(layout.units)], layout.thresholds

    def cells(row: FaceRow) -> Iterable[str]:
        of: Mapping[str, Any] = defaultdict(int) if row.face_id is None else layout.values(row)
        levels = [of[f"{unit}_intensity"] for unit in graded]
        presence = [of[f"{unit}_present"] if unit in shown else None for unit in units]
        first = (row.frame + 1, row.face_id or 0, f"{row.seconds:.6f}", of["confidence"], of["success"])
        return map(_text, (*first, *levels, *presence))

    header = ["frame", "face_id", "timestamp", "confidence", "success"]
    return ", ", [*header, *(f"{unit}_r" for unit in graded), *(f"{unit}_c" for unit in units)], cells


def _pyfeat(layout: TableLayout) -> Format:
    """py-feat's Fex columns: face box, score, pose, probabilities, input, frame and person."""
    units = [f"AU{unit:02d}" for unit in layout.units]

    def cells(row: FaceRow) -> Iterable[str]:
        minutes, seconds = divmod(int(max(0.0, row.seconds)), 60)
        last = [row.input, str(row.frame), f"{minutes:02d}:{seconds:02d}"]
        if row.place_21 is None:
            return [*[""] * (8 + len(units)), *last, ""]
        left, top, right, bottom = row.place_21[:4].tolist()
        yaw, pitch, roll = row.place_21[14:17].tolist()
        box = [_text(value, ".2f") for value in (left, top, right - left, bottom - top)]
        pose = [_text(value, ".2f") for value in (pitch, roll, yaw)]
        of = layout.values(row)
        probabilities = [_text(of[unit]) for unit in units]
        return [*box, _text(row.confidence), *pose, *probabilities, *last, f"Person_{row.face_id}"]

    box_and_pose = ["FaceRectX", "FaceRectY", "FaceRectWidth", "FaceRectHeight", "FaceScore"]
    box_and_pose += ["Pitch", "Roll", "Yaw"]
    return ",", [*box_and_pose, *units, "input", "frame", "approx_time", "Identity"], cells


FORMATS: Mapping[str, Callable[[TableLayout], Format]] = {
    "mien": _mien,
    "openface": _openface,
    "pyfeat": _pyfeat,
}


def _text(value: Any, digits: str = ".6g") -> str:
    """A value of a row; empty for None."""
    return "" if value is None else f"{value:{digits}}" if isinstance(value, float) else str(value)


def _quoted(cell: str) -> str:
    """The cell in quotes where it holds a comma, a quote or a line end."""
    if any(character in cell for character in ',"\n\r'):
        return '"' + cell.replace('"', '""') + '"'
    return cell
