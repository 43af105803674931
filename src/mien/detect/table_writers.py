"""Tables written as their rows come: a CSV that is whole up to its last line, and a Parquet file."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from mien.detect.rows import FaceRow
from mien.detect.table_formats import TableFormat, quoted
from mien.detect.table_layout import METADATA_KEY, TableLayout

ROWS_A_GROUP = 4_096  # some minutes of one face; so many rows are all that memory holds


class CsvTable:
    """Lines that are out of this process once `write` returns."""

    def __init__(self, path: Path, table_format: TableFormat) -> None:
        self._format = table_format
        self._file = path.open("w", newline="", encoding="utf-8", errors="backslashreplace")
        self._put([table_format.columns])

    def write(self, rows: Sequence[FaceRow]) -> None:
        """Append rows."""
        self._put([self._format.cells(row) for row in rows])

    def close(self) -> None:
        """No more rows."""
        self._file.close()

    def _put(self, lines: list[list[str]]) -> None:
        delimiter = self._format.delimiter
        self._file.writelines(
            delimiter.join(quoted(cell, delimiter) for cell in line) + "\n" for line in lines
        )
        self._file.flush()


class ParquetTable:
    """Row groups in a file beside `path`, which becomes `path` when the table is finished."""

    def __init__(self, path: Path, layout: TableLayout) -> None:
        self._path = path
        self._beside = path.with_name(f".{path.name}.part")
        self._layout = layout
        # Without a copy of the schema: its metadata, of the start, would be read in place of the file's.
        self._writer = pq.ParquetWriter(self._beside, layout.schema, store_schema=False)
        self._waiting: list[FaceRow] = []

    def write(self, rows: Sequence[FaceRow]) -> None:
        """Append rows."""
        self._waiting += rows
        if len(self._waiting) >= ROWS_A_GROUP:
            self._write_group()

    def finish(self, metadata: Mapping[str, Any]) -> None:
        """The table is whole, and this is known of it."""
        self._write_group()
        self._writer.add_key_value_metadata({METADATA_KEY: json.dumps(metadata).encode()})
        self._writer.close()
        self._beside.replace(self._path)

    def close(self) -> None:
        """Give up, or nothing once it is finished."""
        try:
            self._writer.close()
        finally:
            self._beside.unlink(missing_ok=True)

    def _write_group(self) -> None:
        if self._waiting:
            self._writer.write_table(self._layout.table(self._waiting))
            self._waiting = []
