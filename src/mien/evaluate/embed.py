"""Faces of stores, videos and pictures through an encoder into a table: one row per frame and face."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import sys
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
from numpy.typing import NDArray
from tqdm import tqdm

from mien.data.sources import (
    PICTURE_SUFFIXES,
    VIDEO_SUFFIXES,
    Source,
    SourceError,
    identities_in_words,
    identities_of,
    list_sources,
    refuse_same_names,
    with_identities,
)
from mien.data.spelling import spelt_as_on_disk
from mien.data.store import TrackStore
from mien.data.store_layout import FRAMES, HEADER, MANIFEST
from mien.evaluate.features import embed_frames, resize_crop
from mien.faces.track import faces_in_picture
from mien.faces.tracked import TrackSettings
from mien.io import naming_write_errors, replacing, write_bytes
from mien.train.encoder_file import Encoder
from mien.video import ImageError, VideoError, read_image

if TYPE_CHECKING:
    from mien.faces.track import FaceTracking

KEYS = pa.schema(
    {"path": pa.string(), "track": pa.int32(), "frame": pa.int64(), "seconds": pa.float64()}
    | {"identity": pa.string()}
)
ROWS_PER_GROUP = 16_384  # the footer has an entry per column and group: small groups would make it the file
READ_AT_ONCE = 64  # frames of a track


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

    Until then keys and features are appended to two files in `folder`. A killed run loses what came after the
    last `keep`; `resumed` is what that was given.
    """

    def __init__(self, path: Path, *, feature_dim: int, made_from: str) -> None:
        self.path, self.folder = path, path.with_name(f".{path.name}.parts")
        self._feature_dim, self._made_from = feature_dim, made_from
        state = self.folder / "state.json"
        kept = json.loads(state.read_text(encoding="utf-8")) if state.is_file() else {}
        self.is_kept = kept.get("made_from") == made_from
        if not self.is_kept:
            shutil.rmtree(self.folder, ignore_errors=True)
            kept = {"at": {}, "num_rows": 0, "num_bytes": (0, 0)}
        self.resumed: dict[str, int] = kept["at"]
        self.num_rows: int = kept["num_rows"]
        with naming_write_errors(path):
            self.folder.mkdir(parents=True, exist_ok=True)
            self._files = [(self.folder / name).open("ab") for name in ("keys.jsonl", "features.f32")]
            for file, num_bytes in zip(self._files, kept["num_bytes"], strict=True):
                file.seek(file.truncate(num_bytes))

    def write_features(self, features_ND: NDArray[np.float32]) -> None:
        """Append N rows, whose keys follow later."""
        with naming_write_errors(self.path):
            self._files[1].write(features_ND.tobytes())

    def write_keys(self, keys: Sequence[FeatureKey]) -> None:
        """Append the keys of features already written."""
        with naming_write_errors(self.path):
            self._files[0].write("".join(json.dumps(key) + "\n" for key in keys).encode())
        self.num_rows += len(keys)

    def keep(self, at: Mapping[str, int]) -> None:
        """What was written so far is not lost any more. at: where to continue after it."""
        with naming_write_errors(self.path):
            for file in self._files:
                file.flush()
                os.fsync(file.fileno())
            sizes = [file.tell() for file in self._files]
            state = {"made_from": self._made_from, "at": at, "num_rows": self.num_rows, "num_bytes": sizes}
            write_bytes(self.folder / "state.json", json.dumps(state).encode())
        self.is_kept = True

    def groups(self, schema: pa.Schema) -> Iterator[pa.Table]:
        """All rows, one group at a time."""
        with naming_write_errors(self.path):
            for file in self._files:
                file.flush()
        keys_file, features_file = (Path(file.name) for file in self._files)
        with keys_file.open(encoding="utf-8") as lines, features_file.open("rb") as features:
            while keys := [json.loads(line) for line in islice(lines, ROWS_PER_GROUP)]:
                read = np.fromfile(features, np.float32, len(keys) * self._feature_dim)
                columns = [*map(list, zip(*keys, strict=True)), *read.reshape(len(keys), -1).T.copy()]
                yield pa.table(columns, schema=schema)

    def close(self) -> None:
        """Close both files; they are removed unless there is something to continue from."""
        for file in self._files:
            with suppress(OSError):  # what a full disk did not take was reported
                file.close()
        if not self.is_kept:
            shutil.rmtree(self.folder, ignore_errors=True)


