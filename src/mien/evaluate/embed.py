"""Faces of stores, videos and pictures through an encoder into a table: one row per frame and face."""

from __future__ import annotations

import sys
import tempfile
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
from numpy.typing import NDArray
from tqdm import tqdm

from mien.data.identities import identities_of
from mien.data.sources import (
    PICTURE_SUFFIXES,
    VIDEO_SUFFIXES,
    Source,
    SourceError,
    find_sources,
    with_distinct_names,
)
from mien.data.spelling import spelt_as_on_disk
from mien.data.store import TrackStore
from mien.data.store_layout import FRAMES, HEADER
from mien.evaluate.features import embed_frames, resize_crop
from mien.faces.contract import CropContract
from mien.faces.finder import FaceFinder
from mien.faces.landmarks_beside import LandmarksError
from mien.faces.track import SlotFaces, TrackSettings, faces_in_picture
from mien.io import naming_write_errors
from mien.train.encoder_file import Encoder
from mien.video import ImageError, VideoError, read_image

if TYPE_CHECKING:
    from mien.data.face_tracking import FaceTracking
    from mien.faces.mediapipe_finder import MediaPipeFinder

KEYS = pa.schema(
    {"path": pa.string(), "track": pa.int32(), "frame": pa.int64(), "seconds": pa.float64()}
    | {"identity": pa.string()}
)
ROWS_PER_GROUP = 16_384  # the footer has an entry per column and group: small groups would make it the file
READ_AT_ONCE = 64  # frames of a track
VIDEO_ROWS_AT_ONCE = 1024


class FeatureTableError(ValueError):
    """A table that cannot be written as asked."""


@dataclass(frozen=True)
class FeatureKey:
    """Whose feature a row is: a face in a frame of a file. A picture is frame 0 at 0 seconds."""

    path: str
    track: int
    frame: int  # of the source, in decoding order
    seconds: float
    identity: str


class FeatureTable:
    """Within `with FeatureTable(path, feature_dim=512) as table:`, rows go to a file beside `path`.

    At the end that becomes `path`; after an error it is removed. Columns: path, track, frame, seconds,
    identity, f000, f001, ... (float32; CSV has enough digits to be exact). WriteError names `path` where the
    disk takes no more.
    """

    def __init__(self, path: Path, *, feature_dim: int) -> None:
        """FeatureTableError unless the name ends in .parquet or .csv."""
        writers = {".parquet": pq.ParquetWriter, ".csv": pyarrow.csv.CSVWriter}
        if path.suffix not in writers:
            raise FeatureTableError(f"{path}: expected a name that ends in .parquet or .csv")
        self.path = path
        self.num_rows = 0
        self._beside = path.with_name(f".{path.name}.part")
        width = max(3, len(str(feature_dim - 1)))
        features = [pa.field(f"f{number:0{width}d}", pa.float32()) for number in range(feature_dim)]
        self._schema = pa.schema([*KEYS, *features])
        with naming_write_errors(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            try:
                self._writer = writers[path.suffix](self._beside, self._schema)
            except OSError:
                self._beside.unlink(missing_ok=True)
                raise
        self._waiting: list[pa.Table] = []

    def write(self, keys: Sequence[FeatureKey], features_ND: NDArray[np.float32]) -> None:
        """Append N rows."""
        if len(keys) != len(features_ND):
            raise ValueError(f"{len(keys)} keys for {len(features_ND)} features")
        columns = [[getattr(key, name) for key in keys] for name in KEYS.names]
        self._waiting.append(pa.table([*columns, *np.ascontiguousarray(features_ND.T)], schema=self._schema))
        self.num_rows += len(keys)
        if sum(table.num_rows for table in self._waiting) >= ROWS_PER_GROUP:
            with naming_write_errors(self.path):
                self._write_group()

    def __enter__(self) -> FeatureTable:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with naming_write_errors(self.path):
            try:
                if kind is None:
                    self._write_group()
                self._writer.close()
                if kind is None:
                    self._beside.replace(self.path)
            finally:
                self._beside.unlink(missing_ok=True)

    def _write_group(self) -> None:
        if self._waiting:
            self._writer.write_table(pa.concat_tables(self._waiting).combine_chunks())
            self._waiting = []


@dataclass
class EmbedAccount:
    """What became of the sources."""

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
    landmarks: str = "detect",
    models: Path | None = None,
    strict: bool = False,
) -> EmbedAccount:
    """Write the features of all faces in `sources` to `out`; memory does not grow with their length.

    ContractMismatchError where faces would be cropped otherwise than the encoder's. A file that cannot be
    read is named on stderr and counted; with `strict` its error is raised. `models` is the folder of the face
    models' weights, None for the installed ones.
    """
    job = _Embedding(encoder, landmarks=landmarks, models=models, strict=strict)
    stores, pictures, videos = sort_by_kind(sources)
    with FeatureTable(out, feature_dim=encoder.feature_dim) as table, _progress_bar() as bar:
        for batch in _batches(job.faces(stores, pictures), batch_size):
            table.write([face.key for face in batch], _features(encoder, batch))
            bar.update(len(batch))
        for source in videos:
            with VideoRows(out.parent, feature_dim=encoder.feature_dim) as rows:
                for crops in _batches(job.crops(source), batch_size):
                    rows.add(crops, _features(encoder, crops))
                    bar.update(len(crops))
                rows.write_into(table, source)
    job.account.num_rows = table.num_rows
    return job.account


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


