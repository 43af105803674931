"""Face Mesh: 468 points of one face in 3 D (Kartynnik et al., arXiv:1907.06724, and its model card).

The model sees the face upright in 192 x 192 pixels and answers x, y and depth in input pixels (depth grows
away from the camera, its zero is the head's centre), and a logit of whether there is a face.
"""

from __future__ import annotations

import math
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from mien.faces.boxes import bounding_box
from mien.faces.finder import Mesh, Points, Region
from mien.faces.litert import LiteRtModel
from mien.faces.warp import invert_similarity, map_points, upright_map, warp

INPUT_PX = 192
REGION_PER_FACE = 1.5

# Rows of the mesh; left and right as seen in the picture of an upright, unmirrored face.
LEFT_EYE_CORNERS = (33, 133)  # the corners: blinking does not move them
RIGHT_EYE_CORNERS = (362, 263)
NOSE_TIP = (4, 1)
LEFT_MOUTH_CORNER = (61,)
RIGHT_MOUTH_CORNER = (291,)
_LEFT_SIDE = (33, 234, 127, 132, 93)  # eye corner and outline, with the rows opposite
_RIGHT_SIDE = (263, 454, 356, 361, 323)
_FOREHEAD = (10, 109, 338)
_CHIN = (152, 148, 377)


def _means_9x468() -> Points:
    """Rows that average the mesh to the five points, then to both sides, forehead and chin."""
    groups = (LEFT_EYE_CORNERS, RIGHT_EYE_CORNERS, NOSE_TIP, LEFT_MOUTH_CORNER, RIGHT_MOUTH_CORNER)
    weights = np.zeros((9, 468))
    for row, members in enumerate((*groups, _LEFT_SIDE, _RIGHT_SIDE, _FOREHEAD, _CHIN)):
        weights[row, list(members)] = 1 / len(members)
    return weights


_MEANS_9X468 = _means_9x468()


def five_points(points_468x3: Points) -> Points:
    """Left eye, right eye, nose tip, left and right mouth corner of a mesh, x and y."""
    points_5x2: Points = _MEANS_9X468[:5] @ points_468x3[:, :2]
    return points_5x2


def pose_from_axes(across_3: Points, down_3: Points) -> tuple[float, float, float]:
    """Yaw, pitch and roll in degrees of a head with axes `across` (its left to its right as seen) and `down`.

    Axes are x to the right, y down, z away from the camera; `down`, brow to chin, is made perpendicular to
    `across` first. The angles are those of R = Rz(roll) Ry(yaw) Rx(pitch), so yaw and pitch are those of the
    head set upright. Positive: turned to the right of the picture, looking up, tilted clockwise as seen.
    """
    across = across_3 / math.hypot(*across_3)
    down = down_3 - across * (across @ down_3)
    down = down / math.hypot(*down)
    backwards_z = across[0] * down[1] - across[1] * down[0]  # third axis: across x down
    return (
        math.degrees(math.atan2(across[2], math.hypot(across[0], across[1]))),
        math.degrees(math.atan2(-down[2], backwards_z)),
        math.degrees(math.atan2(across[1], across[0])),
    )


class FaceMesh:
    """The landmark model, with its weights loaded; one thread."""

    def __init__(self, weights: Path) -> None:
        self._model = LiteRtModel(weights)

    def measure(self, image_HWC: NDArray[np.uint8], region: Region) -> Mesh | None:
        """The face in `region`, whatever its score; None where the region leaves the picture."""
        if not _meets(region, image_HWC):
            return None
        to_input = upright_map(region, INPUT_PX)
        face_HWC = warp(image_HWC, to_input, INPUT_PX, border=cv2.BORDER_REPLICATE)
        raw, logit = self._model.run(face_HWC, low=0, high=1)
        points_468x3 = raw.reshape(468, 3).astype(np.float64) - (0.5, 0.5, 0)  # edges to pixel centres
        return _mesh(points_468x3, float(logit.item()), invert_similarity(to_input), region)


def _mesh(points_468x3: Points, logit: float, to_picture: Points, region: Region) -> Mesh:
    means_9x3 = _MEANS_9X468 @ points_468x3
    left, right, forehead, chin = means_9x3[5:]
    yaw_degrees, pitch_degrees, roll_degrees = pose_from_axes(right - left, chin - forehead)
    flat_468x2 = map_points(to_picture, points_468x3[:, :2])
    in_picture_468x3 = np.empty((468, 3), np.float32)
    in_picture_468x3[:, :2] = flat_468x2
    in_picture_468x3[:, 2] = points_468x3[:, 2] * _scale(to_picture)
    return Mesh(
        points_5x2_px=map_points(to_picture, means_9x3[:5, :2]),
        points_468x3=in_picture_468x3,
        box_xyxy_px=bounding_box(flat_468x2),
        score=1 / (1 + math.exp(-max(-80.0, logit))),
        yaw_degrees=yaw_degrees,
        pitch_degrees=pitch_degrees,
        roll_degrees=_within_half_turn(roll_degrees + region.roll_degrees),
        region=_region_of(points_468x3[:, :2], to_picture, region),
    )


def _region_of(points_468x2: Points, to_picture: Points, region: Region) -> Region:
    """The square around the mesh, turned to its eyes."""
    low, high = points_468x2.min(axis=0), points_468x2.max(axis=0)
    centre_x, centre_y = map_points(to_picture, (low + high)[None] / 2)[0]
    along = points_468x2[RIGHT_EYE_CORNERS[1]] - points_468x2[LEFT_EYE_CORNERS[0]]
    turn = math.degrees(math.atan2(along[1], along[0]))
    return Region(
        centre_x_px=float(centre_x),
        centre_y_px=float(centre_y),
        side_px=float(max(high - low)) * _scale(to_picture) * REGION_PER_FACE,
        roll_degrees=_within_half_turn(region.roll_degrees + turn),
    )


def _scale(to_picture: Points) -> float:
    """Pixels of the picture per pixel of the input."""
    return math.hypot(to_picture[0, 0], to_picture[1, 0])


def _meets(region: Region, image_HWC: NDArray[np.uint8]) -> bool:
    height, width = image_HWC.shape[:2]
    inside = 0 <= region.centre_x_px < width and 0 <= region.centre_y_px < height
    return inside and region.side_px >= 1


def _within_half_turn(degrees: float) -> float:
    return (degrees + 180) % 360 - 180