@contextmanager
def feature_table(path: Path, *, feature_dim: int, made_from: str = "") -> Iterator[FeatureTable]:
    """A table that becomes `path` at the end; after an error `path` is as it was.

    Columns: path, track, frame, seconds, identity, f000, f001, ... (float32; CSV has enough digits to be
    exact). Rows of an earlier run are reused if that run was given the same `made_from`, and deleted
    otherwise. FeatureTableError unless the name ends in .parquet or .csv; WriteError names `path` where the
    disk takes no more.
    """
    writers = {".parquet": pq.ParquetWriter, ".csv": pyarrow.csv.CSVWriter}
    if path.suffix not in writers:
        raise FeatureTableError(f"{path}: expected a name that ends in .parquet or .csv")
    width = max(3, len(str(feature_dim - 1)))
    features = [pa.field(f"f{number:0{width}d}", pa.float32()) for number in range(feature_dim)]
    schema = pa.schema([*KEYS, *features])
    table = FeatureTable(path, feature_dim=feature_dim, made_from=made_from)
    try:
        yield table
        with replacing(path) as temporary, writers[path.suffix](temporary, schema) as writer:
            for group in table.groups(schema):
                writer.write_table(group)
        table.is_kept = False
    finally:
        table.close()


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
    if pictures or videos:
        tqdm.write(f"embed: {identities_in_words([*pictures, *videos])}", file=sys.stderr)
    made_from = _made_from(encoder, stores, [*pictures, *videos], batch_size)
    with (
        feature_table(out, feature_dim=encoder.feature_dim, made_from=made_from) as table,
        tqdm(unit=" faces", initial=table.num_rows, mininterval=0.3 if sys.stderr.isatty() else 30) as bar,
    ):
        num_rows_done = table.resumed.pop("num_rows_of_next", 0)
        account = EmbedAccount(**table.resumed)
        if table.num_rows:
            tqdm.write(f"embed: continues after {table.num_rows:,} rows of an earlier run", file=sys.stderr)
        job = _Embedding(encoder, bar, account, models=models, strict=strict)
        without_videos: list[Path | Source] = [*stores, *pictures]
        one_by_one = without_videos[account.num_sources :]
        todo = videos[max(0, account.num_sources - len(without_videos)) :]
        for batch in _batches(job.faces(one_by_one, skip=num_rows_done), batch_size):
            table.write_features(_features(encoder, batch))
            table.write_keys([face.key for face in batch])
            table.keep(job.position())
        for video in todo:
            faces: list[_Face] = []
            for batch in _batches(job.faces([video]), batch_size):
                table.write_features(_features(encoder, batch))
                faces += [face._replace(crop_HWC=_NO_PICTURE) for face in batch]
            table.write_keys(_with_identities(video, faces))
            table.keep(asdict(account))
    account.num_rows = table.num_rows
    return account


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


class _Face(NamedTuple):
    """A crop (any square size, uint8 RGB) and its row's key.

    slots of the 25 fps grid and area: of a face in a video, where they decide the identity of its track.
    """

    key: FeatureKey
    crop_HWC: NDArray[np.uint8]
    slots: tuple[int, ...] = ()
    box_area_px2: float = 0.0


_NO_PICTURE = np.zeros((0, 0, 3), np.uint8)


def _features(encoder: Encoder, faces: Sequence[_Face]) -> NDArray[np.float32]:
    frames = [resize_crop(face.crop_HWC, encoder.inputs.frame_size_px) for face in faces]
    return embed_frames(encoder, np.stack(frames))


def _with_identities(video: Source, faces: Sequence[_Face]) -> list[FeatureKey]:
    """Keys with the identity of each track, which is known when the whole video was seen."""
    slots: dict[int, set[int]] = defaultdict(set)
    size: dict[int, float] = defaultdict(float)
    for face in faces:
        slots[face.key.track].update(face.slots)
        size[face.key.track] += face.box_area_px2 * len(face.slots)
    identity_of = identities_of(slots, size, video=video.video, identity=video.identity)
    return [face.key._replace(identity=identity_of[face.key.track]) for face in faces]