class VideoRows:
    """The rows of one video until it is over: only then is it known whose face each track is.

    Within `with VideoRows(folder, feature_dim=512) as rows:`, rows go to a nameless file in `folder`.
    WriteError names the folder where the disk takes no more.
    """

    def __init__(self, folder: Path, *, feature_dim: int) -> None:
        self._folder = folder
        with naming_write_errors(folder):
            self._file = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115, closed in __exit__
        self._dtype = np.dtype(
            [("track", "<i4"), ("frame", "<i8"), ("seconds", "<f8"), ("feature", "<f4", feature_dim)]
        )
        self._slots: dict[int, set[int]] = defaultdict(set)
        self._size: dict[int, float] = defaultdict(float)

    def add(self, crops: Sequence[TrackedCrop], features_ND: NDArray[np.float32]) -> None:
        """Append N rows."""
        rows = np.empty(len(crops), self._dtype)
        for row, crop in zip(rows, crops, strict=True):
            row["track"], row["frame"], row["seconds"] = crop.track, crop.frame, crop.seconds
            self._slots[crop.track].update(crop.slots)
            self._size[crop.track] += crop.box_area_px2 * len(crop.slots)
        rows["feature"] = features_ND
        with naming_write_errors(self._folder):
            self._file.write(rows.tobytes())

    def write_into(self, table: FeatureTable, source: Source) -> None:
        """All rows, in the order in which they came, with the identities that `mien prepare` would give."""
        identities = identities_of(self._slots, self._size, video=source.video, identity=source.identity)
        with naming_write_errors(self._folder):
            self._file.seek(0)
        while chunk := self._file.read(VIDEO_ROWS_AT_ONCE * self._dtype.itemsize):
            rows = np.frombuffer(chunk, self._dtype)
            keys = [
                FeatureKey(str(source.path), track, frame, seconds, identities[track])
                for track, frame, seconds in rows[["track", "frame", "seconds"]].tolist()
            ]
            table.write(keys, rows["feature"])

    def __enter__(self) -> VideoRows:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()


Face = TypeVar("Face", KeyedFace, TrackedCrop)


def _features(encoder: Encoder, faces: Sequence[KeyedFace | TrackedCrop]) -> NDArray[np.float32]:
    frames = [resize_crop(face.crop_HWC, encoder.inputs.frame_size_px) for face in faces]
    return embed_frames(encoder, np.stack(frames))


