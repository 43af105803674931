"""From a video to tracked face crops, one decoded frame at a time; from a picture to its faces."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mien.faces.finder import FaceFinder
from mien.faces.follow import ANY_RATE, ON_GRID, FaceFollower, Pace
from mien.faces.landmarks_beside import FaceLandmarksBeside, LandmarksFile
from mien.faces.tracked import (
    BETWEEN_GRID_TIMES,
    UNREADABLE,
    FrameFaces,
    SlotFaces,
    TrackedFace,
    TrackSettings,
)
from mien.video import Frame, LostFrame, on_grid, read_all_frames

__all__ = [
    "FrameFaces",
    "SlotFaces",
    "TrackSettings",
    "TrackedFace",
    "faces_in_picture",
    "track_every_frame",
    "track_faces",
    "track_frames",
]


def track_faces(
    path: Path, *, finder: FaceFinder | FaceLandmarksBeside, settings: TrackSettings
) -> Iterator[SlotFaces]:
    """One SlotFaces for every frame, in order; memory does not grow with the video.

    A frame that cannot be decoded is `unreadable`. Frames between the times of the 25 fps grid are neither
    converted nor looked at. OSError, VideoError and LandmarksError as from the readers; VideoError for a
    damaged file comes after its last frame.
    """
    faces_of = _faces_of(path, finder, settings, ON_GRID)
    for slots, frame in on_grid(read_all_frames(path)):
        looks = slots or isinstance(frame, LostFrame)
        faces, reason = _look(faces_of, frame) if looks else ((), BETWEEN_GRID_TIMES)
        refused = faces_of.refused if faces else ()
        yield SlotFaces(frame.source_frame_index, frame.seconds, slots, faces, reason, refused)


def track_every_frame(
    path: Path, *, finder: FaceFinder | FaceLandmarksBeside, settings: TrackSettings
) -> Iterator[FrameFaces]:
    """One FrameFaces for every frame, in order, each of them looked at; errors as `track_faces`."""
    faces_of = _faces_of(path, finder, settings, ANY_RATE)
    for frame in read_all_frames(path):
        yield _looked_at(frame, faces_of)


def track_frames(
    frames: Iterable[Frame], *, finder: FaceFinder, settings: TrackSettings
) -> Iterator[FrameFaces]:
    """The same for frames that come from elsewhere: a camera, or a program."""
    follower = FaceFollower(finder, settings, pace=ANY_RATE)
    for frame in frames:
        yield _looked_at(frame, follower)


def faces_in_picture(
    image_HWC: NDArray[np.uint8], *, finder: FaceFinder, settings: TrackSettings
) -> tuple[tuple[TrackedFace, ...], str]:
    """The faces of one uint8 RGB picture, cropped as in a video, and the reason where there are none."""
    return FaceFollower(finder, settings).look(Frame(0.0, 0, lambda: image_HWC))


def _faces_of(
    path: Path, finder: FaceFinder | FaceLandmarksBeside, settings: TrackSettings, pace: Pace
) -> LandmarksFile | FaceFollower:
    if isinstance(finder, FaceLandmarksBeside):
        return LandmarksFile(path)
    return FaceFollower(finder, settings, pace=pace)


def _looked_at(frame: Frame | LostFrame, faces_of: LandmarksFile | FaceFollower) -> FrameFaces:
    faces, reason = _look(faces_of, frame)
    refused = faces_of.refused if faces else ()
    return FrameFaces(frame.source_frame_index, frame.seconds, faces, reason, faces_of.scene_number, refused)


def _look(
    faces_of: LandmarksFile | FaceFollower, frame: Frame | LostFrame
) -> tuple[tuple[TrackedFace, ...], str]:
    return ((), UNREADABLE) if isinstance(frame, LostFrame) else faces_of.look(frame)
