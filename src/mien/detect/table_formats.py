"""The CSV's columns: mien's own, or those that readers of OpenFace's and py-feat's tables expect."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from mien.detect.rows import FaceRow
from mien.detect.table_layout import TableLayout


class TableFormat(Protocol):
    """A header, and a line of cells a row."""

    @property
    def delimiter(self) -> str:
        """What stands between cells."""

    @property
    def columns(self) -> list[str]:
        """The header."""

    def cells(self, row: FaceRow) -> list[str]:
        """The row's cells, as text."""


@dataclass(frozen=True)
class MienFormat:
    """All columns of the Parquet table, in its order."""

    layout: TableLayout
    delimiter: str = ","

    @property
    def columns(self) -> list[str]:
        """The header."""
        return list(self.layout.schema.names)

    def cells(self, row: FaceRow) -> list[str]:
        """The row's cells; nothing for what a frame without a face has no value for."""
        seen = int(row.face_id is not None)
        face_id = "" if row.face_id is None else str(row.face_id)
        first = [row.input, str(row.frame), _seconds(row), face_id, str(seen), _number(row.confidence)]
        return [*first, row.reason, *self._measured(row)]

    def _measured(self, row: FaceRow) -> Iterator[str]:
        if row.place_17 is None or row.values_V is None:
            yield from [""] * (len(self.columns) - 7)
            return
        A = len(self.layout.units)
        yield from (_pixels(value) for value in row.place_17.tolist())
        yield from (_number(value) for value in row.values_V[:A].tolist())
        yield from ("1" if present else "0" for present in self.layout.present(row))
        yield from (_number(value) for value in row.values_V[A:].tolist())


@dataclass(frozen=True)
class OpenFaceFormat:
    """OpenFace's `FeatureExtraction` columns, as far as there is something to put into them.

    Frames count from 1; a frame without a face is a line of zeros. `_c` is presence by the model's
    thresholds; `_r` is there only for units whose intensity the model gives, and is never a probability.
    """

    layout: TableLayout
    delimiter: str = ", "

    @property
    def columns(self) -> list[str]:
        """The header."""
        intensity = [f"AU{unit:02d}_r" for unit, coded in self._in_order() if coded]
        presence = [f"AU{unit:02d}_c" for unit, _ in self._in_order()]
        return ["frame", "face_id", "timestamp", "confidence", "success", *intensity, *presence]

    def cells(self, row: FaceRow) -> list[str]:
        """The row's cells."""
        first = [str(row.frame + 1), str(row.face_id or 0), _seconds(row)]
        if row.face_id is None:
            return first + ["0"] * (len(self.columns) - 3)
        order = np.argsort(self.layout.units)
        intensity_A, coded_A = self.layout.intensity(row), self.layout.coded_A
        levels = [] if intensity_A is None or coded_A is None else intensity_A[order][coded_A[order]].tolist()
        present = [str(int(value)) for value in self.layout.present(row)[order]]
        return [*first, _number(row.confidence), "1", *map(_number, levels), *present]

    def _in_order(self) -> list[tuple[int, bool]]:
        coded_A = self.layout.coded_A
        coded = [False] * len(self.layout.units) if coded_A is None else coded_A.tolist()
        return sorted(zip(self.layout.units, coded, strict=True))


@dataclass(frozen=True)
class PyFeatFormat:
    """The columns of py-feat's Fex tables: face box, score, pose, probabilities, input, frame and person."""

    layout: TableLayout
    delimiter: str = ","

    @property
    def columns(self) -> list[str]:
        """The header."""
        units = [f"AU{unit:02d}" for unit in self.layout.units]
        box = ["FaceRectX", "FaceRectY", "FaceRectWidth", "FaceRectHeight", "FaceScore"]
        return [*box, "Pitch", "Roll", "Yaw", *units, "input", "frame", "approx_time", "Identity"]

    def cells(self, row: FaceRow) -> list[str]:
        """The row's cells; nothing for what a frame without a face has no value for."""
        minutes, seconds = divmod(int(max(0.0, row.seconds)), 60)
        last = [row.input, str(row.frame), f"{minutes:02d}:{seconds:02d}"]
        if row.place_17 is None:
            return [*[""] * (len(self.columns) - 4), *last, ""]
        left, top, right, bottom = row.place_17[:4].tolist()
        yaw, pitch, roll = row.place_17[14:].tolist()
        box = [_pixels(value) for value in (left, top, right - left, bottom - top)]
        pose = [_pixels(value) for value in (pitch, roll, yaw)]
        values = [_number(value) for value in self.layout.probability(row).tolist()]
        return [*box, _number(row.confidence), *pose, *values, *last, f"Person_{row.face_id}"]


FORMATS: dict[str, Callable[[TableLayout], TableFormat]] = {
    "mien": MienFormat,
    "openface": OpenFaceFormat,
    "pyfeat": PyFeatFormat,
}


def _seconds(row: FaceRow) -> str:
    return f"{row.seconds:.6f}"


def _pixels(value: float) -> str:
    return "" if math.isnan(value) else f"{value:.2f}"


def _number(value: float) -> str:
    return "" if math.isnan(value) else f"{value:.6g}"


def quoted(cell: Any, delimiter: str) -> str:
    """The cell as CSV wants it where it holds a delimiter, a quote or a line's end."""
    text = str(cell)
    if any(character in text for character in (delimiter.strip() or delimiter, '"', "\n", "\r")):
        return '"' + text.replace('"', '""') + '"'
    return text
