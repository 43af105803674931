"""From a video to tracked face crops, one decoded frame at a time; from a picture to its faces."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mien.faces.finder import FaceFinder
from mien.faces.follow import FaceFollower
from mien.faces.landmarks_beside import FaceLandmarksBeside, LandmarksFile
from mien.faces.tracked import BETWEEN_GRID_TIMES, SlotFaces, TrackedFace, TrackSettings
from mien.video import Frame, on_grid, read_frames

__all__ = ["SlotFaces", "TrackSettings", "TrackedFace", "faces_in_picture", "track_faces"]


def track_faces(
    path: Path, *, finder: FaceFinder | FaceLandmarksBeside, settings: TrackSettings
) -> Iterator[SlotFaces]:
    """One SlotFaces for every decoded frame, in order; memory does not grow with the video.

    Frames between the times of the 25 fps grid are neither converted nor looked at. OSError, VideoError and
    LandmarksError as from the readers; VideoError for a damaged file comes after its last good frame.
    """
    faces_of: LandmarksFile | FaceFollower
    if isinstance(finder, FaceLandmarksBeside):
        faces_of = LandmarksFile(path)
    else:
        faces_of = FaceFollower(finder, settings)
    for slots, frame in on_grid(read_frames(path)):
        faces, reason = faces_of.look(frame) if slots else ((), BETWEEN_GRID_TIMES)
        yield SlotFaces(frame.source_frame_index, frame.seconds, slots, faces, reason)


def faces_in_picture(
    image_HWC: NDArray[np.uint8], *, finder: FaceFinder, settings: TrackSettings
) -> tuple[TrackedFace, ...]:
    """The faces of one uint8 RGB picture, largest first, cropped as in a video."""
    faces, _ = FaceFollower(finder, settings).look(Frame(0.0, 0, lambda: image_HWC))
    return faces
