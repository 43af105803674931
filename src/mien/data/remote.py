"""Files in object stores, by any protocol of fsspec (extra `remote`): listed, and copied here."""

from __future__ import annotations

import errno
import hashlib
import re
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory
from typing import Any, BinaryIO, TypeVar
from urllib.parse import urlsplit

Answer = TypeVar("Answer")

SECONDS_BEFORE_NEXT_TRY = (0.5, 2.0, 8.0)
_CHUNK_BYTES = 1 << 20
_FOR_GOOD = (FileNotFoundError, PermissionError, IsADirectoryError, NotADirectoryError, NotImplementedError)
_VERSIONS = (  # the keys under which one file system or the other tells what changes with a file's content
    *("ETag", "etag", "md5Hash", "Content-MD5", "Digest", "sha", "blob_id"),
    *("LastModified", "last_modified", "Last-Modified", "modificationTime", "mtime", "modify"),
    *("updated", "created"),
)
_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+://")


class RemoteError(ValueError):
    """What lies behind a URL cannot be had now; names the URL and why."""


class MissingDriverError(ValueError):
    """No package for this kind of URL is installed, or the URL may not be used; says what to do."""


@dataclass(frozen=True)
class RemoteFile:
    """A file behind a URL as it is listed there: its size (-1: unknown) and what changes with its content.

    Where the store tells of a file neither a digest nor a time, its version is always the same.
    """

    url: str
    name: str  # below the folder that was listed
    size_bytes: int
    version: int


def is_url(given: object) -> bool:
    """Whether that is a URL, as s3://bucket/folder or file:///videos, rather than a path."""
    return isinstance(given, str) and _URL.match(given) is not None


def path_or_url(text: str) -> Path | str:
    """For a command line: a URL stays a text (a path would lose a slash), all else is a path."""
    return text if is_url(text) else Path(text)


def list_remote(url: str) -> list[RemoteFile]:
    """The files below a URL (or the file there), none hidden, by name. RemoteError, MissingDriverError.

    A UserWarning, once for each host, where a file that has changed would look the same as before.
    """
    system, root = _open(url)
    found: dict[str, dict[str, Any]] = _tried(lambda: system.find(root, detail=True), url)
    files = []
    for place, info in sorted(found.items()):
        name = place.removeprefix(root).lstrip("/")
        is_itself = not name  # the URL of a file
        if not any(part.startswith(".") for part in PurePosixPath(name).parts):  # nor may `..` lead out
            where = url if is_itself else f"{url.rstrip('/')}/{name}"
            files.append(_described(where, name, _with_version(info, system, place, where)))
    if not files:
        raise RemoteError(f"no file at {url}: it does not exist, or is empty")
    return files


def require_readable(url: str) -> None:
    """MissingDriverError or RemoteError where a URL of this kind is never read here; nothing is asked for."""
    _open(url)


def look_at(url: str) -> RemoteFile:
    """One file as it is now; RemoteError where it is not to be had. Warns as `list_remote` does."""
    system, path = _open(url)
    return _described(url, "", _info(system, path, url))


def copy_here(url: str, to: Path, *, size_bytes: int = -1) -> str:
    """Copy a file to the path `to` and return its SHA-256; one that comes short is asked for again.

    RemoteError where it is not to be had; another OSError where `to` cannot be written.
    """
    system, path = _open(url)

    def copy() -> str:
        with _on_our_disk():
            local = to.open("wb")
        with local:
            return _stream(system, path, _writer(local), size_bytes=size_bytes)

    return _tried(copy, url)


def hash_remote(url: str) -> str:
    """SHA-256 of a file's content, read through and kept nowhere. RemoteError."""
    system, path = _open(url)
    return _tried(lambda: _stream(system, path, lambda chunk: None, size_bytes=-1), url)


