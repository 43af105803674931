"""A small picture of each face of a file, cut out of the frame in which it is seen best."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from mien.video import VideoError, read_frames, read_image
from mien.visualise.detection_data import Face, FileDetections

Picture = NDArray[np.uint8]

PICTURE_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff", ".heic", ".heif")
_MARGIN = 0.25  # of the box's longer side, on each side
_MOST_FACES = 48  # of which pictures are taken: those seen longest


@dataclass(frozen=True, eq=False)
class FacePictures:
    """The size of the file's pictures, and a square picture a face by its id."""

    width_px: int
    height_px: int
    by_face: dict[int, Picture]


def is_picture(path: Path) -> bool:
    """Whether the name says that the file is a picture rather than a video."""
    return path.suffix.lower() in PICTURE_SUFFIXES


def face_pictures(media: Path, data: FileDetections, *, size_px: int = 96) -> FacePictures:
    """Reads the file once, as far as it must. OSError, VideoError or ImageError where it cannot."""
    wanted: dict[int, list[tuple[int, NDArray[np.float32]]]] = {}
    longest_first = sorted(data.faces, key=lambda face: -face.seconds_seen)
    for face in longest_first[:_MOST_FACES]:
        best = _best(face)
        frame = int(data.frame_F[face.place_N[best]])
        wanted.setdefault(frame, []).append((face.face_id, face.box_N4[best]))
    by_face: dict[int, Picture] = {}
    height = width = 0
    for picture, faces in _pictures(media, wanted):
        height, width = picture.shape[:2]
        by_face |= {face_id: square_around(picture, box, size_px=size_px) for face_id, box in faces}
    return FacePictures(width, height, by_face)


def square_around(picture_HWC: Picture, box_4: NDArray[np.float32], *, size_px: int) -> Picture:
    """The box and a margin as a square; what lies outside the picture repeats its edge."""
    left, top, right, bottom = (float(value) for value in box_4)
    half = max(2.0, max(right - left, bottom - top) * (0.5 + _MARGIN))
    scale = size_px / (2 * half)
    shift_x, shift_y = size_px / 2 - scale * (left + right) / 2, size_px / 2 - scale * (top + bottom) / 2
    matrix = np.array([[scale, 0, shift_x], [0, scale, shift_y]])
    interpolation = cv2.INTER_LINEAR if scale >= 1 else cv2.INTER_AREA
    cut = cv2.warpAffine(
        picture_HWC, matrix, (size_px, size_px), flags=interpolation, borderMode=cv2.BORDER_REPLICATE
    )
    return np.asarray(cut, dtype=np.uint8)


def _best(face: Face) -> int:
    """The row of the greatest confidence; of equal ones the largest box."""
    left, top, right, bottom = face.box_N4.T
    return int(np.lexsort(((right - left) * (bottom - top), face.confidence_N))[-1])


def _pictures(
    media: Path, wanted: dict[int, list[tuple[int, NDArray[np.float32]]]]
) -> Iterator[tuple[Picture, list[tuple[int, NDArray[np.float32]]]]]:
    """The frames that are wanted, or the first one; with the faces to cut out of each."""
    if is_picture(media):
        yield read_image(media), [face for faces in wanted.values() for face in faces]
        return
    last = max(wanted, default=0)
    try:
        for frame in read_frames(media):
            if not wanted or frame.source_frame_index in wanted:
                yield frame.image_HWC, wanted.get(frame.source_frame_index, [])
            if frame.source_frame_index >= last:
                return
    except VideoError:
        if not wanted:
            raise
