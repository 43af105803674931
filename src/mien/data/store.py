"""Read a store of face tracks: clips (track, start, length, stride) or single frames, as uint8 RGB."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import simplejpeg
from numpy.typing import NDArray

from mien.data.progress import with_bar
from mien.data.remote import RemoteFile, copy_here, is_url, list_remote
from mien.data.store_layout import (
    HEADER,
    INDEX,
    INDEX_DTYPE,
    LOCK,
    MANIFEST,
    TEMPORARY,
    StoreError,
    StoreHeader,
)
from mien.faces.contract import CropContract
from mien.io import naming_write_errors, only_one, replacing
from mien.video import SLOTS_PER_SECOND

SUMS = "SHA256SUMS"  # written by sha256sum; the files listed in it are checked
_FILES_AT_ONCE = 8  # copied from a URL
_OPEN_FILES = 256  # crop files that one process keeps open


class TrackStore:
    """The face tracks that `mien prepare` wrote. Tracks are numbered from 0, as the rows of the manifest.

    Opening reads the manifest (one row per track) and memory-maps the index of frames, so it is cheap, and
    processes share the memory. It may be pickled, and used after a fork.
    """

    def __init__(self, path: Path, header: StoreHeader, tracks: pa.Table, index: NDArray[np.void]) -> None:
        self.path = path
        self.header = header
        self.tracks = tracks
        self._index = index
        self._first_row = tracks["first_row"].to_numpy()
        self._num_frames = tracks["num_frames"].to_numpy()
        self._identity = tracks["identity_number"].to_numpy()
        self._video = tracks["video_number"].to_numpy()
        self._runs = tracks["runs"].combine_chunks()
        self._crops = tracks["crops"].combine_chunks()
        self._open_file = lru_cache(_OPEN_FILES)(_OpenFile)

    @classmethod
    def open(cls, path: Path | str) -> TrackStore:
        """The store at `path`; StoreError if there is none, or if it is not finished."""
        store = Path(path)
        header = StoreHeader.read(store)
        if not (store / MANIFEST).exists():
            raise StoreError(
                f"{store} is not finished: it has no {MANIFEST}. Run the same `mien prepare` again; "
                "it continues where it stopped."
            )
        tracks = pq.read_table(store / MANIFEST)
        num_rows = int(tracks["num_frames"].to_numpy().sum())
        return cls(store, header, tracks, _map_index(store / INDEX, num_rows))

    def __reduce__(self) -> tuple[Any, ...]:
        return (TrackStore.open, (self.path,))

    @property
    def contract(self) -> CropContract:
        """How the crops were made."""
        return self.header.contract

    @property
    def num_tracks(self) -> int:
        """Number of tracks."""
        return len(self._num_frames)

    def num_frames(self, track: int) -> int:
        """Rows (positions) of a track."""
        return int(self._num_frames[self._checked(track)])

    def runs(self, track: int) -> list[tuple[int, int]]:
        """(start position, length) of each run that is long enough for a clip, in order."""
        return [(run["start"], run["length"]) for run in self._runs[self._checked(track)].as_py()]

    def slots(self, track: int) -> NDArray[np.int32]:
        """The 25-fps slot of each position, strictly ascending."""
        slots: NDArray[np.int32] = self._rows(track)["slot"]
        return slots

    def source_frame_indices(self, track: int) -> NDArray[np.int32]:
        """The source frame of each position; a slow source has one frame at several positions."""
        indices: NDArray[np.int32] = self._rows(track)["source_frame_index"]
        return indices

    def identity_number(self, track: int) -> int:
        """A number shared by the tracks of one person."""
        return int(self._identity[self._checked(track)])

    def video_number(self, track: int) -> int:
        """A number shared by the tracks of one source file."""
        return int(self._video[self._checked(track)])

    def read_frames(
        self, track: int, positions: Sequence[int], *, size_px: int | None = None
    ) -> NDArray[np.uint8]:
        """(n, S, S, 3) RGB at any positions of a track; S = size_px, or the crop's own size.

        A smaller size is decoded at the next scale that JPEG offers (eighths of the side) and then reduced by
        area. IndexError for a position outside the track; ValueError for a size above the crop's.
        """
        size = self._checked_size(size_px)
        jpegs = self.read_jpegs(track, positions)
        frames = np.empty((len(jpegs), size, size, 3), np.uint8)
        for frame, jpeg in zip(frames, jpegs, strict=True):
            _decode_into(frame, jpeg)
        return frames

    def read_jpegs(self, track: int, positions: Sequence[int]) -> list[bytes]:
        """The stored JPEGs at any positions of a track; IndexError outside the track."""
        rows = self._rows(track)
        chosen = np.asarray(positions, np.int64)
        if chosen.size and (chosen.min() < 0 or chosen.max() >= len(rows)):
            raise IndexError(f"track {track} has positions 0 .. {len(rows) - 1}, asked for {chosen.tolist()}")
        file = self._open_file(self.path / self._crops[track].as_py())
        return [os.pread(file.handle, int(row["size_bytes"]), int(row["offset"])) for row in rows[chosen]]

    def read_clip(
        self, track: int, start: int, length: int, stride: int, *, size_px: int | None = None
    ) -> NDArray[np.uint8]:
        """(length, S, S, 3) RGB from `start`, `stride` apart; ValueError if not inside one run."""
        last = start + (length - 1) * stride
        if not any(first <= start and last < first + count for first, count in self.runs(track)):
            raise ValueError(
                f"positions {start} .. {last} of track {track} do not lie in one of its runs: "
                f"{self.runs(track)} (start, length)"
            )
        return self.read_frames(track, range(start, last + 1, stride), size_px=size_px)

    def _rows(self, track: int) -> NDArray[np.void]:
        first = self._first_row[self._checked(track)]
        return self._index[first : first + self._num_frames[track]]

    def _checked(self, track: int) -> int:
        if not 0 <= track < self.num_tracks:
            raise IndexError(f"{self.path} has tracks 0 .. {self.num_tracks - 1}, asked for {track}")
        return track

    def _checked_size(self, size_px: int | None) -> int:
        largest = self.contract.crop_size_px
        if size_px is not None and not 1 <= size_px <= largest:
            raise ValueError(f"size_px = {size_px}: the crops of {self.path} are {largest} px")
        return largest if size_px is None else size_px


def local_store(store: Path | str, *, cache: Path | None = None) -> Path:
    """The folder of a store: itself, or for a URL a copy in `cache` (default: $MIEN_CACHE).

    An interrupted copy is completed; a store that has changed is copied into another folder. StoreError if
    there is no cache, the store is not finished, or a file differs from its SHA-256.
    RemoteError and WriteError.
    """
    if not is_url(store):
        return Path(store)
    chosen = cache or os.environ.get("MIEN_CACHE")
    if not chosen:
        raise StoreError(
            f"{store}: a store behind a URL is copied once into a local folder; give --store-cache "
            "DIR or set MIEN_CACHE"
        )
    url = str(store).rstrip("/")
    files = [file for file in list_remote(url) if file.name.split("/")[0] != TEMPORARY]
    for name in (HEADER, MANIFEST):
        if name not in {file.name for file in files}:
            raise StoreError(f"{url} is not a finished store: it has no {name}")
    state = hashlib.sha256(
        repr([url, *((f.name, f.size_bytes, f.version) for f in files)]).encode()
    ).hexdigest()
    folder = Path(chosen) / f"{url.rpartition('/')[2]}-{state[:12]}"
    with naming_write_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
        with only_one(folder / LOCK):  # other processes of the same run wait for it
            _fetch([file for file in files if not (folder / file.name).exists()], folder)
    return folder


class _OpenFile:
    """A file open for reads by offset, so forks may share it; closed with its last reference."""

    def __init__(self, path: Path) -> None:
        self.handle = os.open(path, os.O_RDONLY)

    def __del__(self) -> None:
        if hasattr(self, "handle"):
            os.close(self.handle)


def _map_index(path: Path, num_rows: int) -> NDArray[np.void]:
    index: NDArray[np.void] = np.load(path, mmap_mode="r" if num_rows else None, allow_pickle=False)
    if index.dtype != INDEX_DTYPE or index.shape != (num_rows,):
        raise StoreError(
            f"{path}: {index.shape[0]} rows where the manifest counts {num_rows}. "
            "Run `mien prepare` again; it rebuilds the tables from the parts."
        )
    return index


def _decode_into(frame_HWC: NDArray[np.uint8], jpeg: bytes) -> None:
    size = frame_HWC.shape[0]
    decoded = simplejpeg.decode_jpeg(jpeg, "RGB", min_height=size, min_width=size, min_factor=1)
    if decoded.shape == frame_HWC.shape:
        frame_HWC[...] = decoded
    else:
        cv2.resize(decoded, (size, size), dst=frame_HWC, interpolation=cv2.INTER_AREA)


def _fetch(files: list[RemoteFile], folder: Path) -> None:
    """Copy files into a store's folder, the manifest last, because a store with a manifest is complete."""

    def fetch(file: RemoteFile) -> None:
        with replacing(folder / file.name, temporary_folder=folder / TEMPORARY) as temporary:
            digest = copy_here(file.url, temporary, size_bytes=file.size_bytes)
            if sums.get(file.name, digest) != digest:
                raise StoreError(f"{file.url}: its SHA-256 is not the one in {SUMS}; copy the store anew")

    sums: dict[str, str] = {}
    by_name = {file.name: file for file in files}
    if SUMS in by_name:
        fetch(by_name.pop(SUMS))
    if (folder / SUMS).exists():
        lines = (line.split(maxsplit=1) for line in (folder / SUMS).read_text().splitlines())
        sums = {name.removeprefix("*").removeprefix("./"): digest for digest, name in lines}
    manifest = [by_name.pop(MANIFEST)] if MANIFEST in by_name else []
    with ThreadPoolExecutor(_FILES_AT_ONCE) as pool:
        try:
            copied = pool.map(fetch, by_name.values())
            list(with_bar(copied, total=len(by_name), unit="files", desc="copying the store "))
        finally:
            pool.shutdown(cancel_futures=True)
    for file in manifest:
        fetch(file)


