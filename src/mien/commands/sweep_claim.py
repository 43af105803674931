"""Who is at a run: a lock each, so that sweeps that share a folder do none twice."""

from __future__ import annotations

import fcntl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import IO

from mien.data.lock import NO_LOCKS_HERE

_in_this_process = threading.Lock()


class Claim:
    """The file at `path`, locked for as long as this, or a process that was given `handles`, is at it.

    On a file system without locks every claim is held: there sweeps share a folder by shards.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.held = False
        self._file: IO[str] | None = None

    @property
    def handles(self) -> tuple[int, ...]:
        """To be passed on to the process that does the work."""
        return (self._file.fileno(),) if self._file else ()

    def __enter__(self) -> Claim:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._file = self.path.open("w")
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self.held = True
        except BlockingIOError:
            self.held = False
        except OSError as error:
            if error.errno not in NO_LOCKS_HERE:
                raise
            self.held = True
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._file:
            self._file.close()


@contextmanager
def alone_in(folder: Path) -> Iterator[None]:
    """Wait until no other sweep writes the table in `folder`."""
    with _in_this_process, (folder / ".lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX)
        except OSError as error:
            if error.errno not in NO_LOCKS_HERE:
                raise
        yield
