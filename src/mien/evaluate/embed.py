"""Faces of stores, videos and pictures through an encoder into a table: one row per frame and face."""

from __future__ import annotations

import hashlib
import json
import shutil
import sys
import tempfile
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
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
from mien.data.store_layout import FRAMES, HEADER, MANIFEST
from mien.evaluate.features import embed_frames, resize_crop
from mien.faces.finder import FaceFinder
from mien.faces.track import faces_in_picture
from mien.faces.tracked import SlotFaces, TrackSettings
from mien.io import replacing, write_bytes
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
_MADE_FROM = "made-from"


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
    """Rows that become a Parquet or CSV file; made by `feature_table`.

    Until then each full group of rows is a file of its own in `folder`, so a killed run loses at most one
    group. `resumed` is what the last `write` before the newest of these files gave as `at`.
    """

    def __init__(self, folder: Path, schema: pa.Schema, *, made_from: str) -> None:
        self._folder, self._schema, self._made_from = folder, schema, made_from
        self._waiting: list[pa.Table] = []
        self._groups = sorted(folder.glob("*.parquet"))
        self.num_rows = sum(pq.read_metadata(path).num_rows for path in self._groups)
        self.resumed: dict[str, int] = {}
        if self._groups:
            self.resumed = json.loads(pq.read_schema(self._groups[-1]).metadata[b"mien"])

    def write(
        self, keys: Sequence[FeatureKey], features_ND: NDArray[np.float32], *, at: Mapping[str, int]
    ) -> None:
        """Append N rows. at: where to continue after them."""
        columns = [*map(list, zip(*keys, strict=True)), *np.ascontiguousarray(features_ND.T)]
        self._waiting.append(pa.table(columns, schema=self._schema))
        self.num_rows += len(keys)
        if sum(table.num_rows for table in self._waiting) >= ROWS_PER_GROUP:
            self._keep(pa.concat_tables(self._waiting).combine_chunks(), at)
            self._waiting = []

    def groups(self) -> Iterator[pa.Table]:
        """All rows, one group at a time."""
        for path in self._groups:
            yield pq.read_table(path).replace_schema_metadata(None)
        if self._waiting:
            yield pa.concat_tables(self._waiting).combine_chunks()

    def _keep(self, group: pa.Table, at: Mapping[str, int]) -> None:
        if not self._groups:
            write_bytes(self._folder / _MADE_FROM, self._made_from.encode())
        path = self._folder / f"{len(self._groups):06d}.parquet"
        with replacing(path) as temporary:
            pq.write_table(group.replace_schema_metadata({"mien": json.dumps(at)}), temporary)
        self._groups.append(path)


@contextmanager
def feature_table(path: Path, *, feature_dim: int, made_from: str = "") -> Iterator[FeatureTable]:
    """A table that becomes `path` at the end; after an error `path` is as it was.

    Columns: path, track, frame, seconds, identity, f000, f001, ... (float32; CSV has enough digits to be
    exact). Groups of rows that an earlier run left are taken up if that run was given the same `made_from`,
    and deleted otherwise. FeatureTableError unless the name ends in .parquet or .csv; WriteError names `path`
    where the disk takes no more.
    """
    writers = {".parquet": pq.ParquetWriter, ".csv": pyarrow.csv.CSVWriter}
    if path.suffix not in writers:
        raise FeatureTableError(f"{path}: expected a name that ends in .parquet or .csv")
    width = max(3, len(str(feature_dim - 1)))
    features = [pa.field(f"f{number:0{width}d}", pa.float32()) for number in range(feature_dim)]
    schema = pa.schema([*KEYS, *features])
    folder = path.with_name(f".{path.name}.parts")
    if folder.exists() and not _is_made_from(folder, made_from):
        shutil.rmtree(folder)
    with replacing(path) as temporary, writers[path.suffix](temporary, schema) as writer:
        table = FeatureTable(folder, schema, made_from=made_from)
        yield table
        for group in table.groups():
            writer.write_table(group)
    shutil.rmtree(folder, ignore_errors=True)


def _is_made_from(folder: Path, made_from: str) -> bool:
    path = folder / _MADE_FROM
    return path.is_file() and path.read_text(encoding="utf-8") == made_from


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

    A run that was killed goes on: the same call takes up the rows that it left, and `out` is the same.
    `identities` is a CSV or a pattern, as of `mien.data.sources.with_identities`.

    ContractMismatchError where faces would be cropped otherwise than the encoder's. A file that cannot be
    read is named on stderr and counted; with `strict` its error is raised. `models` is the folder of the face
    models' weights, None for the installed ones.
    """
    stores, pictures, videos = sort_by_kind(sources, identities=identities)
    others = [*pictures, *videos]
    if others:
        tqdm.write(f"embed: {identities_in_words(others)}", file=sys.stderr)
    made_from = _made_from(encoder, stores, others, batch_size)
    with (
        feature_table(out, feature_dim=encoder.feature_dim, made_from=made_from) as table,
        FileProgress() as bar,
    ):
        num_rows_done = table.resumed.pop("num_rows_of_next", 0)
        account = EmbedAccount(**table.resumed)
        if table.num_rows:
            tqdm.write(f"embed: continues after {table.num_rows:,} rows of an earlier run", file=sys.stderr)
        job = _Embedding(encoder, bar, account, models=models, strict=strict)
        without_videos: list[Path | Source] = [*stores, *pictures]
        one_by_one = without_videos[account.num_sources :]
        num_videos_done = max(0, account.num_sources - len(without_videos))
        todo = videos[num_videos_done:]
        paths = [_path_of(source) for source in (*one_by_one, *todo)]
        bar.begins({str(path): _num_frames(path) for path in paths})
        for batch in _batches(job.faces(one_by_one, skip=num_rows_done), batch_size):
            table.write([face.key for face in batch], _features(encoder, batch), at=job.position())
        for place, video in enumerate(todo):
            with tempfile.TemporaryFile(dir=out.parent) as file:
                before = asdict(job.account)
                crops: list[TrackedCrop] = []
                for found in _batches(job.crops(video), batch_size):
                    file.write(_features(encoder, found).tobytes())
                    crops += [crop._replace(crop_HWC=_NO_PICTURE) for crop in found]
                skip = 0 if one_by_one or place else num_rows_done
                _write_video(table, video, crops, file, job, before=before, skip=skip)
    job.account.num_rows = table.num_rows
    return job.account


def _made_from(encoder: Encoder, stores: Sequence[Path], others: Sequence[Source], batch_size: int) -> str:
    """A digest of all that the rows follow from: the weights, the files' sizes and times, and their order."""
    digest = hashlib.sha256(repr((encoder.inputs, batch_size)).encode())
    for name, tensor in encoder.backbone.state_dict().items():
        digest.update(name.encode() + tensor.cpu().numpy().tobytes())
    named = [(TrackStore.open(store).path / MANIFEST, "", "") for store in stores]
    for path, video, identity in [*named, *((one.path, one.video, one.identity) for one in others)]:
        state = path.stat()
        digest.update(repr((str(path), video, identity, state.st_size, state.st_mtime_ns)).encode())
    return digest.hexdigest()


