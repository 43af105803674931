"""A finished store behind a URL: fetched once into a folder of the user's, checked, then opened like any."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from filelock import FileLock

from mien.data.remote import RemoteFile, copy_here, is_url, list_remote
from mien.data.store_layout import CROPS, HEADER, LOCK, MANIFEST, PARTS, TEMPORARY, StoreError
from mien.io import naming_write_errors, replacing

SUMS = "SHA256SUMS"  # as sha256sum writes it; every file named there is checked against it
_FETCHED = "fetched.jsonl"  # a line a file that is here
_AT_ONCE = 8


def local_store(store: Path | str, *, cache: Path | None = None) -> Path:
    """The folder of a store: itself, or that of the copy in `cache` (else $MIEN_CACHE) of one behind a URL.

    What is there already in the same version is not fetched again. StoreError if no folder for it is named,
    if there is no finished store, or if a file differs from its SHA-256; RemoteError, WriteError.
    """
    if not is_url(store):
        return Path(store)
    chosen = cache or os.environ.get("MIEN_CACHE")
    if not chosen:
        raise StoreError(
            f"{store}: a store behind a URL is copied once into a folder that you name; give --store-cache "
            "DIR or set MIEN_CACHE"
        )
    url = str(store).rstrip("/")
    folder = Path(chosen) / f"{url.rpartition('/')[2]}-{hashlib.sha256(url.encode()).hexdigest()[:12]}"
    with naming_write_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
        with FileLock(folder / LOCK):  # other processes of the same run find it fetched
            _fetch(url, folder)
    return folder


def _fetch(url: str, folder: Path) -> None:
    files = {file.name: file for file in list_remote(url) if _belongs(file.name)}
    for name in (HEADER, MANIFEST):
        if name not in files:
            raise StoreError(f"{url} is no finished store: it has no {name}")
    here = _read_fetched(folder)
    missing = [
        file
        for name, file in files.items()
        if here.get(name) != [file.size_bytes, file.version] or not (folder / name).exists()
    ]
    if not missing:
        return
    (folder / MANIFEST).unlink(missing_ok=True)  # unfinished until all is here
    manifest = files.pop(MANIFEST)
    sums = _sums(url, folder, files)
    missing = [file for file in missing if file.name != MANIFEST]
    with (folder / _FETCHED).open("a") as journal:
        for file in _fetched([*missing], folder, sums):
            journal.write(_line(file))
            journal.flush()
        for file in _fetched([manifest], folder, sums):
            journal.write(_line(file))


def _belongs(name: str) -> bool:
    first, _, rest = name.partition("/")
    return first in (CROPS, PARTS) if rest else first not in (_FETCHED, TEMPORARY)


def _read_fetched(folder: Path) -> dict[str, list[int]]:
    """Size and version of each file that was fetched whole; a line cut short by a kill counts for nothing."""
    path = folder / _FETCHED
    here: dict[str, list[int]] = {}
    for line in path.read_text().splitlines() if path.exists() else ():
        try:
            name, size_bytes, version = json.loads(line)
        except ValueError:
            continue
        here[name] = [size_bytes, version]
    return here


def _line(file: RemoteFile) -> str:
    return f"\n{json.dumps([file.name, file.size_bytes, file.version])}\n"


def _sums(url: str, folder: Path, files: dict[str, RemoteFile]) -> dict[str, str]:
    if SUMS not in files:
        return {}
    copy_here(f"{url}/{SUMS}", folder / SUMS)
    lines = (line.split(maxsplit=1) for line in (folder / SUMS).read_text().splitlines() if line.strip())
    try:
        return {name.removeprefix("*").removeprefix("./"): digest for digest, name in lines}
    except ValueError as error:
        raise StoreError(f"{url}/{SUMS}: expected lines as sha256sum writes them") from error


def _fetched(files: Iterable[RemoteFile], folder: Path, sums: dict[str, str]) -> Iterator[RemoteFile]:
    """Each file when it is here whole; several are under way at once."""

    def fetch(file: RemoteFile) -> RemoteFile:
        with replacing(folder / file.name, temporary_folder=folder / TEMPORARY) as temporary:
            digest = copy_here(file.url, temporary, size_bytes=file.size_bytes)
            if file.name != SUMS and sums.get(file.name, digest) != digest:
                raise StoreError(f"{file.url}: its SHA-256 is not the one in {SUMS}; copy the store anew")
        return file

    with ThreadPoolExecutor(_AT_ONCE) as pool:
        try:
            yield from pool.map(fetch, files)
        finally:
            pool.shutdown(cancel_futures=True)