class _Embedding:
    """The faces of sources of every kind; finder and tracker are made only where they are needed."""

    def __init__(self, encoder: Encoder, *, landmarks: str, models: Path | None, strict: bool) -> None:
        self.encoder = encoder
        self.landmarks = landmarks
        self.models = models
        self.strict = strict
        self.account = EmbedAccount()

    def faces(self, stores: Sequence[Path], pictures: Sequence[Source]) -> Iterator[KeyedFace]:
        for path in stores:
            store = TrackStore.open(path)
            self.encoder.contract.require_same(store.contract, ours=self.encoder.source, theirs=str(path))
            yield from self._counted(store_faces(store, size_px=self.encoder.inputs.frame_size_px))
        for source in pictures:
            yield from self._counted(image_faces(source, finder=self._finder))

    def crops(self, video: Source) -> Iterator[TrackedCrop]:
        yield from self._counted(video_faces(video.path, track_faces=self._tracking))

    @cached_property
    def _finder(self) -> MediaPipeFinder:
        from mien.faces.align import crop_contract
        from mien.faces.mediapipe_finder import MediaPipeFinder
        from mien.faces.models import find_models

        finder = MediaPipeFinder(find_models(self.models))
        self._require_same(crop_contract(finder))
        return finder

    @cached_property
    def _tracking(self) -> FaceTracking:
        from mien.data.face_tracking import FaceTracking
        from mien.faces.track import TrackSettings

        tracking = FaceTracking(TrackSettings(), landmarks=self.landmarks, models=self.models)
        self._require_same(tracking.contract)
        return tracking

    def _require_same(self, contract: CropContract) -> None:
        self.encoder.contract.require_same(contract, ours=self.encoder.source, theirs="faces found now")

    def _counted(self, faces: Iterator[Face]) -> Iterator[Face]:
        found = 0
        try:
            for face in faces:
                found += 1
                yield face
        except (VideoError, ImageError, LandmarksError, OSError) as error:
            if self.strict:
                raise
            self.account.num_unreadable += 1
            tqdm.write(f"embed: {error}", file=sys.stderr)
        else:
            self.account.num_without_face += not found
        self.account.num_sources += 1


def sort_by_kind(sources: Sequence[Path]) -> tuple[list[Path], list[Source], list[Source]]:
    """Stores, pictures and videos; SourceError where there is nothing of any kind."""
    sources = [spelt_as_on_disk(path) for path in sources]
    stores = [path for path in sources if (path / HEADER).is_file()]
    others = [path for path in sources if path not in stores]
    pictures = [source for path in others for source in _pictures(path)]
    with_videos = [path for path in others if _may_hold_videos(path)]
    if not (stores or pictures or with_videos):
        raise SourceError(f"no store, video or picture in {', '.join(map(str, sources))}")
    videos = list(find_sources(with_videos).sources) if with_videos else []
    return stores, with_distinct_names(pictures), videos


def _may_hold_videos(given: Path) -> bool:
    """Whether `find_sources` should see it: everything but pictures and folders without a video."""
    if given.is_dir():
        return any(path.suffix.lower() in VIDEO_SUFFIXES for path in given.rglob("*"))
    return given.suffix.lower() not in PICTURE_SUFFIXES


def _pictures(given: Path) -> Iterator[Source]:
    files = sorted(given.rglob("*")) if given.is_dir() else [given]
    for path in files:
        if path.suffix.lower() in PICTURE_SUFFIXES and path.is_file():
            root = given if given.is_dir() else given.parent
            relative = path.relative_to(root)
            origin = "sub-folders" if len(relative.parts) > 1 else "file names"
            yield Source(path, str(relative), relative.parts[0], str(relative), identity_from=origin)


def _progress_bar() -> tqdm[None]:
    return tqdm(unit="face", file=sys.stderr, mininterval=0.5 if sys.stderr.isatty() else 30.0)


def _batches(faces: Iterable[Face], size: int) -> Iterator[list[Face]]:
    iterator = iter(faces)
    while batch := list(islice(iterator, size)):
        yield batch
