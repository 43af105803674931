"""Sources of any kind through an encoder into a table: what `mien embed` does."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from mien.data.sources import VIDEO_SUFFIXES, Source, SourceError, find_sources
from mien.data.spelling import spelt_as_on_disk
from mien.data.store import TrackStore
from mien.data.store_layout import HEADER
from mien.detect.media import PICTURE_SUFFIXES
from mien.evaluate.feature_table import FeatureTable
from mien.evaluate.features import embed_frames, resize_crop
from mien.evaluate.keyed_faces import KeyedFace, TrackedCrop, image_faces, store_faces, video_faces
from mien.evaluate.video_rows import VideoRows
from mien.faces.contract import CropContract
from mien.faces.landmarks_beside import LandmarksError
from mien.train.encoder_file import Encoder
from mien.video import ImageError, VideoError

if TYPE_CHECKING:
    from mien.data.face_tracking import FaceTracking
    from mien.faces.mediapipe_finder import MediaPipeFinder

Face = TypeVar("Face", KeyedFace, TrackedCrop)


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
    return stores, _told_apart(pictures), _told_apart(videos)


def _told_apart(sources: Sequence[Source]) -> list[Source]:
    """Files of one name from several folders get their whole paths as names, and as identities where those
    were but the names of the files."""
    times = Counter(source.video for source in sources)
    return [source if times[source.video] == 1 else _with_whole_path(source) for source in sources]


def _with_whole_path(source: Source) -> Source:
    named_by_file = source.identity in (source.path.name, source.source_path)
    identity = str(source.path) if named_by_file else source.identity
    return replace(source, video=str(source.path), identity=identity)


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
            yield Source(path, str(relative), relative.parts[0], str(relative))


def _progress_bar() -> tqdm[None]:
    return tqdm(unit="face", file=sys.stderr, mininterval=0.5 if sys.stderr.isatty() else 30.0)


def _batches(faces: Iterable[Face], size: int) -> Iterator[list[Face]]:
    iterator = iter(faces)
    while batch := list(islice(iterator, size)):
        yield batch