def _path_of(source: Path | Source) -> Path:
    return source if isinstance(source, Path) else source.path


def _write_video(
    table: FeatureTable,
    video: Source,
    crops: Sequence[TrackedCrop],
    features: IO[bytes],
    job: _Embedding,
    *,
    before: Mapping[str, int],
    skip: int,
) -> None:
    """The video's rows in their order; only now is it known which identity each track has.

    before: the account without this video. skip: rows that an earlier run has written.
    """
    slots: dict[int, set[int]] = defaultdict(set)
    size: dict[int, float] = defaultdict(float)
    for crop in crops:
        slots[crop.track].update(crop.slots)
        size[crop.track] += crop.box_area_px2 * len(crop.slots)
    identities = identities_of(slots, size, video=video.video, identity=video.identity)
    feature_dim, done = job.encoder.feature_dim, skip
    features.seek(4 * feature_dim * done)
    for chunk in _batches(crops[skip:], VIDEO_ROWS_AT_ONCE):
        keys = [FeatureKey(str(video.path), c.track, c.frame, c.seconds, identities[c.track]) for c in chunk]
        read = np.frombuffer(features.read(4 * len(keys) * feature_dim), np.float32)
        done += len(keys)
        at = {**before, "num_rows_of_next": done} if done < len(crops) else asdict(job.account)
        table.write(keys, read.reshape(len(keys), feature_dim), at=at)


class KeyedFace(NamedTuple):
    """A crop (any square size, uint8 RGB) and its row's key."""

    key: FeatureKey
    crop_HWC: NDArray[np.uint8]


def store_faces(store: TrackStore, *, size_px: int, skip: int = 0) -> Iterator[KeyedFace]:
    """Every distinct frame of every track but the first `skip`, read at `size_px`.

    Memory: 8 bytes per frame of the store.
    """
    seconds = pq.read_table(store.path / FRAMES, columns=["seconds"])["seconds"].to_numpy()
    columns = ("track_id", "source_path", "identity", "first_row")
    for track, row in enumerate(store.tracks.select(columns).to_pylist()):
        frames = store.source_frame_indices(track).astype(np.int64)
        every = np.flatnonzero(np.diff(frames, prepend=-1)).tolist()
        distinct, skip = every[skip:], max(0, skip - len(every))
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

    def __init__(
        self, encoder: Encoder, bar: FileProgress, account: EmbedAccount, *, models: Path | None, strict: bool
    ) -> None:
        self.encoder, self.bar, self.models, self.strict = encoder, bar, models, strict
        self.account = account
        self._found = 0  # faces of the source under way

    def position(self) -> dict[str, int]:
        """Where to continue after the last face that was given."""
        return {**asdict(self.account), "num_rows_of_next": self._found}

    def faces(self, sources: Sequence[Path | Source], *, skip: int) -> Iterator[KeyedFace]:
        """Of stores and pictures, without the first `skip` faces of the first one."""
        for source in sources:
            if isinstance(source, Path):
                store = TrackStore.open(source)
                self.encoder.contract.require_same(
                    store.contract, ours=self.encoder.source, theirs=str(source)
                )
                faces = store_faces(store, size_px=self.encoder.inputs.frame_size_px, skip=skip)
            else:
                faces = islice(image_faces(source, finder=self._tracking.finder), skip, None)
            yield from self._counted(_path_of(source), faces, skipped=skip)
            skip = 0

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

    def _counted(self, path: Path, faces: Iterator[T], *, skipped: int = 0) -> Iterator[T]:
        self._found, unreadable = skipped, False
        num_frames = self.bar.size_of[str(path)]
        try:
            for face in faces:
                self._found += 1
                done = face.seconds * SLOTS_PER_SECOND if isinstance(face, TrackedCrop) else self._found
                self.bar.is_at(str(path), FrameProgress(self._found, min(1.0, done / num_frames)))
                yield face
        except (VideoError, ImageError, OSError) as error:
            if self.strict:
                raise
            unreadable = True
            tqdm.write(f"embed: {error}", file=sys.stderr)
        else:
            self.account.num_without_face += not self._found
        self.account.num_unreadable += unreadable
        self.account.num_sources += 1
        self.bar.has(str(path), num_frames=self._found, troubled=unreadable)


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
