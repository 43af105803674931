"""BlazeFace, full range: a picture in, faces out (Bazarevsky et al., arXiv:1907.05047, and its model card).

The model sees 192 x 192 pixels and answers at the 48 x 48 points of a grid, each with a logit and 16 numbers
in input pixels: the face's centre from the grid point, its width and height, and six points from the grid
point (two eyes, nose tip, mouth, two ears).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from mien.faces.boxes import iou_with_many
from mien.faces.finder import Detection, Points, Region
from mien.faces.litert import LiteRtModel

INPUT_PX = 192
REGION_PER_BOX = 1.5  # the mesh wants this much of the face's surroundings

_GRID_STEP_PX = 4
_SHARE_WITH_ROOM = 2 / 3
_PLACES = [0, 2, 3, 4, 5, 6, 7]  # of the 8 pairs, all but width and height
_SAME_FACE_IOU = 0.3
_LEAST_PX = 14  # of the input: of 72 faces 71 were found at 14 px, 62 at 12, 50 at 10
_TILE_OVERLAP = 0.15  # of a tile's side: more than a face of the least size
_TILE_RATIO = 3.0  # between the sides of small and larger tiles


class BlazeFace:
    """The detector, with its weights loaded; one thread."""

    def __init__(self, weights: Path, *, min_score: float) -> None:
        self._model = LiteRtModel(weights)
        self._min_logit = math.log(min_score / (1 - min_score))
        self._grid_2304x2 = _grid()

    def detect(self, image_HWC: NDArray[np.uint8]) -> list[Detection]:
        """All faces of a uint8 RGB picture, best first.

        Where there is none the picture is looked at once more, smaller and with black around it: a face that
        fills the whole picture is too large for this model.
        """
        return self._detect(image_HWC, 1.0) or self._detect(image_HWC, _SHARE_WITH_ROOM)

    def detect_small(self, image_HWC: NDArray[np.uint8], *, min_face_px: float) -> list[Detection]:
        """Faces that are too small in the whole picture, the largest first; one may be there several times.

        Searches overlapping square tiles of a side that brings `min_face_px` to `_LEAST_PX` of the input, and
        larger ones. [] where the picture is hardly larger than the smallest tile.
        """
        height_px, width_px = image_HWC.shape[:2]
        found = []
        for left, top, side in _tiles(width_px, height_px, min_side_px=min_face_px * INPUT_PX / _LEAST_PX):
            tile_HWC = image_HWC[top : top + side, left : left + side]
            found += [_shifted(detection, left, top) for detection in self._detect(tile_HWC, 1.0)]
        return sorted(found, key=lambda detection: -detection.region.side_px)

    def _detect(self, image_HWC: NDArray[np.uint8], share: float) -> list[Detection]:
        scale, first_2, input_HWC = _letterbox(image_HWC, share)
        raw_2304x16, logit_2304x1 = self._model.run(input_HWC, low=-1, high=1)
        found = np.flatnonzero(logit_2304x1[:, 0] > self._min_logit)
        values_Nx8x2 = raw_2304x16[found].reshape(-1, 8, 2).astype(np.float64)
        values_Nx8x2[:, _PLACES] += self._grid_2304x2[found][:, None] - first_2
        scores_N = 1 / (1 + np.exp(-logit_2304x1[found, 0].astype(np.float64)))
        return [
            _detection(values_8x2 / scale, score) for values_8x2, score in _merged(values_Nx8x2, scores_N)
        ]


def _grid() -> Points:
    """(2304, 2) x and y of the grid points in input pixels, row by row."""
    centres = (np.arange(INPUT_PX // _GRID_STEP_PX) + 0.5) * _GRID_STEP_PX
    x, y = np.meshgrid(centres, centres)
    return np.stack([x.ravel(), y.ravel()], axis=1)


def _tiles(width_px: int, height_px: int, *, min_side_px: float) -> Iterator[tuple[int, int, int]]:
    """Left, top and side of squares that cover the picture, for each size well below the picture's."""
    side_px = min_side_px
    while 1.25 * side_px < max(width_px, height_px):
        for top in _tile_starts(height_px, side_px):
            for left in _tile_starts(width_px, side_px):
                yield left, top, round(side_px)
        side_px *= _TILE_RATIO


def _tile_starts(length_px: int, side_px: float) -> list[int]:
    """Evenly spaced, each tile overlapping the next by at least `_TILE_OVERLAP`."""
    overlap_px = _TILE_OVERLAP * side_px
    count = max(1, math.ceil((length_px - overlap_px) / (side_px - overlap_px)))
    return [round(start) for start in np.linspace(0, max(0.0, length_px - side_px), count)]


def _shifted(detection: Detection, left_px: int, top_px: int) -> Detection:
    x0, y0, x1, y1 = detection.box_xyxy_px
    region = detection.region
    return Detection(
        (x0 + left_px, y0 + top_px, x1 + left_px, y1 + top_px),
        detection.score,
        replace(region, centre_x_px=region.centre_x_px + left_px, centre_y_px=region.centre_y_px + top_px),
    )


def _letterbox(image_HWC: NDArray[np.uint8], share: float) -> tuple[float, Points, NDArray[np.uint8]]:
    """The picture in the middle of a black input, its longer side a share of it; the scale and the corner."""
    height, width = image_HWC.shape[:2]
    scale = share * INPUT_PX / max(height, width)
    small_width, small_height = max(1, round(width * scale)), max(1, round(height * scale))
    left, top = (INPUT_PX - small_width) // 2, (INPUT_PX - small_height) // 2
    interpolation = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    small = cv2.resize(image_HWC, (small_width, small_height), interpolation=interpolation)
    input_HWC = np.zeros((INPUT_PX, INPUT_PX, 3), np.uint8)
    input_HWC[top : top + small_height, left : left + small_width] = small
    return scale, np.array([left, top]), input_HWC


def _merged(values_Nx8x2: Points, scores_N: Points) -> list[tuple[Points, float]]:
    """Faces: the answers that overlap the best one are averaged by score, then the same with the rest."""
    faces = []
    boxes_Nx4 = _boxes(values_Nx8x2)
    left = np.argsort(-scores_N, kind="stable")
    while len(left):
        same = iou_with_many(boxes_Nx4[left[0]], boxes_Nx4[left]) > _SAME_FACE_IOU
        same[0] = True
        group = left[same]
        faces.append((np.average(values_Nx8x2[group], axis=0, weights=scores_N[group]), scores_N[left[0]]))
        left = left[~same]
    return faces


def _boxes(values_Nx8x2: Points) -> Points:
    half = values_Nx8x2[:, 1] / 2
    return np.concatenate([values_Nx8x2[:, 0] - half, values_Nx8x2[:, 0] + half], axis=1)


def _detection(values_8x2: Points, score: float) -> Detection:
    box_4 = _boxes(values_8x2[None])[0]
    (centre_x, centre_y), sides, left_eye, right_eye = values_8x2[:4]
    along = right_eye - left_eye
    region = Region(
        centre_x_px=float(centre_x),
        centre_y_px=float(centre_y),
        side_px=float(max(sides)) * REGION_PER_BOX,
        roll_degrees=math.degrees(math.atan2(along[1], along[0])),
    )
    left, top, right, bottom = box_4.tolist()
    return Detection((left, top, right, bottom), float(score), region)
