"""Files behind URLs, by any protocol of fsspec (extra `remote`): listed and copied here."""

from __future__ import annotations

import errno
import hashlib
import re
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, TypeVar
from urllib.parse import urlsplit

Answer = TypeVar("Answer")

SECONDS_BEFORE_NEXT_TRY = (0.5, 2.0, 8.0)
_FOR_GOOD = (FileNotFoundError, PermissionError, IsADirectoryError, NotADirectoryError, NotImplementedError)
_OUR_DISK = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS)
_VERSIONS = (  # keys of file systems for values that change with the content
    *("ETag", "etag", "md5Hash", "Content-MD5", "Digest", "sha", "blob_id"),
    *("LastModified", "last_modified", "Last-Modified", "modificationTime", "mtime", "modify"),
    *("updated", "created"),
)
_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+://")


class RemoteError(ValueError):
    """A file behind a URL that cannot be read now; the message gives the URL and the reason."""


class MissingDriverError(ValueError):
    """No package for this kind of URL is installed, or the URL may not be used; says what to do."""


@dataclass(frozen=True)
class RemoteFile:
    """A file behind a URL.

    size_bytes: -1 where unknown. version: changes with the content; constant where the server reports neither
    a digest nor a time.
    """

    url: str
    name: str  # below the folder that was listed
    size_bytes: int
    version: int


def is_url(given: object) -> bool:
    """Whether `given` is a URL, such as s3://bucket/folder or file:///videos, and not a path."""
    return isinstance(given, str) and _URL.match(given) is not None


def path_or_url(text: str) -> Path | str:
    """For argparse: a URL stays a string (a Path would lose a slash)."""
    return text if is_url(text) else Path(text)


def list_remote(url: str) -> list[RemoteFile]:
    """The files below a URL (or the file there), none hidden, by name. RemoteError, MissingDriverError."""
    system, root = _open(url)
    found: dict[str, dict[str, Any]] = _tried(lambda: system.find(root, detail=True), url)
    files = []
    for place, info in sorted(found.items()):
        name = place.removeprefix(root).lstrip("/")  # empty for the URL of a file
        if not any(part.startswith(".") for part in PurePosixPath(name).parts):  # nor may `..` lead out
            file_url = f"{url.rstrip('/')}/{name}" if name else url
            known = dict(info)
            if not _version_of(info):  # a listing over HTTP contains names alone
                with suppress(RemoteError):  # reported when the file is read
                    known |= _info(system, place, file_url)
            files.append(_described(file_url, name, known))
    if not files:
        raise RemoteError(f"no file at {url}: it does not exist, or is empty")
    return files


def require_readable(url: str) -> None:
    """MissingDriverError or RemoteError if URLs of this kind cannot be read; sends no request."""
    _open(url)


def look_at(url: str) -> RemoteFile:
    """One file as it is now. RemoteError."""
    system, path = _open(url)
    return _described(url, "", _info(system, path, url))


def copy_here(url: str, to: Path, *, size_bytes: int = -1) -> str:
    """Copy a file to the path `to` and return its SHA-256. An incomplete copy is requested again.

    RemoteError if it cannot be read, WriteError if the local disk is full.
    """
    system, path = _open(url)

    def copy() -> str:
        to.unlink(missing_ok=True)
        system.get_file(path, str(to))
        if size_bytes not in (-1, to.stat().st_size):
            raise OSError(errno.EIO, f"{to.stat().st_size} bytes received, expected {size_bytes}")
        with to.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()

    return _tried(copy, url)


def hash_remote(url: str) -> str:
    """SHA-256 of a file's content. RemoteError."""
    system, path = _open(url)

    def read() -> str:
        with system.open(path, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()

    return _tried(read, url)


def _open(url: str) -> tuple[Any, str]:
    parts = urlsplit(url)
    if parts.password or (parts.scheme in ("http", "https") and parts.query):
        raise MissingDriverError(
            f"{parts.scheme}://{parts.hostname}/...: a URL with a password or a signature in it would be "
            "written into the store. Give credentials by the environment, or by fsspec's configuration files."
        )
    if "::" in url:
        raise RemoteError(f"cannot read {url}: to fsspec `::` chains URLs; rename the file")
    try:
        from fsspec.core import url_to_fs

        system, path = url_to_fs(url)
    except (ImportError, ValueError) as error:
        raise MissingDriverError(
            f"{url}: {error}. URLs take fsspec (pip install 'mien[remote]') and a package for each kind of "
            "store: s3fs for s3://, gcsfs for gs://, adlfs for abfs://"
        ) from error
    system.invalidate_cache()  # listings from earlier in this process
    return system, path


def _tried(ask: Callable[[], Answer], url: str) -> Answer:
    """The answer; retried a few times after errors that may pass."""
    for seconds in (*SECONDS_BEFORE_NEXT_TRY, None):
        try:
            return ask()
        except Exception as error:  # each driver has its own errors
            if isinstance(error, OSError) and error.errno in _OUR_DISK:
                raise
            if seconds is None or isinstance(error, _FOR_GOOD):
                why = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
                why = "it does not exist" if isinstance(error, FileNotFoundError) else why
                raise RemoteError(f"cannot read {url}: {why}") from error
            time.sleep(seconds)
    raise AssertionError


def _info(system: Any, place: str, url: str) -> dict[str, Any]:
    info: dict[str, Any] = _tried(lambda: system.info(place), url)
    return info


def _described(url: str, name: str, info: dict[str, Any]) -> RemoteFile:
    size = info.get("size")
    version = int.from_bytes(hashlib.sha256(_version_of(info).encode()).digest()[:7], "big")
    return RemoteFile(url, name, -1 if size is None else int(size), version)


def _version_of(info: dict[str, Any]) -> str:
    return next((f"{key}={info[key]}" for key in _VERSIONS if info.get(key)), "")
