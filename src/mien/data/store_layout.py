"""The files of a store, the columns of its tables, and the header that describes its crops."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from mien import __version__
from mien.config import differences
from mien.faces.contract import CropContract
from mien.io import naming_write_errors, only_one, write_bytes

FORMAT_VERSION = 1

HEADER = "store.json"
MANIFEST = "manifest.parquet"
FRAMES = "frames.parquet"
ACCOUNTS = "accounts.parquet"
ACCOUNTS_CSV = "accounts.csv"
INDEX = "frames.index.npy"  # the columns needed for reading, memory-mapped
CROPS = "crops"
PARTS = "parts"
TEMPORARY = "tmp"
LOCK = ".lock"

INDEX_DTYPE = np.dtype(
    [("slot", "<i4"), ("source_frame_index", "<i4"), ("offset", "<i8"), ("size_bytes", "<i4")]
)

POINT_COLUMNS = tuple(
    f"{point}_{axis}_px"
    for point in ("left_eye", "right_eye", "nose", "left_mouth", "right_mouth")
    for axis in "xy"
)
MEASURED_COLUMNS = (
    *("box_left_px", "box_top_px", "box_right_px", "box_bottom_px"),
    *POINT_COLUMNS,
    *("score", "yaw_degrees", "pitch_degrees", "roll_degrees", "sharpness"),
)
FRAMES_SCHEMA = pa.schema(
    [
        ("track", pa.int32()),
        ("slot", pa.int32()),
        ("source_frame_index", pa.int32()),
        ("seconds", pa.float64()),
        ("offset", pa.int64()),
        ("size_bytes", pa.int32()),
        *((name, pa.float32()) for name in MEASURED_COLUMNS),
    ]
)
MANIFEST_SCHEMA = pa.schema(
    [
        ("track", pa.int32()),
        ("track_id", pa.string()),
        ("identity", pa.string()),
        ("identity_number", pa.int32()),
        ("video", pa.string()),
        ("video_number", pa.int32()),
        ("source_path", pa.string()),
        ("frames_per_second", pa.float64()),
        ("first_row", pa.int64()),
        ("num_frames", pa.int32()),
        ("runs", pa.list_(pa.struct([("start", pa.int32()), ("length", pa.int32())]))),
        ("num_short_runs", pa.int32()),
        ("num_frames_in_short_runs", pa.int32()),
        ("first_seconds", pa.float64()),
        ("last_seconds", pa.float64()),
        ("crops", pa.string()),
    ]
)


class StoreError(ValueError):
    """A store that cannot be read or written; the message says which and what to do."""


@dataclass(frozen=True)
class StoreHeader:
    """How the crops of a store were made: contract, settings, and shard of the sources.

    `settings` is a nested dictionary of JSON types; two runs may write to one store only if it is equal.
    """

    contract: CropContract
    settings: dict[str, Any]
    shard: str = "1/1"
    mien_version: str = __version__

    @property
    def min_run_frames(self) -> int:
        """Runs of fewer frames are kept out of `TrackStore.runs`."""
        return int(self.settings["min_run_frames"])

    def write(self, store: Path) -> None:
        """Write it into `store`, atomically."""
        fields = {
            "format": FORMAT_VERSION,
            "mien_version": self.mien_version,
            "shard": self.shard,
            "contract": self.contract.to_dict(),
            "settings": self.settings,
        }
        text = json.dumps(fields, indent=2, sort_keys=True) + "\n"
        write_bytes(store / HEADER, text.encode(), temporary_folder=store / TEMPORARY)

    def require_same(self, other: StoreHeader, *, ours: str, theirs: str) -> None:
        """ContractMismatchError or StoreError that lists every difference except the shard."""
        self.contract.require_same(other.contract, ours=ours, theirs=theirs)
        if lines := differences(self.settings, other.settings, ours=f"in {ours}", theirs=f"in {theirs}"):
            raise StoreError(
                f"{ours} and {theirs} were prepared with different settings:{lines}\n"
                "Use the same settings, or another folder for the store."
            )

    @classmethod
    def read(cls, store: Path) -> StoreHeader:
        """The header of the store at `store`; StoreError if it is not a store, or has another format."""
        path = store / HEADER
        try:
            fields = json.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise StoreError(
                f"{store} is not a store: it has no {HEADER} (`mien prepare` makes one)"
            ) from None
        except ValueError as error:
            raise StoreError(f"{path} is not JSON: {error}") from error
        if fields.get("format") != FORMAT_VERSION:
            raise StoreError(
                f"{path}: format {fields.get('format')!r}; this mien reads format {FORMAT_VERSION}. "
                "Prepare the videos again, or use the mien that wrote the store "
                f"({fields.get('mien_version', 'unknown')})."
            )
        fields["settings"].pop("landmarks", None)  # of earlier versions
        contract = CropContract.from_dict(fields["contract"])
        return cls(contract, fields["settings"], fields["shard"], fields["mien_version"])


def crops_path(video: str) -> str:
    """The crops of a video, relative to the store: a tar of JPEGs."""
    return f"{CROPS}/{video}.tar"


def part_path(video: str) -> str:
    """The rows of a video, relative to the store; the file exists if and only if the video is done."""
    return f"{PARTS}/{video}.parquet"


def begin_store(store: Path, header: StoreHeader) -> StoreHeader:
    """The store's header, written if new; an existing one must be equal except for the shard."""
    with naming_write_errors(store):
        shutil.rmtree(store / TEMPORARY, ignore_errors=True)
        if not (store / HEADER).exists():
            header.write(store)
    begun = StoreHeader.read(store)
    begun.require_same(header, ours=str(store), theirs="this run")
    return begun


@contextmanager
def writing_to(store: Path) -> Iterator[None]:
    """Create the store's folder and hold its lock; StoreError if another process holds it. WriteError."""
    with naming_write_errors(store):
        store.mkdir(parents=True, exist_ok=True)
    refusal = StoreError(
        f"another process is writing to {store}: wait for it, or give each job its own store "
        "(--shard i/n, and `mien merge` at the end)"
    )
    with only_one(store / LOCK, refusal=refusal):
        yield
