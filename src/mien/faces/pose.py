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


def pose_from_axes(across_3: Points, down_3: Points) -> Pose:
    """The pose of a head whose axes are `across` (its left to its right as seen) and `down` (brow to chin).

    Axes are x to the right, y down, z away from the camera; `down` is made perpendicular to `across` first.
    """
    across = across_3 / np.linalg.norm(across_3)
    down = down_3 - across * (across @ down_3)
    down = down / np.linalg.norm(down)
    backwards_z = across[0] * down[1] - across[1] * down[0]  # third axis: across x down
    return Pose(
        yaw_degrees=math.degrees(math.atan2(across[2], math.hypot(across[0], across[1]))),
        pitch_degrees=math.degrees(math.atan2(-down[2], backwards_z)),
        roll_degrees=math.degrees(math.atan2(across[1], across[0])),
    )
