"""Parts: one file per finished video. A store's tables are assembled from all parts, also those of shards.

The same parts give the same bytes, in whatever order and by whatever shard they were written.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
from numpy.typing import NDArray

from mien.data.accounts import Account, accounts_table
from mien.data.progress import with_bar
from mien.data.store_layout import (
    ACCOUNTS,
    ACCOUNTS_CSV,
    FRAMES,
    FRAMES_SCHEMA,
    INDEX,
    INDEX_DTYPE,
    MANIFEST,
    MANIFEST_SCHEMA,
    PARTS,
    TEMPORARY,
    StoreError,
    StoreHeader,
    begin_store,
    crops_path,
    part_path,
    writing_to,
)
from mien.io import ParquetRows, naming_write_errors, replacing

_METADATA_KEY = b"mien"


@dataclass(frozen=True)
class Fingerprint:
    """Identifies the content of a source file.

    Size and modification time are compared first; the content is read again only if they differ.
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

    def matches(self, path: Path) -> bool:
        """Whether the content of `path` is the same; OSError if it cannot be read."""
        state = path.stat()
        if (state.st_size, state.st_mtime_ns) == (self.size_bytes, self.modified_ns):
            return True
        return state.st_size == self.size_bytes and Fingerprint.take(path).sha256 == self.sha256


@dataclass(frozen=True)
class Part:
    """The record of one prepared video, without the rows of its tracks."""

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
        raise StoreError(f"{path} is not a part of a store ({error}); remove it and prepare again") from error
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


def assemble(store: Path, unrecorded: Sequence[Account] = ()) -> list[Account]:
    """Write manifest, frames, index and accounts of a store from its parts; return the accounts by video.

    `unrecorded` are accounts of files that have no part.

    The old manifest is removed first and the new one written last: a store with a manifest is complete.
    """
    min_run_frames = StoreHeader.read(store).min_run_frames
    paths = [path for _, path in list_parts(store)]
    parts = [read_part(path) for path in with_bar(paths, total=len(paths), unit="videos", desc="reading ")]
    accounts = sorted([*(part.account for part in parts), *unrecorded], key=lambda account: account.video)
    unfinish(store)
    with ExitStack() as stack:
        manifest, frames, index, table, csv = (
            stack.enter_context(replacing(store / name, temporary_folder=store / TEMPORARY))
            for name in (MANIFEST, FRAMES, INDEX, ACCOUNTS, ACCOUNTS_CSV)  # renamed in reverse order
        )
        of_files = accounts_table(accounts)
        pq.write_table(of_files, table)
        pa.csv.write_csv(of_files, csv)
        manifest_rows = stack.enter_context(ParquetRows(manifest, MANIFEST_SCHEMA))
        frame_rows = stack.enter_context(ParquetRows(frames, FRAMES_SCHEMA))
        index_rows = stack.enter_context(index.open("wb"))
        num_rows = sum(account.num_positions for account in accounts)
        np.lib.format.write_array_header_1_0(
            index_rows,
            {
                "descr": np.lib.format.dtype_to_descr(INDEX_DTYPE),
                "fortran_order": False,
                "shape": (num_rows,),
            },
        )
        every = zip(parts, with_bar(paths, total=len(paths), unit="videos", desc="tables "), strict=True)
        for tracks, rows in _numbered(parts, every, min_run_frames=min_run_frames):
            manifest_rows.add(tracks)
            frame_rows.add(rows)
            index_rows.write(_index_rows(rows).tobytes())
    return accounts


def merge(shards: Sequence[Path], store: Path) -> list[Account]:
    """Write the contents of the stores `shards` to `store`; return the accounts, sorted by video.

    Crops are linked if the file system can (the shards may still be removed), otherwise copied. Call it again
    to continue an interrupted merge. StoreError if a shard is unfinished, if contracts or settings
    differ, if two shards hold the same video, or if another process writes to `store`.
    """
    headers = [_finished_header(shard) for shard in shards]
    for shard, header in zip(shards[1:], headers[1:], strict=True):
        header.require_same(headers[0], ours=str(shard), theirs=str(shards[0]))
    shard_of = _shard_of_each_video(shards)
    header = replace(headers[0], shard="1/1")
    with naming_write_errors(store), writing_to(store):
        strangers = {video for video, _ in list_parts(store)} - set(shard_of)
        if strangers:
            raise StoreError(
                f"{store} holds videos of none of the shards ({min(strangers)!r}, say); give a new folder"
            )
        begin_store(store, header)
        header.write(store)  # also over that of a shard that becomes the whole
        unfinish(store)
        for video, shard in with_bar(shard_of.items(), total=len(shard_of), unit="videos", desc="linking "):
            _bring(shard / crops_path(video), store / crops_path(video))
            _bring(shard / part_path(video), store / part_path(video))
        return assemble(store)


