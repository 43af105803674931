"""What tracking gives: the faces of a frame, or why there are none; and the settings it goes by."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mien.faces.finder import Box, Points

BETWEEN_GRID_TIMES = "between_grid_times"  # the frame serves no slot of the 25 fps grid
NO_FACE = "no_face"
FACE_TOO_SMALL = "face_too_small"
FACE_CUT_OFF = "face_cut_off"  # by the edge of the picture
LOW_SCORE = "low_score"  # something was detected, the mesh saw no face in it
FACES_OVERLAP = "faces_overlap"  # two faces too close to separate
UNREADABLE = "unreadable"  # a frame that cannot be decoded, or a picture that cannot be read


@dataclass(frozen=True)
class TrackSettings:
    """When a face is believed, and when two frames show the same one.

    The limits of sameness hold for neighbouring frames; docs/prepare.md says how they were chosen. A track
    that breaks one of them ends, and the face goes on as a new track.
    """

    detect_every_frames: int = 25  # of 40 ms, looked at between two looks at the whole picture
    min_mesh_score: float = 0.5
    min_face_px: float = 48  # longer side of the face's box; the crop enlarges such a face 3.6 times
    min_share_inside: float = 0.7  # of the face's box within the picture
    max_overlap: float = 0.3  # of two faces' boxes, as a share of the smaller
    max_gap_seconds: float = 0.2  # between frames looked at; more where frames are usually further apart
    min_scene_similarity: float = 0.55  # of the whole picture, -1 to 1
    still_scene_similarity: float = 0.9  # from here on the scene can hardly have been cut
    min_face_similarity: float = 0.55  # of the aligned face's lines, -1 to 1
    min_face_similarity_in_still_scene: float = 0.4
    max_shift: float = 0.2  # of the face's centre in 40 ms, as a share of the region's side
    max_size_ratio: float = 1.15  # of the region's side in 40 ms

    def __post_init__(self) -> None:
        if self.detect_every_frames < 1:
            raise ValueError("detect_every_frames: at least 1")


@dataclass(frozen=True, eq=False)
class TrackedFace:
    """One face in one frame. A track's number is never used twice in a video, nor for two people."""

    track_number: int
    box_xyxy_px: Box
    points_5x2_px: Points  # left eye, right eye, nose tip, left and right mouth corner, as seen
    score: float  # 0 to 1
    yaw_degrees: float  # 0 is frontal; positive: turned to the right of the picture
    pitch_degrees: float  # 0 is level; positive: looking up
    roll_degrees: float  # 0 is upright; positive: tilted clockwise as seen
    sharpness: float  # variance of the Laplacian of the crop's grey values
    crop_HWC: NDArray[np.uint8]  # 256 x 256 x 3 RGB
    mesh_468x3: NDArray[np.float32]  # x and y in px of the picture; z on their scale, away from the camera
    brightness: float = math.nan  # mean grey value of the crop's middle, 0 to 255
    share_inside: float = 1.0  # of the face's box within the picture
    joined_seconds: float = math.nan  # since a lost face was given its old number; NaN: never lost


@dataclass(frozen=True, eq=False)
class FrameFaces:
    """What became of one decoded frame: the faces found, or the reason why there are none."""

    source_frame_index: int
    seconds: float  # the file's own time; strictly increasing
    faces: tuple[TrackedFace, ...]
    reason: str  # "" exactly where there are faces
    scene_number: int = 0  # another one behind every cut and every hole in time
    refused: tuple[str, ...] = ()  # where there are faces: why others that were found are none of them
    slots: tuple[int, ...] = ()  # of the 25 fps grid; none between grid times, and where no grid is asked for

    def __post_init__(self) -> None:
        assert bool(self.faces) != bool(self.reason)
