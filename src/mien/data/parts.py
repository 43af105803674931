"""Parts: what is known of one prepared video, as one file. It is there exactly when the video is done."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from mien.data.accounts import Account
from mien.data.store_layout import PARTS, TEMPORARY, StoreError, part_path
from mien.io import replacing

_METADATA_KEY = b"mien"


@dataclass(frozen=True)
class Fingerprint:
    """What tells whether a source file is still the one that was prepared.

    Size and time of change are looked at first; only where they differ is the content read again.
    """

    path: str
    size_bytes: int
    modified_ns: int
    sha256: str

    @classmethod
    def take(cls, path: Path) -> Fingerprint:
        """Of the file as it is now; OSError if it cannot be read."""
        state = path.stat()
        with path.open("rb") as file:
            sha256 = hashlib.file_digest(file, "sha256").hexdigest()
        return cls(str(path.absolute()), state.st_size, state.st_mtime_ns, sha256)

    @classmethod
    def of_unreadable(cls, path: Path) -> Fingerprint:
        """Of a file whose content cannot be read: it matches no readable one."""
        return cls(str(path.absolute()), -1, -1, "")

    def matches(self, path: Path) -> bool:
        """Whether `path` holds what was prepared; OSError if it cannot be read."""
        state = path.stat()
        if (state.st_size, state.st_mtime_ns) == (self.size_bytes, self.modified_ns):
            return True
        return state.st_size == self.size_bytes and Fingerprint.take(path).sha256 == self.sha256


@dataclass(frozen=True)
class Part:
    """What is known of one prepared video, apart from the rows of its tracks."""

    account: Account
    fingerprint: Fingerprint
    frames_per_second: float  # of the source
    identity_of_track: dict[int, str]  # by the track's number in its video


def write_part(store: Path, part: Part, frames: pa.Table) -> None:
    """Keep a part and its rows (FRAMES_SCHEMA, tracks numbered within the video) in the store."""
    metadata = {_METADATA_KEY: json.dumps(asdict(part), sort_keys=True)}
    path = store / part_path(part.account.video)
    with replacing(path, temporary_folder=store / TEMPORARY) as temporary:
        pq.write_table(frames.replace_schema_metadata(metadata), temporary, compression="zstd")


def read_part(path: Path) -> Part:
    """The part at `path`, without its rows; StoreError if it is none."""
    try:
        metadata = pq.read_schema(path).metadata or {}
        fields = json.loads(metadata[_METADATA_KEY])
    except (pa.ArrowInvalid, KeyError, ValueError) as error:
        raise StoreError(f"{path} is no part of a store ({error}); remove it and prepare again") from error
    return Part(
        Account(**fields["account"]),
        Fingerprint(**fields["fingerprint"]),
        fields["frames_per_second"],
        {int(track): identity for track, identity in fields["identity_of_track"].items()},
    )


def read_rows(path: Path) -> pa.Table:
    """The rows of the part at `path`, without its metadata."""
    return pq.ParquetFile(path).read(use_threads=False).replace_schema_metadata(None)


def list_parts(store: Path) -> Iterator[tuple[str, Path]]:
    """(video, path) of every finished video of a store, sorted by video."""
    root = store / PARTS
    videos = (
        (str(path.relative_to(root).with_suffix("")).replace(os.sep, "/"), path)
        for path in root.rglob("*.parquet")
    )
    yield from sorted(videos)
