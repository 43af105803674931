"""Faces of stores, videos and pictures through an encoder into a table: one row per frame and face."""

from __future__ import annotations

import sys
import tempfile
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import IO, TYPE_CHECKING, NamedTuple, TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
from numpy.typing import NDArray
from tqdm import tqdm

from mien.data.jobs import FrameProgress
from mien.data.progress import FileProgress
from mien.data.sources import (
    PICTURE_SUFFIXES,
    VIDEO_SUFFIXES,
    Source,
    SourceError,
    find_sources,
    identities_in_words,
    identities_of,
    with_distinct_names,
    with_identities,
)
from mien.data.spelling import spelt_as_on_disk
from mien.data.store import StoreSummary, TrackStore
from mien.data.store_layout import FRAMES, HEADER
from mien.evaluate.features import embed_frames, resize_crop
from mien.faces.finder import FaceFinder
from mien.faces.track import faces_in_picture
from mien.faces.tracked import SlotFaces, TrackSettings
from mien.io import replacing
from mien.train.encoder_file import Encoder
from mien.video import SLOTS_PER_SECOND, ImageError, VideoError, probe, read_image

if TYPE_CHECKING:
    from mien.faces.track import FaceTracking

KEYS = pa.schema(
    {"path": pa.string(), "track": pa.int32(), "frame": pa.int64(), "seconds": pa.float64()}
    | {"identity": pa.string()}
)
ROWS_PER_GROUP = 16_384  # the footer has an entry per column and group: small groups would make it the file
READ_AT_ONCE = 64  # frames of a track
VIDEO_ROWS_AT_ONCE = 1024


class FeatureTableError(ValueError):
    """A table that cannot be written as asked."""


class FeatureKey(NamedTuple):
    """The face that a row describes. A picture is frame 0 at 0 seconds."""

    path: str
    track: int
    frame: int  # of the source, in decoding order
    seconds: float
    identity: str


class FeatureTable:
    """Rows written to a Parquet or CSV file in large groups; made by `feature_table`."""

    def __init__(self, writer: pq.ParquetWriter | pyarrow.csv.CSVWriter, schema: pa.Schema) -> None:
        self._writer, self._schema = writer, schema
        self._waiting: list[pa.Table] = []
        self.num_rows = 0

    def write(self, keys: Sequence[FeatureKey], features_ND: NDArray[np.float32]) -> None:
        """Append N rows."""
        columns = [*map(list, zip(*keys, strict=True)), *np.ascontiguousarray(features_ND.T)]
        self._waiting.append(pa.table(columns, schema=self._schema))
        self.num_rows += len(keys)
        if sum(table.num_rows for table in self._waiting) >= ROWS_PER_GROUP:
            self.flush()

    def flush(self) -> None:
        """Write the rows that wait for a whole group."""
        if self._waiting:
            self._writer.write_table(pa.concat_tables(self._waiting).combine_chunks())
        self._waiting = []


@contextmanager
def feature_table(path: Path, *, feature_dim: int) -> Iterator[FeatureTable]:
    """A table that becomes `path` at the end; after an error `path` is as it was.

    Columns: path, track, frame, seconds, identity, f000, f001, ... (float32; CSV has enough digits to be
    exact). FeatureTableError unless the name ends in .parquet or .csv; WriteError names `path` where the disk
    takes no more.
    """
    writers = {".parquet": pq.ParquetWriter, ".csv": pyarrow.csv.CSVWriter}
    if path.suffix not in writers:
        raise FeatureTableError(f"{path}: expected a name that ends in .parquet or .csv")
    width = max(3, len(str(feature_dim - 1)))
    features = [pa.field(f"f{number:0{width}d}", pa.float32()) for number in range(feature_dim)]
    schema = pa.schema([*KEYS, *features])
    with replacing(path) as temporary, writers[path.suffix](temporary, schema) as writer:
        table = FeatureTable(writer, schema)
        yield table
        table.flush()


@dataclass
class EmbedAccount:
    """How many sources were embedded, and how many had no face or could not be read."""

    num_rows: int = 0
    num_sources: int = 0
    num_without_face: int = 0
    num_unreadable: int = 0

    def in_words(self) -> str:
        """One line."""
        return (
            f"{self.num_sources:,} sources: {self.num_without_face:,} without a face, "
            f"{self.num_unreadable:,} unreadable or broken off"
        )