def missing_shards(shards: Sequence[Path]) -> list[str]:
    """The shards, as `i/n`, that are missing from a set of stores; empty if no store is a shard."""
    have = {StoreHeader.read(shard).shard for shard in shards}
    counts = {int(name.split("/")[1]) for name in have}
    return sorted({f"{number}/{count}" for count in counts for number in range(1, count + 1)} - have)


def unfinish(store: Path) -> None:
    """Remove the manifest: until the end of `assemble` the store counts as unfinished."""
    (store / MANIFEST).unlink(missing_ok=True)


def runs_of(slots: NDArray[np.integer[Any]]) -> list[tuple[int, int]]:
    """(start position, length) of each stretch of consecutive slots; `slots` ascends strictly.

    >>> runs_of(np.array([4, 5, 6, 9]))
    [(0, 3), (3, 1)]
    """
    edges = np.flatnonzero(np.diff(slots) != 1) + 1
    bounds = [0, *edges.tolist(), len(slots)] if len(slots) else []
    return [(start, end - start) for start, end in pairwise(bounds)]


def _numbered(
    parts: Sequence[Part], with_paths: Iterable[tuple[Part, Path]], *, min_run_frames: int
) -> Iterator[tuple[pa.Table, pa.Table]]:
    """(manifest rows, frame rows) of each part that has tracks, with the numbers they have in the store."""
    identities = sorted({identity for part in parts for identity in part.identity_of_track.values()})
    identity_numbers = {identity: number for number, identity in enumerate(identities)}
    video_number, first_track, first_row = 0, 0, 0
    for part, path in with_paths:
        if not part.identity_of_track:
            continue
        frames, video = read_rows(path), part.account.video
        slots, seconds = frames["slot"].to_numpy(), frames["seconds"].to_numpy()
        numbers, firsts, lengths = np.unique(
            frames["track"].to_numpy(), return_index=True, return_counts=True
        )
        tracks: list[dict[str, Any]] = []
        for number, first, length in zip(numbers.tolist(), firsts.tolist(), lengths.tolist(), strict=True):
            runs = runs_of(slots[first : first + length])
            short = [frames_of_run for _, frames_of_run in runs if frames_of_run < min_run_frames]
            identity = part.identity_of_track[number]
            tracks.append(
                {
                    "track": first_track + len(tracks),
                    "track_id": f"{video}#{number}",
                    "identity": identity,
                    "identity_number": identity_numbers[identity],
                    "video": video,
                    "video_number": video_number,
                    "source_path": part.account.source_path,
                    "frames_per_second": part.frames_per_second,
                    "first_row": first_row + first,
                    "num_frames": length,
                    "runs": [
                        {"start": start, "length": count} for start, count in runs if count >= min_run_frames
                    ],
                    "num_short_runs": len(short),
                    "num_frames_in_short_runs": sum(short),
                    "first_seconds": float(seconds[first]),
                    "last_seconds": float(seconds[first + length - 1]),
                    "crops": crops_path(video),
                }
            )
        in_store = np.repeat(np.arange(first_track, first_track + len(tracks), dtype=np.int32), lengths)
        yield (
            pa.Table.from_pylist(tracks, schema=MANIFEST_SCHEMA),
            frames.set_column(0, FRAMES_SCHEMA.field("track"), pa.array(in_store)),
        )
        video_number += 1
        first_track += len(tracks)
        first_row += frames.num_rows


def _index_rows(rows: pa.Table) -> NDArray[np.void]:
    index = np.empty(rows.num_rows, INDEX_DTYPE)
    for name in INDEX_DTYPE.names or ():
        index[name] = rows[name].to_numpy()
    return index


def _finished_header(shard: Path) -> StoreHeader:
    header = StoreHeader.read(shard)
    if not (shard / MANIFEST).exists():
        raise StoreError(
            f"{shard} (shard {header.shard}) is not finished: run its `mien prepare` again first"
        )
    return header


def _shard_of_each_video(shards: Sequence[Path]) -> dict[str, Path]:
    shard_of: dict[str, Path] = {}
    for shard in shards:
        for video, _ in list_parts(shard):
            other = shard_of.setdefault(video, shard)
            if other is not shard:
                raise StoreError(f"the video {video!r} is in {other} and in {shard}; a video goes in once")
    return shard_of


def _bring(source: Path, target: Path) -> None:
    """Link or copy a file atomically; do nothing if the source does not exist."""
    if not source.exists():
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    if target.exists() and target.samefile(source):
        return
    temporary = target.with_name(f".{target.name}.{os.getpid()}")
    temporary.unlink(missing_ok=True)
    try:
        temporary.hardlink_to(source)
    except OSError:  # another file system, or one without links
        shutil.copyfile(source, temporary)
    temporary.replace(target)
