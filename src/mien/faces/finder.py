"""What finds faces: a detector for the whole picture and a mesh for one face, behind one small interface."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

Points = NDArray[np.floating[Any]]
Box = tuple[float, float, float, float]  # left, top, right, bottom


@dataclass(frozen=True)
class Region:
    """A square of the picture that holds one face, turned with it."""

    centre_x_px: float
    centre_y_px: float
    side_px: float
    roll_degrees: float  # clockwise as seen; 0 for an upright face


@dataclass(frozen=True, eq=False)
class Detection:
    """A face in the whole picture."""

    box_xyxy_px: Box
    score: float  # 0 to 1
    region: Region  # where the mesh should look


@dataclass(frozen=True, eq=False)
class Mesh:
    """One face, measured. The five points stand in the order of the crop contract."""

    points_5x2_px: Points  # left eye, right eye, nose tip, left and right mouth corner, as seen
    points_468x3: NDArray[np.float32]  # all points: x, y and, on their scale, z away from the camera
    box_xyxy_px: Box
    score: float  # 0 to 1: whether there is a face at all
    yaw_degrees: float  # 0 is frontal; positive: turned to the right of the picture
    pitch_degrees: float  # 0 is level; positive: looking up
    roll_degrees: float  # 0 is upright; positive: tilted clockwise as seen
    region: Region  # where the face is to be looked for in the next frame


class FaceFinder(Protocol):
    """Finds faces in uint8 RGB pictures. Names and hashes of the weights go into the crop contract."""

    detector: str
    detector_sha256: str
    landmarker: str
    landmarker_sha256: str

    def detect(self, image_HWC: NDArray[np.uint8]) -> list[Detection]:
        """All faces, best first, none of them twice."""

    def detect_small(self, image_HWC: NDArray[np.uint8], *, min_face_px: float) -> list[Detection]:
        """Faces too small for `detect` in so large a picture, down to `min_face_px`, largest first.

        A face may occur more than once, and those that `detect` finds may be among them. [] where `detect`
        finds faces of that size.
        """

    def mesh(self, image_HWC: NDArray[np.uint8], region: Region) -> Mesh | None:
        """The face in `region`, whatever its score; None where it leaves the picture altogether."""