def embed_sources(
    sources: Sequence[Path],
    encoder: Encoder,
    out: Path,
    *,
    batch_size: int = 64,
    models: Path | None = None,
    identities: str = "",
    strict: bool = False,
) -> EmbedAccount:
    """Write the features of all faces in `sources` to `out`; memory holds the features of one batch.

    `identities` is a CSV or a pattern, as of `mien.data.sources.with_identities`.

    ContractMismatchError where faces would be cropped otherwise than the encoder's. A file that cannot be
    read is named on stderr and counted; with `strict` its error is raised. `models` is the folder of the face
    models' weights, None for the installed ones.
    """
    stores, pictures, videos = sort_by_kind(sources, identities=identities)
    if pictures or videos:
        tqdm.write(f"embed: {identities_in_words([*pictures, *videos])}", file=sys.stderr)
    with feature_table(out, feature_dim=encoder.feature_dim) as table, FileProgress() as bar:
        job = _Embedding(encoder, bar, models=models, strict=strict)
        paths = [*stores, *(source.path for source in (*pictures, *videos))]
        bar.begins({str(path): _num_frames(path) for path in paths})
        for batch in _batches(job.faces(stores, pictures), batch_size):
            table.write([face.key for face in batch], _features(encoder, batch))
        for video in videos:
            with tempfile.TemporaryFile(dir=out.parent) as file:
                crops: list[TrackedCrop] = []
                for found in _batches(job.crops(video), batch_size):
                    file.write(_features(encoder, found).tobytes())
                    crops += [crop._replace(crop_HWC=_NO_PICTURE) for crop in found]
                _write_video(table, video, crops, file, encoder.feature_dim)
    job.account.num_rows = table.num_rows
    return job.account


def _write_video(
    table: FeatureTable, video: Source, crops: Sequence[TrackedCrop], features: IO[bytes], feature_dim: int
) -> None:
    """The video's rows in their order; only now is it known which identity each track has."""
    slots: dict[int, set[int]] = defaultdict(set)
    size: dict[int, float] = defaultdict(float)
    for crop in crops:
        slots[crop.track].update(crop.slots)
        size[crop.track] += crop.box_area_px2 * len(crop.slots)
    identities = identities_of(slots, size, video=video.video, identity=video.identity)
    features.seek(0)
    for chunk in _batches(crops, VIDEO_ROWS_AT_ONCE):
        keys = [FeatureKey(str(video.path), c.track, c.frame, c.seconds, identities[c.track]) for c in chunk]
        read = np.frombuffer(features.read(4 * len(keys) * feature_dim), np.float32)
        table.write(keys, read.reshape(len(keys), feature_dim))


class KeyedFace(NamedTuple):
    """A crop (any square size, uint8 RGB) and its row's key."""

    key: FeatureKey
    crop_HWC: NDArray[np.uint8]


def store_faces(store: TrackStore, *, size_px: int) -> Iterator[KeyedFace]:
    """Every distinct frame of every track, read at `size_px`. Memory: 8 bytes a frame of the store."""
    seconds = pq.read_table(store.path / FRAMES, columns=["seconds"])["seconds"].to_numpy()
    columns = ("track_id", "source_path", "identity", "first_row")
    for track, row in enumerate(store.tracks.select(columns).to_pylist()):
        frames = store.source_frame_indices(track).astype(np.int64)
        distinct = np.flatnonzero(np.diff(frames, prepend=-1)).tolist()
        number = int(row["track_id"].rpartition("#")[2])
        for positions in _batches(distinct, READ_AT_ONCE):
            crops = store.read_frames(track, positions, size_px=size_px)
            for position, crop in zip(positions, crops, strict=True):
                frame, at = int(frames[position]), float(seconds[row["first_row"] + position])
                yield KeyedFace(FeatureKey(row["source_path"], number, frame, at, row["identity"]), crop)


class TrackedCrop(NamedTuple):
    """A crop of a video (uint8 RGB), its track and frame, and what decides the identity of the track."""

    track: int
    frame: int  # of the source, in decoding order
    seconds: float
    slots: tuple[int, ...]  # of the 25 fps grid
    box_area_px2: float
    crop_HWC: NDArray[np.uint8]


_NO_PICTURE = np.zeros((0, 0, 3), np.uint8)


def video_faces(path: Path, *, track_faces: Callable[[Path], Iterator[SlotFaces]]) -> Iterator[TrackedCrop]:
    """Every face of every frame on the 25 fps grid. VideoError where the file breaks off."""
    for looked in track_faces(path):
        frame, seconds, slots = looked.source_frame_index, looked.seconds, looked.slots
        for face in looked.faces:
            left, top, right, bottom = face.box_xyxy_px
            area = (right - left) * (bottom - top)
            yield TrackedCrop(face.track_number, frame, seconds, slots, area, face.crop_HWC)


def image_faces(source: Source, *, finder: FaceFinder) -> Iterator[KeyedFace]:
    """Every face of a picture, numbered from the largest on as its tracks; ImageError if it is no picture.

    The largest is the person that the path names, the others are known from this picture only.
    """
    faces, _reason = faces_in_picture(read_image(source.path), finder=finder, settings=TrackSettings())
    for rank, face in enumerate(faces):
        identity = f"{source.video}+{rank}" if rank else source.identity
        yield KeyedFace(FeatureKey(str(source.path), face.track_number, 0, 0.0, identity), face.crop_HWC)


