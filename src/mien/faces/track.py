"""From a video to tracked face crops, one decoded frame at a time."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mien.faces.finder import FaceFinder, Points

BETWEEN_GRID_TIMES = "between_grid_times"
NO_FACE = "no_face"
FACE_TOO_SMALL = "face_too_small"
LOW_SCORE = "low_score"
FACES_OVERLAP = "faces_overlap"


@dataclass(frozen=True)
class TrackSettings:
    """When a face is believed, and when two frames show the same one."""

    detect_every_frames: int = 10  # frames looked at between two looks at the whole picture


@dataclass(frozen=True, eq=False)
class TrackedFace:
    """One face in one frame. Numbers of tracks are never used twice in a video, nor for two people."""

    track_number: int
    box_xyxy_px: tuple[float, float, float, float]
    points_5x2_px: Points
    score: float
    yaw_degrees: float
    pitch_degrees: float
    roll_degrees: float
    sharpness: float  # variance of the Laplacian of the crop's grey values
    crop_HWC: NDArray[np.uint8]  # 256 x 256 x 3 RGB


@dataclass(frozen=True, eq=False)
class SlotFaces:
    """What became of one decoded frame: the faces found, or the reason why there are none."""

    source_frame_index: int
    seconds: float
    slots: tuple[int, ...]  # of the 25 fps grid; () for a frame between grid times
    faces: tuple[TrackedFace, ...]
    reason: str  # "" exactly where there are faces


def track_faces(path: Path, *, finder: FaceFinder, settings: TrackSettings) -> Iterator[SlotFaces]:
    """One SlotFaces for every decoded frame, in order; memory does not grow with the video."""
    raise NotImplementedError