@contextmanager
def copied(url: str, *, folder: Path, size_bytes: int = -1, beside: str = "") -> Iterator[Path]:
    """A copy of a file under its own name in a folder below `folder`; both are gone afterwards.

    `beside` names a file of the same remote folder that is copied too where it is there.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=folder) as own:
        path = Path(own).absolute() / url.rpartition("/")[2]
        copy_here(url, path, size_bytes=size_bytes)
        if beside:
            try:
                copy_here(f"{url.rpartition('/')[0]}/{beside}", path.with_name(beside))
            except RemoteError as error:
                if not isinstance(error.__cause__, FileNotFoundError):
                    raise
                path.with_name(beside).unlink(missing_ok=True)
        yield path


def _open(url: str) -> tuple[Any, str]:
    parts = urlsplit(url)
    if parts.password or (parts.scheme in ("http", "https") and parts.query):
        raise MissingDriverError(
            f"{parts.scheme}://{parts.hostname}/...: a URL with a password or a signature in it would be "
            "written into the store. Give credentials by the environment, or by fsspec's configuration files."
        )
    if "::" in url:
        raise RemoteError(f"cannot read {url}: to fsspec `::` chains URLs; call the file otherwise")
    try:
        from fsspec.core import url_to_fs
    except ImportError as error:
        raise MissingDriverError(f"{url}: URLs take fsspec: pip install 'mien[remote]'") from error
    try:
        system, path = url_to_fs(url)
    except (ImportError, ValueError) as error:
        raise MissingDriverError(
            f"{url}: {error}. fsspec (pip install 'mien[remote]') takes a package for each kind of store: "
            "s3fs for s3://, gcsfs for gs://, adlfs for abfs://"
        ) from error
    system.invalidate_cache()  # listings of earlier in this process
    return system, path


class _LocalError(Exception):
    """Our own disk is at fault; `__cause__` says how."""


@contextmanager
def _on_our_disk() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise _LocalError from error


def _writer(file: BinaryIO) -> Callable[[bytes], object]:
    def write(chunk: bytes) -> None:
        with _on_our_disk():
            file.write(chunk)
            file.flush()

    return write


def _stream(system: Any, path: str, take: Callable[[bytes], object], *, size_bytes: int) -> str:
    digest, num_bytes = hashlib.sha256(), 0
    with system.open(path, "rb") as remote:
        while chunk := remote.read(_CHUNK_BYTES):
            take(chunk)
            digest.update(chunk)
            num_bytes += len(chunk)
    if size_bytes not in (-1, num_bytes):
        raise OSError(errno.EIO, f"{num_bytes} bytes came, {size_bytes} were announced")
    return digest.hexdigest()


def _tried(ask: Callable[[], Answer], url: str) -> Answer:
    """The answer; after an error that may pass asked for again, a few times, ever later."""
    for seconds in (*SECONDS_BEFORE_NEXT_TRY, None):
        try:
            return ask()
        except _LocalError as error:
            assert isinstance(error.__cause__, OSError)
            raise error.__cause__ from None
        except Exception as error:  # each driver has errors of its own
            if seconds is None or isinstance(error, _FOR_GOOD):
                why = "it is not there" if isinstance(error, FileNotFoundError) else _in_words(error)
                raise RemoteError(f"cannot read {url}: {why}") from error
            time.sleep(seconds)
    raise AssertionError


def _in_words(error: Exception) -> str:
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__


def _described(url: str, name: str, info: dict[str, Any]) -> RemoteFile:
    size = info.get("size")
    version = int.from_bytes(hashlib.sha256(_version_told(info).encode()).digest()[:7], "big")
    return RemoteFile(url, name, -1 if size is None else int(size), version)


def _version_told(info: dict[str, Any]) -> str:
    return next((f"{key}={info[key]}" for key in _VERSIONS if info.get(key)), "")


def _with_version(info: dict[str, Any], system: Any, place: str, url: str) -> dict[str, Any]:
    """A file as it is listed; where that is but a name, as over HTTP, it is asked for by itself."""
    if _version_told(info):
        return info
    try:
        return {**info, **_info(system, place, url)}
    except RemoteError:  # told of when it is to be read
        return info


def _info(system: Any, place: str, url: str) -> dict[str, Any]:
    info: dict[str, Any] = _tried(lambda: system.info(place), url)
    if not _version_told(info):
        _warn_that_size_is_all("{0.scheme}://{0.netloc}".format(urlsplit(url)))
    return info


@cache
def _warn_that_size_is_all(host: str) -> None:
    warnings.warn(
        f"{host} tells of a file neither a digest nor when it changed: one that was replaced by another of "
        "the same size is taken for the same",
        stacklevel=4,
    )
