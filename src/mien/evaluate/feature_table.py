"""A table of features on disk, written as they come: one row a frame and face, Parquet or CSV."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import IO, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

ROWS_A_GROUP = 16_384  # the footer has an entry a column and group: small groups would make it the file
KEYS = ("path", "track", "frame", "seconds", "identity")


class FeatureTableError(ValueError):
    """A table that cannot be written as asked."""


@dataclass(frozen=True)
class FeatureKey:
    """Whose feature a row is: a face in a frame of a file. A picture is frame 0 at 0 seconds."""

    path: str
    track: int
    frame: int  # of the source, in decoding order
    seconds: float
    identity: str


class FeatureTable:
    """Within `with FeatureTable(path, feature_dim=512) as table:`, rows go to a file beside `path`.

    At the end that becomes `path`; after an error it is removed. Columns: path, track, frame, seconds,
    identity, f000, f001, ... (float32; 9 significant digits in CSV, which is exact).
    """

    def __init__(self, path: Path, *, feature_dim: int) -> None:
        """FeatureTableError unless the name ends in .parquet or .csv."""
        writers: dict[str, type[_ParquetRows | _CsvRows]] = {".parquet": _ParquetRows, ".csv": _CsvRows}
        if path.suffix not in writers:
            raise FeatureTableError(f"{path}: expected a name that ends in .parquet or .csv")
        self.path = path
        self.num_rows = 0
        self._beside = path.with_name(f".{path.name}.part")
        width = max(3, len(str(feature_dim - 1)))
        names = [f"f{number:0{width}d}" for number in range(feature_dim)]
        path.parent.mkdir(parents=True, exist_ok=True)
        self._rows: _Rows = writers[path.suffix](self._beside, names)

    def write(self, keys: Sequence[FeatureKey], features_ND: NDArray[np.float32]) -> None:
        """Append N rows."""
        if len(keys) != len(features_ND):
            raise ValueError(f"{len(keys)} keys for {len(features_ND)} features")
        self._rows.write(keys, features_ND)
        self.num_rows += len(keys)

    def __enter__(self) -> FeatureTable:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self._rows.close()
            if kind is None:
                self._beside.replace(self.path)
        finally:
            self._beside.unlink(missing_ok=True)


class _Rows(Protocol):
    def write(self, keys: Sequence[FeatureKey], features_ND: NDArray[np.float32]) -> None: ...

    def close(self) -> None: ...


class _ParquetRows:
    def __init__(self, path: Path, names: Sequence[str]) -> None:
        types = (pa.string(), pa.int32(), pa.int64(), pa.float64(), pa.string())
        keys = [pa.field(name, type_) for name, type_ in zip(KEYS, types, strict=True)]
        self._schema = pa.schema([*keys, *(pa.field(name, pa.float32()) for name in names)])
        self._writer = pq.ParquetWriter(path, self._schema)
        self._waiting: list[pa.Table] = []

    def write(self, keys: Sequence[FeatureKey], features_ND: NDArray[np.float32]) -> None:
        columns = [[getattr(key, name) for key in keys] for name in KEYS]
        arrays = [*columns, *np.ascontiguousarray(features_ND.T)]
        self._waiting.append(pa.table(arrays, schema=self._schema))
        if sum(table.num_rows for table in self._waiting) >= ROWS_A_GROUP:
            self._write_group()

    def close(self) -> None:
        self._write_group()
        self._writer.close()

    def _write_group(self) -> None:
        if self._waiting:
            self._writer.write_table(pa.concat_tables(self._waiting).combine_chunks())
            self._waiting = []


class _CsvRows:
    def __init__(self, path: Path, names: Sequence[str]) -> None:
        self._file: IO[str] = path.open("w", newline="", encoding="utf-8")
        self._writer = csv.writer(self._file)
        self._writer.writerow([*KEYS, *names])

    def write(self, keys: Sequence[FeatureKey], features_ND: NDArray[np.float32]) -> None:
        for key, feature_D in zip(keys, features_ND, strict=True):
            numbers = (f"{value:.9g}" for value in feature_D.tolist())
            self._writer.writerow([*(getattr(key, name) for name in KEYS), *numbers])

    def close(self) -> None:
        self._file.close()
