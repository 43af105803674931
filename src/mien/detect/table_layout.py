"""The table's columns: how rows become an Arrow table."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from mien.detect.rows import PLACE, FaceRow, au_columns

METADATA_KEY = b"mien"  # of the Arrow schema: JSON


@dataclass(frozen=True, eq=False)
class TableLayout:
    """The columns of one model's tables."""

    units: tuple[int, ...]
    threshold_A: NDArray[np.float32]
    coded_A: NDArray[np.bool_] | None  # which units have an intensity; None: a model without

    @property
    def with_intensity(self) -> bool:
        """Whether there are columns of intensities."""
        return self.coded_A is not None

    @property
    def num_values(self) -> int:
        """V of `FaceRow.values_V`: probabilities, and intensities where there are some."""
        return len(self.units) * (2 if self.with_intensity else 1)

    @cached_property
    def schema(self) -> pa.Schema:
        """Names and types, in order."""
        names = au_columns(self.units, with_intensity=self.with_intensity)
        return pa.schema(
            [
                ("input", pa.string()),
                ("frame", pa.int64()),
                ("timestamp", pa.float64()),
                ("face_id", pa.int32()),
                ("success", pa.int8()),
                ("confidence", pa.float32()),
                ("reason", pa.string()),
                *((name, pa.float32()) for name in PLACE),
                *((name, pa.int8() if name.endswith("_present") else pa.float32()) for name in names),
            ]
        )

    def probability(self, row: FaceRow) -> NDArray[np.float32]:
        """(A,), of a row with a face."""
        assert row.values_V is not None
        return row.values_V[: len(self.units)]

    def present(self, row: FaceRow) -> NDArray[np.bool_]:
        """(A,): above the unit's threshold."""
        above_A: NDArray[np.bool_] = self.probability(row) > self.threshold_A
        return above_A

    def intensity(self, row: FaceRow) -> NDArray[np.float32] | None:
        """(A,), 0 to 5, NaN for units without; None for a model without."""
        assert row.values_V is not None
        return row.values_V[len(self.units) :] if self.with_intensity else None

    def table(self, rows: Sequence[FaceRow]) -> pa.Table:
        """The rows as an Arrow table; what a frame without a face has no value for is null."""
        A = len(self.units)
        no_face_N = np.array([row.face_id is None for row in rows], bool)
        place_N17 = _stacked([row.place_17 for row in rows], len(PLACE))
        values_NV = _stacked([row.values_V for row in rows], self.num_values)
        present_NA = (values_NV[:, :A] > self.threshold_A).astype(np.int8)
        columns: list[Any] = [
            [row.input for row in rows],
            [row.frame for row in rows],
            [row.seconds for row in rows],
            [row.face_id for row in rows],
            (~no_face_N).astype(np.int8),
            np.array([row.confidence for row in rows], np.float32),
            [row.reason for row in rows],
        ]
        blocks = (place_N17, values_NV[:, :A], present_NA, values_NV[:, A:])
        columns += [_column(values_N, no_face_N) for values in blocks for values_N in values.T]
        arrays = [
            column if isinstance(column, pa.Array) else pa.array(column, type=field.type)
            for column, field in zip(columns, self.schema, strict=True)
        ]
        return pa.table(arrays, schema=self.schema)


def with_metadata(schema: pa.Schema, metadata: Mapping[str, Any]) -> pa.Schema:
    """The schema with what is known of the table, as JSON."""
    return schema.with_metadata({METADATA_KEY: json.dumps(metadata).encode()})


def metadata_of(schema: pa.Schema) -> dict[str, Any]:
    """What `with_metadata` put there; {} where nothing did."""
    plain: dict[str, Any] = json.loads((schema.metadata or {}).get(METADATA_KEY, b"{}"))
    return plain


def _stacked(parts: Sequence[NDArray[np.float32] | None], width: int) -> NDArray[np.float32]:
    stacked = np.zeros((len(parts), width), np.float32)
    for at, part in enumerate(parts):
        if part is not None:
            stacked[at] = part
    return stacked


def _column(values_N: NDArray[Any], no_face_N: NDArray[np.bool_]) -> pa.Array:
    nothing_N = no_face_N | np.isnan(values_N) if values_N.dtype.kind == "f" else no_face_N
    return pa.array(np.ascontiguousarray(values_N), mask=nothing_N)
