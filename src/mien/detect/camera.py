"""Frames of a camera, as they come, with the time since the first."""

from __future__ import annotations

import math
import time
from collections.abc import Generator

import cv2
import numpy as np
from numpy.typing import NDArray

from mien.video import Frame


class CameraError(OSError):
    """No camera of that number, or one that gives no picture."""


def camera_frames(index: int, *, seconds: float = math.inf) -> Generator[Frame]:
    """Frames until so many seconds have passed, or nobody asks any more; the camera is let go then.

    CameraError where there is no such camera, it is not ours to open, or it stops.
    """
    capture = _opened(index)
    try:
        began = time.monotonic()
        number = 0
        while True:
            read, image_bgr = capture.read()
            passed = time.monotonic() - began
            if not read:
                raise CameraError(f"camera {index} gives no picture any more ({number} frames came)")
            if passed > seconds:
                return
            yield _frame(image_bgr, number, passed)
            number += 1
    finally:
        capture.release()


def _opened(index: int) -> cv2.VideoCapture:
    capture = cv2.VideoCapture(index)
    if not capture.isOpened():
        raise CameraError(
            f"camera {index} cannot be opened. Is one connected, free and permitted to be used? "
            "Another one has another number: --camera 1"
        )
    return capture


def _frame(image_bgr: NDArray[np.uint8], number: int, passed: float) -> Frame:
    return Frame(passed, number, lambda: np.asarray(cv2.cvtColor(image_bgr, cv2.COLOR_BGR2RGB), np.uint8))