@dataclass(frozen=True)
class StoreSummary:
    """Counts over all tracks of a store. Positions in short runs are stored, but not used in clips."""

    num_videos: int
    num_identities: int
    num_tracks: int
    num_positions: int
    num_runs: int  # long enough for a clip
    num_positions_in_runs: int
    num_short_runs: int
    num_positions_in_short_runs: int
    min_run_frames: int
    crops_bytes: int

    @classmethod
    def of(cls, store: TrackStore) -> StoreSummary:
        """Of a store, from its manifest and the sizes of its crop files."""
        tracks = store.tracks
        num_positions = pc.sum(tracks["num_frames"]).as_py() or 0
        num_in_short = pc.sum(tracks["num_frames_in_short_runs"]).as_py() or 0
        files = tracks["crops"].unique().to_pylist()
        return cls(
            num_videos=len(tracks["video"].unique()),
            num_identities=len(tracks["identity"].unique()),
            num_tracks=tracks.num_rows,
            num_positions=num_positions,
            num_runs=pc.sum(pc.list_value_length(tracks["runs"])).as_py() or 0,
            num_positions_in_runs=num_positions - num_in_short,
            num_short_runs=pc.sum(tracks["num_short_runs"]).as_py() or 0,
            num_positions_in_short_runs=num_in_short,
            min_run_frames=store.header.min_run_frames,
            crops_bytes=sum(
                (store.path / file).stat().st_size
                for file in with_bar(files, total=len(files), unit="files", desc="sizes of crops ")
            ),
        )

    def in_words(self) -> str:
        """Three lines."""
        minutes = self.num_positions / SLOTS_PER_SECOND / 60
        a_position = self.crops_bytes / self.num_positions / 1000 if self.num_positions else 0.0
        return (
            f"{self.num_tracks:,} tracks of {self.num_identities:,} identities in {self.num_videos:,} "
            f"videos: {self.num_positions:,} positions at {SLOTS_PER_SECOND} fps, {minutes:,.1f} minutes\n"
            f"{self.num_positions_in_runs:,} of them in {self.num_runs:,} runs of at least "
            f"{self.min_run_frames} frames; {self.num_positions_in_short_runs:,} in "
            f"{self.num_short_runs:,} shorter runs, which are not used in clips\n"
            f"crops: {self.crops_bytes / 1e6:,.1f} MB, {a_position:.1f} kB per position"
        )
