"""One process at a time writes to a store."""

from __future__ import annotations

import errno
import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mien.data.store_layout import LOCK, StoreError

_NO_LOCKS_HERE = (errno.ENOSYS, errno.ENOTSUP, errno.ENOLCK)


@contextmanager
def writing_to(store: Path) -> Iterator[None]:
    """Hold the store's lock; StoreError if another process holds it. A killed process holds none.

    On a file system without locks (some clusters' scratch) nobody is kept out.
    """
    store.mkdir(parents=True, exist_ok=True)
    with (store / LOCK).open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise StoreError(
                f"another process is writing to {store}: wait for it, or give each job its own store "
                "(--shard i/n, and `mien merge` at the end)"
            ) from None
        except OSError as error:
            if error.errno not in _NO_LOCKS_HERE:
                raise
        yield
