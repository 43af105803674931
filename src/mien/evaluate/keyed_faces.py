"""Face crops with whose they are, from a store, from videos and from pictures, one after the other."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray

from mien.data.sources import Source
from mien.data.store import TrackStore
from mien.data.store_layout import FRAMES
from mien.evaluate.feature_table import FeatureKey
from mien.faces.finder import FaceFinder
from mien.faces.track import SlotFaces, TrackSettings, faces_in_picture
from mien.video import read_image

READ_AT_ONCE = 64  # frames of a track


@dataclass(frozen=True, eq=False)
class KeyedFace:
    """A crop (any square size, uint8 RGB) and its row's key."""

    key: FeatureKey
    crop_HWC: NDArray[np.uint8]


def store_faces(store: TrackStore, *, size_px: int) -> Iterator[KeyedFace]:
    """Every distinct frame of every track, read at `size_px`. Memory: 8 bytes a frame of the store."""
    seconds = pq.read_table(store.path / FRAMES, columns=["seconds"])["seconds"].to_numpy()
    columns = ("track_id", "source_path", "identity", "first_row")
    rows = store.tracks.select(columns).to_pylist()
    for track, row in enumerate(rows):
        frames = store.source_frame_indices(track).astype(np.int64)
        distinct = np.flatnonzero(np.diff(frames, prepend=-1))
        for first in range(0, len(distinct), READ_AT_ONCE):
            positions = distinct[first : first + READ_AT_ONCE].tolist()
            crops = store.read_frames(track, positions, size_px=size_px)
            for position, crop in zip(positions, crops, strict=True):
                key = FeatureKey(
                    path=row["source_path"],
                    track=int(row["track_id"].rpartition("#")[2]),
                    frame=int(frames[position]),
                    seconds=float(seconds[row["first_row"] + position]),
                    identity=row["identity"],
                )
                yield KeyedFace(key, crop)


@dataclass(frozen=True, eq=False)
class TrackedCrop:
    """A crop of a video (uint8 RGB), its track and frame, and what tells in the end whose face it is."""

    track: int
    frame: int  # of the source, in decoding order
    seconds: float
    slots: tuple[int, ...]  # of the 25 fps grid
    box_area_px2: float
    crop_HWC: NDArray[np.uint8]


def video_faces(path: Path, *, track_faces: Callable[[Path], Iterator[SlotFaces]]) -> Iterator[TrackedCrop]:
    """Every face of every frame on the 25 fps grid. VideoError where the file breaks off."""
    for looked in track_faces(path):
        for face in looked.faces:
            left, top, right, bottom = face.box_xyxy_px
            yield TrackedCrop(
                face.track_number,
                looked.source_frame_index,
                looked.seconds,
                looked.slots,
                (right - left) * (bottom - top),
                face.crop_HWC,
            )


def image_faces(source: Source, *, finder: FaceFinder) -> Iterator[KeyedFace]:
    """Every face of a picture, numbered from the largest on as its tracks; ImageError if it is no picture.

    The largest is whom the path names, the others are known from this picture only.
    """
    faces, _reason = faces_in_picture(read_image(source.path), finder=finder, settings=TrackSettings())
    for rank, face in enumerate(faces):
        identity = f"{source.video}+{rank}" if rank else source.identity
        yield KeyedFace(FeatureKey(str(source.path), face.track_number, 0, 0.0, identity), face.crop_HWC)
