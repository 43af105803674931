"""An input's rows so far, on the disk as they come, so that a killed run goes on behind its last frame.

An Arrow stream, one record batch for some whole frames. The rows are those before baseline and smoothing,
with every bit of their numbers, so that what follows from them follows again. A batch cut short by the end of
a process is cut off.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa

from mien.detect.rows import PLACE, FaceRow


class Journal:
    """Within `with Journal(path, num_values=12) as journal:`, blocks of whole frames are kept.

    One at a time: who opens it holds the table's lock.
    """

    def __init__(self, path: Path, *, num_values: int) -> None:
        """Opens what an earlier run left, without its unfinished last block, or begins."""
        self.path = path
        self._schema = _schema(num_values)
        self._file = path.open("a+b")
        whole_bytes = _whole_bytes(path, self._schema)
        self._file.truncate(whole_bytes)
        if not whole_bytes:
            self._put(self._schema.serialize())

    def write(self, block: Sequence[FaceRow]) -> None:
        """Keep some whole frames; they are out of this process when it returns."""
        if block:
            self._put(_batch(block, self._schema).serialize())

    def rows(self) -> Iterator[FaceRow]:
        """All rows kept so far, from the first on; a block at a time in memory."""
        yield from read_journal(self.path)

    def close(self) -> None:
        """No more rows. The file stays."""
        self._file.close()

    def __enter__(self) -> Journal:
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()

    def _put(self, message: pa.Buffer) -> None:
        self._file.write(message)
        self._file.flush()


def read_journal(path: Path) -> Iterator[FaceRow]:
    """The rows of a journal's whole blocks."""
    with path.open("rb") as file:
        for batch in _batches(pa.PythonFile(file, mode="r")):
            yield from _rows(batch)


def _schema(num_values: int) -> pa.Schema:
    return pa.schema(
        {
            "input": pa.string(),
            "frame": pa.int64(),
            "seconds": pa.float64(),
            "face_id": pa.int32(),
            "confidence": pa.float64(),
            "reason": pa.string(),
            "place": pa.list_(pa.float32(), len(PLACE)),
            "values": pa.list_(pa.float32(), num_values),
        }
    )


def _batch(block: Sequence[FaceRow], schema: pa.Schema) -> pa.RecordBatch:
    columns = [
        [row.input for row in block],
        [row.frame for row in block],
        [row.seconds for row in block],
        [row.face_id for row in block],
        [row.confidence for row in block],
        [row.reason for row in block],
        [row.place_17 for row in block],
        [row.values_V for row in block],
    ]
    arrays = [pa.array(column, type=field.type) for column, field in zip(columns, schema, strict=True)]
    return pa.record_batch(arrays, schema=schema)


def _rows(batch: pa.RecordBatch) -> Iterator[FaceRow]:
    plain = zip(*(column.to_pylist() for column in batch.columns[:6]), strict=True)
    place_N17, values_NV = (
        column.values.to_numpy(zero_copy_only=False).reshape(len(batch), -1) for column in batch.columns[6:]
    )
    for at, (name, frame, seconds, face_id, confidence, reason) in enumerate(plain):
        seen = face_id is not None
        yield FaceRow(
            name,
            frame,
            seconds,
            face_id,
            confidence,
            reason,
            place_N17[at].astype(np.float32) if seen else None,
            values_NV[at].astype(np.float32) if seen else None,
        )


def _whole_bytes(path: Path, schema: pa.Schema) -> int:
    """How many bytes of the file are whole blocks of this kind of rows; 0 where it is none."""
    with path.open("rb") as file:
        source = pa.PythonFile(file, mode="r")
        whole = 0
        try:
            reader = pa.ipc.MessageReader.open_stream(source)
            while True:
                message = reader.read_next_message()
                if message.type == "schema" and pa.ipc.read_schema(message) != schema:
                    return 0
                whole = file.tell()
        except (StopIteration, EOFError, pa.ArrowInvalid, OSError):
            return whole


def _batches(source: pa.NativeFile) -> Iterator[pa.RecordBatch]:
    with pa.ipc.open_stream(source) as reader:
        yield from reader
