"""A coarse map drawn over a face: warm where the head found evidence, the face itself elsewhere."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

STRENGTH = 0.55
"""Opacity of the warmest place."""


def overlay(
    picture_HWC: NDArray[np.uint8], heat_HW: NDArray[np.floating[Any]], *, side_px: int = 160
) -> NDArray[np.uint8]:
    """(side, side, 3) uint8 RGB: the map, 0 to 1, interpolated to the picture's size."""
    face = cv2.resize(picture_HWC, (side_px, side_px), interpolation=cv2.INTER_AREA).astype(np.float32)
    heat = cv2.resize(heat_HW.astype(np.float32), (side_px, side_px), interpolation=cv2.INTER_LINEAR)
    heat = heat.clip(0, 1)
    colour = cv2.applyColorMap((255 * heat).astype(np.uint8), cv2.COLORMAP_INFERNO)[..., ::-1]
    opacity = STRENGTH * heat[..., None]
    blended: NDArray[np.uint8] = (face * (1 - opacity) + colour * opacity).round().astype(np.uint8)
    return blended
