"""Which way a head is turned, from two of its axes."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from mien.faces.finder import Points


@dataclass(frozen=True)
class Pose:
    """Angles of R = Rz(roll) Ry(yaw) Rx(pitch), so yaw and pitch are those of the head set upright."""

    yaw_degrees: float  # 0 is frontal; positive: turned to the right of the picture
    pitch_degrees: float  # 0 is level; positive: looking up
    roll_degrees: float  # 0 is upright; positive: tilted clockwise as seen


# A mean face's left eye, right eye, nose tip and mouth corners in distances between the eyes, z away from the
# camera, for points that come without depth.
_MEAN_POINTS_5X3 = np.array(
    [(-0.5, 0, 0), (0.5, 0, 0), (0, 0.54, -0.68), (-0.43, 1.07, -0.1), (0.43, 1.07, -0.1)]
)


def pose_from_axes(across_3: Points, down_3: Points) -> Pose:
    """The pose of a head whose axes are `across` (its left to its right as seen) and `down` (brow to chin).

    Axes are x to the right, y down, z away from the camera; `down` is made perpendicular to `across` first.
    """
    across = across_3 / math.hypot(*across_3)
    down = down_3 - across * (across @ down_3)
    down = down / math.hypot(*down)
    backwards_z = across[0] * down[1] - across[1] * down[0]  # third axis: across x down
    return Pose(
        yaw_degrees=math.degrees(math.atan2(across[2], math.hypot(across[0], across[1]))),
        pitch_degrees=math.degrees(math.atan2(-down[2], backwards_z)),
        roll_degrees=math.degrees(math.atan2(across[1], across[0])),
    )


def pose_from_points(points_5x2_px: Points) -> Pose:
    """The pose of a mean face that explains the five points best, seen from far away (an affine camera).

    A few degrees rough, as people's noses differ; NaN where the points do not tell.
    """
    model = _MEAN_POINTS_5X3 - _MEAN_POINTS_5X3.mean(axis=0)
    camera_3x2, *_ = np.linalg.lstsq(model, points_5x2_px - points_5x2_px.mean(axis=0), rcond=None)
    rows_3x2, scale_2, columns_2x2 = np.linalg.svd(camera_3x2, full_matrices=False)
    if not scale_2[-1] > 1e-6 * scale_2[0]:
        return Pose(math.nan, math.nan, math.nan)
    x, y = (rows_3x2 @ columns_2x2).T  # the two rows of the nearest rotation
    z = np.cross(x, y)
    return pose_from_axes(np.array([x[0], y[0], z[0]]), np.array([x[1], y[1], z[1]]))
