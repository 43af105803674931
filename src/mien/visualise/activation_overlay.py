"""A coarse map drawn over a face: warm where the head found evidence, the face itself elsewhere."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

STRENGTH = 0.6
"""Opacity of the warmest place."""


def overlay(
    picture_HWC: NDArray[np.uint8], heat_HW: NDArray[np.floating[Any]], *, side_px: int = 160
) -> NDArray[np.uint8]:
    """(side, side, 3) uint8 RGB: the map, 0 to 1, interpolated, each place where it looks.

    In a network of padded convolutions with stride S in all, place i of the map looks around pixel S i of the
    input, not around the middle of the i-th of equal parts: stretching the map over the picture, as is often
    done, would draw everything half a place too low and too far to the right.
    """
    face = cv2.resize(picture_HWC, (side_px, side_px), interpolation=cv2.INTER_AREA).astype(np.float32)
    heat = _placed(heat_HW, side_px).clip(0, 1)
    colour = cv2.applyColorMap((255 * heat).astype(np.uint8), cv2.COLORMAP_INFERNO)[..., ::-1]
    opacity = STRENGTH * heat[..., None] ** 2  # lukewarm places leave the face to be seen
    blended: NDArray[np.uint8] = (face * (1 - opacity) + colour * opacity).round().astype(np.uint8)
    return blended


def _placed(heat_HW: NDArray[np.floating[Any]], side_px: int) -> NDArray[np.float32]:
    """(side, side): place i of the map at pixel i side / H, linear between, constant beyond the last."""
    height, width = heat_HW.shape
    to_picture = np.array([[side_px / width, 0, 0], [0, side_px / height, 0]], np.float32)
    placed: NDArray[np.float32] = cv2.warpAffine(
        heat_HW.astype(np.float32),
        to_picture,
        (side_px, side_px),
        flags=cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_REPLICATE,
    )
    return placed
