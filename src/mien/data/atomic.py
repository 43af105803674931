"""Files that appear whole or not at all: written beside, flushed to the disk, then renamed."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


class StoreWriteError(OSError):
    """The store cannot be written to: a full disk, say. Nothing half-written stays behind."""


@contextmanager
def replacing(path: Path, *, temporary_folder: Path) -> Iterator[Path]:
    """A path in `temporary_folder` to write to; becomes `path` at the end, is removed on any error.

    FileNotFoundError where it is not there at the end (another process cleared the folder, say); `path` is
    then as it was. `temporary_folder` lies on the file system of `path`. Data and directory are flushed,
    so that after a power cut the file is the old one or the new one.
    """
    temporary_folder.mkdir(parents=True, exist_ok=True)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = temporary_folder / f"{uuid.uuid4().hex}{path.suffix}"
    try:
        yield temporary
        _flush(temporary)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    _flush(path.parent)


def write_bytes(path: Path, content: bytes, *, temporary_folder: Path) -> None:
    """`content` as the whole of `path`."""
    with replacing(path, temporary_folder=temporary_folder) as temporary:
        temporary.write_bytes(content)


@contextmanager
def told_as_write_error(store: Path) -> Iterator[None]:
    """Turn an OSError inside into a StoreWriteError that names the store and says how to go on."""
    try:
        yield
    except OSError as error:
        raise StoreWriteError(
            f"cannot write to {store}: {error.strerror or error}. What was finished is kept: "
            "make room (or mend the disk), then run the same command again."
        ) from error


def _flush(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
