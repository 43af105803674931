"""Face crops from stores and media, to calibrate an engine on and to check it on."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mien.data.sources import Source, SourceError
from mien.data.store import TrackStore
from mien.evaluate.embed import image_faces, sort_by_kind, video_faces
from mien.faces.track import FaceTracking
from mien.train.encoder_file import Encoder

Images = NDArray[np.uint8]

FEWEST = 8
_EVERY = 12  # of a video's faces: neighbours look the same


@dataclass(frozen=True, eq=False)
class GatheredCrops:
    """(N, S, S, 3) crops; no track and no file has crops in both, where there are two or more."""

    calibration_NHWC: Images
    check_NHWC: Images


def gather_crops(
    sources: Sequence[Path], encoder: Encoder, *, num_crops: int, finder: Path | None = None, seed: int = 0
) -> GatheredCrops:
    """About `num_crops` faces, half for each purpose; SourceError where there are fewer than `FEWEST`.

    ContractMismatchError where faces are cropped differently from the encoder's.
    """
    groups = [group for group in _groups(sources, encoder, num_crops, finder) if len(group)]
    order = np.random.default_rng(seed).permutation(len(groups))
    halves = [[groups[k] for k in order[first::2]] for first in (0, 1)]
    if len(groups) == 1:
        middle = len(groups[0]) // 2
        halves = [[groups[0][:middle]], [groups[0][middle:]]]
    if sum(map(len, groups)) < FEWEST:
        raise SourceError(f"too few faces in {', '.join(map(str, sources))}: it takes {FEWEST}")
    return GatheredCrops(*(np.concatenate(half) for half in halves))


def _groups(
    sources: Sequence[Path], encoder: Encoder, num_crops: int, finder: Path | None
) -> Iterator[Images]:
    """The crops of one track or one file at a time."""
    stores, pictures, videos = sort_by_kind(sources)
    for path in stores:
        yield from _of_store(path, encoder, num_crops)
    share = max(4, -(-num_crops // max(1, len(pictures) + len(videos))))
    if videos:
        tracking = FaceTracking(models=finder)
        encoder.contract.require_same(tracking.contract, ours=encoder.source, theirs="faces found now")
        for video in videos:
            faces = video_faces(video.path, track_faces=tracking)
            yield _stacked([face.crop_HWC for face in islice(faces, 0, share * _EVERY, _EVERY)])
    if pictures:
        yield from _of_pictures(pictures, encoder, finder)


def _of_store(path: Path, encoder: Encoder, num_crops: int) -> Iterator[Images]:
    store = TrackStore.open(path)
    encoder.contract.require_same(store.contract, ours=encoder.source, theirs=str(path))
    tracks = np.unique(np.linspace(0, store.num_tracks - 1, min(store.num_tracks, num_crops)).astype(int))
    share = -(-num_crops // max(1, len(tracks)))
    for track in tracks.tolist():
        length = store.num_frames(track)
        positions = np.unique(np.linspace(0, length - 1, min(length, share)).astype(int))
        yield store.read_frames(track, positions.tolist())


def _of_pictures(pictures: Sequence[Source], encoder: Encoder, finder: Path | None) -> Iterator[Images]:
    tracking = FaceTracking(models=finder)
    encoder.contract.require_same(tracking.contract, ours=encoder.source, theirs="faces found now")
    for picture in pictures:
        faces = image_faces(picture, finder=tracking.finder)
        yield _stacked([face.crop_HWC for face in faces])


def _stacked(crops: list[Images]) -> Images:
    return np.stack(crops) if crops else np.zeros((0, 1, 1, 3), np.uint8)
