"""Raw rows of a medium on disk, before baseline and smoothing: to go on from, and to read a second time."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from mien.detect.table import FaceRow


class Journal:
    """Raw rows on disk: one line of JSON per block of whole frames, out of this process when `write` returns.

    JSON keeps every bit of a float. A line that a killed process left unfinished is cut off.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file = path.open("ab")
        self._file.truncate(_whole_bytes(path))

    def write(self, block: Sequence[FaceRow]) -> None:
        """Append the rows of whole frames."""
        self._file.write(json.dumps([_plain(row) for row in block]).encode() + b"\n")
        self._file.flush()

    def rows(self) -> Iterator[FaceRow]:
        """All rows, from the first; memory holds one block."""
        with self._path.open("rb") as file:
            for line in file:
                for name, frame, seconds, face_id, confidence, reason, place, values in json.loads(line):
                    at = (name, frame, seconds)
                    yield FaceRow(*at, face_id, confidence, reason, _array(place), _array(values))

    def close(self) -> None:
        """No more rows. The file stays."""
        self._file.close()


def _whole_bytes(path: Path) -> int:
    whole = 0
    with path.open("rb") as file, suppress(ValueError):
        for line in file:
            if not line.endswith(b"\n") or not isinstance(json.loads(line), list):
                break
            whole += len(line)
    return whole


def _plain(row: FaceRow) -> list[Any]:
    arrays = [None if part is None else part.tolist() for part in (row.place_21, row.values_V)]
    return [row.input, row.frame, row.seconds, row.face_id, row.confidence, row.reason, *arrays]


def _array(plain: list[float] | None) -> np.ndarray[Any, np.dtype[np.float32]] | None:
    return None if plain is None else np.array(plain, np.float32)
