"""One process at a time writes to a store."""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mien.data.store_layout import LOCK, StoreError


@contextmanager
def writing_to(store: Path) -> Iterator[None]:
    """Hold the store's lock; StoreError if another process holds it. A killed process holds none."""
    store.mkdir(parents=True, exist_ok=True)
    with (store / LOCK).open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise StoreError(
                f"another process is writing to {store}: wait for it, or give each job its own store "
                "(--shard i/n, and `mien merge` at the end)"
            ) from None
        yield
