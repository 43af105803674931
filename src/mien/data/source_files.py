"""A source as a file that can be read: where it lies, or a copy for a while of one in an object store."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path

from mien.data.parts import Fingerprint
from mien.data.remote import RemoteError, copied, hash_remote, is_url, look_at
from mien.data.sources import Source
from mien.data.store_layout import TEMPORARY
from mien.faces.landmarks_beside import landmarks_path
from mien.io import naming_write_errors


@contextmanager
def at_hand(source: Source, *, store: Path, with_landmarks: bool) -> Iterator[Source]:
    """The source with a path that can be read now: its own, or a copy's in the store's temporary folder.

    The copy goes at the end; `with_landmarks` copies NAME.landmarks.csv beside it too, where there is one.
    RemoteError where the file is not to be had; WriteError where there is no room for the copy.
    """
    if not source.url:
        yield source
        return
    file = source.now()
    beside = landmarks_path(Path(source.url)).name if with_landmarks else ""
    copy = copied(source.url, folder=store / TEMPORARY, size_bytes=file.size_bytes, beside=beside)
    with ExitStack() as stack:
        with naming_write_errors(store):
            path = stack.enter_context(copy)
        yield replace(source, path=path, listed=file)


def fingerprint_of(source: Source) -> Fingerprint:
    """Of a file at hand; a copy's goes by its URL and by the version it has there. OSError."""
    taken = Fingerprint.take(source.path)
    return replace(taken, path=source.url, modified_ns=source.now().version) if source.url else taken


def is_same(source: Source, prepared: Fingerprint) -> bool:
    """Whether it is what was prepared; read through only where its version differs. OSError, RemoteError."""
    if not source.url:
        return prepared.matches(source.path)
    file = source.now()
    if (file.size_bytes, file.version) == (prepared.size_bytes, prepared.modified_ns):
        return True
    return file.size_bytes in (-1, prepared.size_bytes) and hash_remote(source.url) == prepared.sha256


def is_there(where: str) -> bool:
    """Whether a file is at a path or a URL now."""
    if not is_url(where):
        return Path(where).exists()
    try:
        return bool(look_at(where))
    except RemoteError:
        return False
