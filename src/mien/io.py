"""Writing files: atomically, by one process at a time; Parquet from many small tables."""

from __future__ import annotations

import errno
import os
import stat
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from filelock import FileLock, Timeout
from numpy.typing import NDArray

if TYPE_CHECKING:
    import pandas as pd

_NO_LOCKS_HERE = (errno.ENOSYS, errno.ENOTSUP, errno.ENOLCK)  # errors of file systems without locks
_ADVICE = {
    **dict.fromkeys(
        (errno.ENOSPC, errno.EDQUOT, errno.EFBIG),
        "Make room, then run the same command again; what was finished is kept.",
    ),
    errno.ENAMETOOLONG: "Its name is too long for this disk: give the source a shorter name.",
    **dict.fromkeys(
        (errno.EEXIST, errno.ENOTDIR, errno.EISDIR),
        "A file stands where a folder is needed, or a folder where a file is: move it away, or give "
        "another --out.",
    ),
    **dict.fromkeys((errno.EACCES, errno.EPERM, errno.EROFS), "Allow writing to it, or give another --out."),
}
_OTHERWISE = "Check the disk, then run the same command again; what was finished is kept."
_OF_ONE_NAME = (errno.ENAMETOOLONG, errno.EEXIST, errno.ENOTDIR, errno.EISDIR)


class WriteError(OSError):
    """A file or folder that cannot be written; the message says why and what to do. No partial file stays."""

    @classmethod
    def of(cls, path: Path, error: OSError) -> WriteError:
        """For an error met while writing `path`; keeps its `errno`."""
        code = error.errno or 0
        why = os.strerror(code) if code in errno.errorcode else str(error)
        return cls(code, f"cannot write {path}: {why}. {_ADVICE.get(code, _OTHERWISE)}")

    @property
    def is_of_one_name(self) -> bool:
        """Whether the name is the problem, so that other files can still be written."""
        return self.errno in _OF_ONE_NAME

    def __str__(self) -> str:
        return str(self.strerror)


@contextmanager
def naming_write_errors(path: Path) -> Iterator[None]:
    """Turn an OSError of the operating system inside into a WriteError that names `path`."""
    try:
        yield
    except OSError as error:
        if error.errno is None or isinstance(error, WriteError):  # our own errors name the file already
            raise
        raise WriteError.of(path, error) from error


def require_usable_name(path: Path) -> None:
    """WriteError if `path` can never be a file: its name is too long, or it is a folder."""
    with naming_write_errors(path):
        try:
            is_folder = stat.S_ISDIR(path.lstat().st_mode)
        except FileNotFoundError:
            return
        if is_folder:
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))


@contextmanager
def replacing(path: Path, *, temporary_folder: Path | None = None) -> Iterator[Path]:
    """A temporary path to write to; it is renamed to `path` at the end, and removed on any error.

    It has a unique name in `temporary_folder` (on the file system of `path`), or is `.NAME.part` beside
    `path`, for files with one writer.

    WriteError if the disk is full, or if the temporary file has disappeared at the end; `path` is then
    unchanged. OSErrors that name other files pass. Data and directory are flushed, so after a power cut the
    file is the old one or the new one.
    """
    require_usable_name(path)
    temporary = path.with_name(f".{path.name}.part")
    if temporary_folder:
        temporary = temporary_folder / f"{uuid.uuid4().hex}{path.suffix}"
    with _naming_own_errors(path, temporary):
        temporary.parent.mkdir(parents=True, exist_ok=True)
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            yield temporary
            _flush(temporary)
            temporary.replace(path)
        finally:
            with suppress(OSError):
                temporary.unlink()
        _flush(path.parent)


def write_bytes(path: Path, content: bytes, *, temporary_folder: Path | None = None) -> None:
    """`content` as the whole of `path`. WriteError."""
    with replacing(path, temporary_folder=temporary_folder) as temporary:
        temporary.write_bytes(content)


def write_csv(path: Path, table: pd.DataFrame, *, float_format: str | None = None) -> None:
    """A data frame as UTF-8 CSV without its index; its folder is made. WriteError."""
    content = table.to_csv(index=False, float_format=float_format)
    write_bytes(path, content.encode("utf-8", "backslashreplace"), temporary_folder=path.parent)


def kept_arrays(path: Path, make: Callable[[], Mapping[str, NDArray[Any]]]) -> dict[str, NDArray[Any]]:
    """The arrays in the .npz file `path`, which is made if it does not exist. WriteError."""
    if not path.exists():
        arrays = make()
        with replacing(path) as temporary, temporary.open("wb") as file:
            np.savez(file, **arrays)  # type: ignore[arg-type]
    with np.load(path, allow_pickle=False) as kept:
        return dict(kept)


@contextmanager
def only_one(lock: Path, *, refusal: Exception | None = None) -> Iterator[None]:
    """Hold a lock on the file `lock`, which is created. The lock of a killed process is free.

    If another process holds it, raise `refusal`; without one, wait. On a file system without locks (scratch
    of some clusters) there is no protection.
    """
    file_lock = FileLock(lock, timeout=0 if refusal else -1)
    try:
        file_lock.acquire()
    except Timeout:
        raise (refusal or TimeoutError(lock)) from None
    except NotImplementedError:
        pass
    except OSError as error:
        if error.errno not in _NO_LOCKS_HERE:
            raise
    try:
        yield
    finally:
        file_lock.release()


class ParquetRows:
    """A Parquet file from many small tables. Its row groups do not depend on how the rows are passed in."""

    def __init__(self, path: Path, schema: pa.Schema, *, rows_per_group: int = 1 << 16) -> None:
        self._writer = pq.ParquetWriter(path, schema, compression="zstd")
        self._rows_per_group = rows_per_group
        self._pending: list[pa.Table] = []
        self._num_pending = 0

    def add(self, table: pa.Table) -> None:
        """Append rows."""
        self._pending.append(table)
        self._num_pending += table.num_rows
        if self._num_pending >= self._rows_per_group:
            together = pa.concat_tables(self._pending).combine_chunks()
            whole = self._num_pending // self._rows_per_group * self._rows_per_group
            self._writer.write_table(together.slice(0, whole), row_group_size=self._rows_per_group)
            self._pending = [together.slice(whole)]
            self._num_pending -= whole

    def __enter__(self) -> ParquetRows:
        return self

    def __exit__(self, *_error: object) -> None:
        if self._num_pending:
            self._writer.write_table(pa.concat_tables(self._pending).combine_chunks())
        self._writer.close()


@contextmanager
def _naming_own_errors(path: Path, temporary: Path) -> Iterator[None]:
    """Errors of writing, flushing and closing name no file; those of opening and moving do."""
    own = {str(place) for place in (path, temporary)} | {str(place) for place in temporary.parents}
    own |= {str(place) for place in path.parents}
    try:
        yield
    except OSError as error:
        if error.filename is None or str(error.filename) in own:
            with naming_write_errors(path):
                raise
        raise


def _flush(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
