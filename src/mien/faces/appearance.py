"""Whether two pictures that follow each other show the same scene, and two crops the same face.

Thresholds were chosen on 5 507 pairs of neighbouring frames of 47 real clips against 5 861 pairs put together
from different clips; docs/prepare.md has the figures.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

Pattern = NDArray[np.float32]

_THUMBNAIL_SIZE = (32, 18)  # width, height
_THUMBNAIL_STEP_PX = 4
_FACE_PX = 64


def scene_pattern(image_HWC: NDArray[np.uint8]) -> Pattern:
    """The picture's green values on a coarse grid, without their mean and scale: light may flicker."""
    step = _THUMBNAIL_STEP_PX if min(image_HWC.shape[:2]) >= 16 * _THUMBNAIL_STEP_PX else 1
    green = np.ascontiguousarray(image_HWC[::step, ::step, 1])
    return _standardised(cv2.resize(green, _THUMBNAIL_SIZE, interpolation=cv2.INTER_AREA))


def face_pattern(grey_crop_HW: NDArray[np.uint8]) -> Pattern:
    """The lines of an aligned face at 64 px: what is finer than its shading and coarser than its noise."""
    small = cv2.resize(grey_crop_HW, (_FACE_PX, _FACE_PX), interpolation=cv2.INTER_AREA).astype(np.float32)
    return _standardised(cv2.GaussianBlur(small, (0, 0), 1) - cv2.GaussianBlur(small, (0, 0), 4))


def similarity(first: Pattern, second: Pattern) -> float:
    """The patterns' correlation, -1 to 1; 0 where one of them is flat."""
    return float(np.vdot(first, second))


def _standardised(values: NDArray[np.number]) -> Pattern:
    centred = values.astype(np.float32) - np.float32(cv2.mean(values)[0])
    norm = cv2.norm(centred)
    return centred * np.float32(1 / norm if norm > 1e-3 else 0)
