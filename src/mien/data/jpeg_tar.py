"""An uncompressed tar of pictures, written as they come: ordinary tools open it, and offsets read from it."""

from __future__ import annotations

import tarfile
from pathlib import Path
from typing import BinaryIO

_BLOCK = tarfile.BLOCKSIZE


class JpegTar:
    """A tar under way. The file is begun with the first picture: without one there is none.

    The same pictures give the same bytes: no times, no owner. (Python's own TarFile would keep every member
    in memory.)
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: BinaryIO | None = None
        self._offset = 0

    def add(self, name: str, content: bytes) -> tuple[int, int]:
        """Append a file; where its content begins, and its length in bytes."""
        if self._file is None:
            self._file = self._path.open("wb")
        member = tarfile.TarInfo(name)
        member.size = len(content)
        self._file.write(member.tobuf(tarfile.USTAR_FORMAT))
        self._file.write(content)
        self._file.write(bytes(-len(content) % _BLOCK))
        begins = self._offset + _BLOCK
        self._offset = begins + len(content) + -len(content) % _BLOCK
        return begins, len(content)

    def __enter__(self) -> JpegTar:
        return self

    def __exit__(self, *_error: object) -> None:
        if self._file is not None:
            with self._file as file:
                file.write(bytes(2 * _BLOCK))  # the end of a tar