T = TypeVar("T")


def _features(encoder: Encoder, faces: Sequence[KeyedFace | TrackedCrop]) -> NDArray[np.float32]:
    frames = [resize_crop(face.crop_HWC, encoder.inputs.frame_size_px) for face in faces]
    return embed_frames(encoder, np.stack(frames))


class _Embedding:
    """The faces of sources of every kind; finder and tracker are made only where they are needed."""

    def __init__(self, encoder: Encoder, bar: FileProgress, *, models: Path | None, strict: bool) -> None:
        self.encoder, self.bar, self.models, self.strict = encoder, bar, models, strict
        self.account = EmbedAccount()

    def faces(self, stores: Sequence[Path], pictures: Sequence[Source]) -> Iterator[KeyedFace]:
        for path in stores:
            store = TrackStore.open(path)
            self.encoder.contract.require_same(store.contract, ours=self.encoder.source, theirs=str(path))
            yield from self._counted(path, store_faces(store, size_px=self.encoder.inputs.frame_size_px))
        for source in pictures:
            yield from self._counted(source.path, image_faces(source, finder=self._tracking.finder))

    def crops(self, video: Source) -> Iterator[TrackedCrop]:
        yield from self._counted(video.path, video_faces(video.path, track_faces=self._tracking))

    @cached_property
    def _tracking(self) -> FaceTracking:
        from mien.faces.track import FaceTracking

        tracking = FaceTracking(models=self.models)
        self.encoder.contract.require_same(
            tracking.contract, ours=self.encoder.source, theirs="faces found now"
        )
        return tracking

    def _counted(self, path: Path, faces: Iterator[T]) -> Iterator[T]:
        found, unreadable = 0, False
        num_frames = self.bar.size_of[str(path)]
        try:
            for face in faces:
                found += 1
                done = face.seconds * SLOTS_PER_SECOND if isinstance(face, TrackedCrop) else found
                self.bar.is_at(str(path), FrameProgress(found, min(1.0, done / num_frames)))
                yield face
        except (VideoError, ImageError, OSError) as error:
            if self.strict:
                raise
            unreadable = True
            tqdm.write(f"embed: {error}", file=sys.stderr)
        else:
            self.account.num_without_face += not found
        self.account.num_unreadable += unreadable
        self.account.num_sources += 1
        self.bar.has(str(path), num_frames=found, troubled=unreadable)


def _num_frames(path: Path) -> int:
    """About how many frames of the 25 fps grid a store, picture or video has; at least 1."""
    if (path / HEADER).is_file():
        return max(1, StoreSummary.of(TrackStore.open(path)).num_positions)
    if path.suffix.lower() in PICTURE_SUFFIXES:
        return 1
    try:
        return max(1, round(probe(path).duration_seconds * SLOTS_PER_SECOND))
    except (VideoError, OSError, ValueError):  # ValueError: the duration is unknown
        return 1


def sort_by_kind(
    sources: Sequence[Path], *, identities: str = ""
) -> tuple[list[Path], list[Source], list[Source]]:
    """Stores, pictures and videos; SourceError where there is nothing of any kind."""
    sources = [spelt_as_on_disk(path) for path in sources]
    stores = [path for path in sources if (path / HEADER).is_file()]
    others = [path for path in sources if path not in stores]
    pictures = [source for path in others for source in _pictures(path)]
    with_videos = [path for path in others if _may_hold_videos(path)]
    if not (stores or pictures or with_videos):
        raise SourceError(f"no store, video or picture in {', '.join(map(str, sources))}")
    videos = list(find_sources(with_videos).sources) if with_videos else []
    pictures = with_distinct_names(pictures)
    if identities:
        pictures, videos = with_identities(pictures, identities), with_identities(videos, identities)
    return stores, pictures, videos


def _may_hold_videos(given: Path) -> bool:
    """Whether `find_sources` should see it: everything but pictures and folders without a video."""
    if given.is_dir():
        return any(path.suffix.lower() in VIDEO_SUFFIXES for path in given.rglob("*"))
    return given.suffix.lower() not in PICTURE_SUFFIXES


def _pictures(given: Path) -> Iterator[Source]:
    root = given if given.is_dir() else given.parent
    for path in sorted(given.rglob("*")) if given.is_dir() else [given]:
        if path.suffix.lower() in PICTURE_SUFFIXES and path.is_file():
            relative = path.relative_to(root)
            origin = "sub-folders" if len(relative.parts) > 1 else "file names"
            yield Source(path, str(relative), relative.parts[0], str(relative), identity_from=origin)


def _batches(items: Iterable[T], size: int) -> Iterator[list[T]]:
    iterator = iter(items)
    while batch := list(islice(iterator, size)):
        yield batch