class _Embedding:
    """The faces of sources of every kind, counted; finder and tracker are made only where they are needed."""

    def __init__(
        self, encoder: Encoder, bar: tqdm, account: EmbedAccount, *, models: Path | None, strict: bool
    ) -> None:
        self.encoder, self.bar, self.models, self.strict = encoder, bar, models, strict
        self.account = account
        self._found = 0  # faces of the source under way

    def position(self) -> dict[str, int]:
        """Where to continue after the last face that was given."""
        return {**asdict(self.account), "num_rows_of_next": self._found}

    def faces(self, sources: Sequence[Path | Source], *, skip: int = 0) -> Iterator[_Face]:
        """Of stores, pictures and videos, without the first `skip` faces of the first one."""
        for source in sources:
            self._found = skip
            try:
                for face in self._faces_of(source, skip=skip):
                    self._found += 1
                    self.bar.update()
                    yield face
            except (VideoError, ImageError, OSError) as error:
                if self.strict:
                    raise
                self.account.num_unreadable += 1
                tqdm.write(f"embed: {error}", file=sys.stderr)
            else:
                self.account.num_without_face += not self._found
            self.account.num_sources += 1
            skip = 0

    def _faces_of(self, source: Path | Source, *, skip: int) -> Iterator[_Face]:
        if isinstance(source, Path):
            store = TrackStore.open(source)
            self.encoder.contract.require_same(store.contract, ours=self.encoder.source, theirs=str(source))
            return _store_faces(store, size_px=self.encoder.inputs.frame_size_px, skip=skip)
        if source.path.suffix.lower() in PICTURE_SUFFIXES:
            return islice(self._picture_faces(source), skip, None)
        return self._video_faces(source.path)

    def _picture_faces(self, source: Source) -> Iterator[_Face]:
        """Every face of a picture, numbered from the largest on as its tracks; ImageError if it is none.

        The largest is the person that the path names, the others are known from this picture only.
        """
        picture, finder = read_image(source.path), self._tracking.finder
        faces = faces_in_picture(picture, finder=finder, settings=TrackSettings()).faces
        for rank, face in enumerate(faces):
            identity = f"{source.video}+{rank}" if rank else source.identity
            yield _Face(FeatureKey(str(source.path), face.track_number, 0, 0.0, identity), face.crop_HWC)

    def _video_faces(self, path: Path) -> Iterator[_Face]:
        """Every face of every frame on the 25 fps grid. VideoError where the file breaks off."""
        for looked in self._tracking(path):
            for face in looked.faces:
                left, top, right, bottom = face.box_xyxy_px
                key = FeatureKey(str(path), face.track_number, looked.source_frame_index, looked.seconds, "")
                yield _Face(key, face.crop_HWC, looked.slots, (right - left) * (bottom - top))

    @cached_property
    def _tracking(self) -> FaceTracking:
        from mien.faces.track import FaceTracking

        tracking, encoder = FaceTracking(models=self.models), self.encoder
        encoder.contract.require_same(tracking.contract, ours=encoder.source, theirs="faces found now")
        return tracking


def _store_faces(store: TrackStore, *, size_px: int, skip: int) -> Iterator[_Face]:
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
                yield _Face(FeatureKey(row["source_path"], number, frame, at, row["identity"]), crop)


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
    videos = list(list_sources(with_videos).sources) if with_videos else []
    for video in videos:
        if video.url:
            raise SourceError(f"{video.url}: URLs are read by `mien prepare` alone; copy the file here first")
    refuse_same_names(pictures)
    if identities:
        pictures, videos = with_identities(pictures, identities), with_identities(videos, identities)
    return stores, pictures, videos


def _may_hold_videos(given: Path) -> bool:
    """Whether `list_sources` should see it: everything but pictures and folders without a video."""
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


T = TypeVar("T")


def _batches(items: Iterable[T], size: int) -> Iterator[list[T]]:
    iterator = iter(items)
    while batch := list(islice(iterator, size)):
        yield batch
