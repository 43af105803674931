"""Where the detector's frames come from: videos up to their damage, pictures, a program."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mien.data.face_tracking import FaceTracking
from mien.decoding import Clock
from mien.detect.persons import PersonLinker
from mien.faces.landmarks_beside import LandmarksError
from mien.faces.tracked import UNREADABLE, FrameFaces
from mien.video import SLOTS_PER_SECOND, Frame, ImageError, VideoError


def until_damage(frames: Iterator[FrameFaces], problems: list[str]) -> Iterator[FrameFaces]:
    """The frames; what ends them early is appended to `problems` instead of raised."""
    try:
        yield from frames
    except (VideoError, LandmarksError, OSError) as error:
        problems.append(str(error))


def persons_of(frames: Iterator[FrameFaces], *, patience_seconds: float = 0.2) -> Iterator[FrameFaces]:
    """The frames with persons' numbers in place of tracks'."""
    return PersonLinker(patience_seconds=patience_seconds).link(frames)


def picture_as_frame(path: Path, tracking: FaceTracking, problems: list[str]) -> FrameFaces:
    """A picture as a frame; one that cannot be read has no face, and says so."""
    try:
        faces, reason = tracking.picture(path)
    except (ImageError, LandmarksError, OSError) as error:
        problems.append(str(error))
        return FrameFaces(0, 0.0, (), UNREADABLE)
    return FrameFaces(0, 0.0, faces, reason)


def largest_only(frame: FrameFaces) -> FrameFaces:
    """The frame with the largest of its faces alone."""
    if len(frame.faces) < 2:
        return frame
    largest = max(frame.faces, key=lambda face: _area(face.box_xyxy_px))
    return replace(frame, faces=(largest,))


def timed_frames(
    frames: Iterable[NDArray[np.uint8] | tuple[float, NDArray[np.uint8]] | Frame],
) -> Iterator[Frame]:
    """Frames of a program; ValueError where a picture is not (H, W, 3) uint8.

    Times that fall back count on, as those of a file do.
    """
    clock = Clock(1 / SLOTS_PER_SECOND)
    for number, given in enumerate(frames):
        if isinstance(given, Frame):
            yield replace(given, seconds=clock.seconds(given.seconds))
            continue
        seconds, image_HWC = given if isinstance(given, tuple) else (number / SLOTS_PER_SECOND, given)
        image_HWC = np.asarray(image_HWC)
        if image_HWC.dtype != np.uint8 or image_HWC.ndim != 3 or image_HWC.shape[2] != 3:
            raise ValueError(
                f"frame {number}: expected a (height, width, 3) uint8 RGB picture, got "
                f"{image_HWC.dtype} {image_HWC.shape}"
            )
        yield _frame(clock.seconds(float(seconds)), number, np.ascontiguousarray(image_HWC))


def _frame(seconds: float, number: int, image_HWC: NDArray[np.uint8]) -> Frame:
    return Frame(seconds, number, lambda: image_HWC)


def _area(box: tuple[float, float, float, float]) -> float:
    return (box[2] - box[0]) * (box[3] - box[1])
