"""One process at a time writes to a store, or to a table."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from mien.data.store_layout import LOCK, StoreError

NO_LOCKS_HERE = (errno.ENOSYS, errno.ENOTSUP, errno.ENOLCK)  # errors of file systems without any


@contextmanager
def writing_to(store: Path) -> Iterator[None]:
    """Hold the store's lock; StoreError if another process holds it. A killed process holds none.

    On a file system without locks (some clusters' scratch) nobody is kept out.
    """
    store.mkdir(parents=True, exist_ok=True)
    refusal = StoreError(
        f"another process is writing to {store}: wait for it, or give each job its own store "
        "(--shard i/n, and `mien merge` at the end)"
    )
    with only_one(store / LOCK, refusal=refusal):
        yield


@contextmanager
def only_one(lock: Path, *, refusal: Exception | None = None) -> Iterator[None]:
    """Hold the lock on the file `lock`, which is created. If another process holds it, `refusal` is raised;
    without one, wait.
    """
    file_lock = FileLock(lock, timeout=0 if refusal else -1)
    try:
        file_lock.acquire()
    except Timeout:
        raise (refusal or TimeoutError(lock)) from None
    except NotImplementedError:
        pass
    except OSError as error:
        if error.errno not in NO_LOCKS_HERE:
            raise
    try:
        yield
    finally:
        file_lock.release()
