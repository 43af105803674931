"""Similarity maps between pictures: fitted to points, inverted, and applied without aliasing."""

from __future__ import annotations

import math

import cv2
import numpy as np
from numpy.typing import NDArray

from mien.faces.boxes import bounding_box
from mien.faces.finder import Points, Region


def fit_similarity(source_Px2: Points, target_Px2: Points) -> Points:
    """The 2 x 3 map (turn, scale, shift) that takes source to target with the least sum of squares.

    Points as complex numbers z: target = a * source + t, a = <source, target> / |source|^2 once both are
    centred (Umeyama, PAMI 1991, for the plane and without reflection). ValueError where all source points
    coincide.
    """
    source, target = _complex(source_Px2), _complex(target_Px2)
    centred = source - source.mean()
    spread = float(np.vdot(centred, centred).real)
    if spread == 0:
        raise ValueError("a similarity needs points that do not all coincide")
    a = np.vdot(centred, target - target.mean()) / spread
    t = target.mean() - a * source.mean()
    return np.array([[a.real, -a.imag, t.real], [a.imag, a.real, t.imag]])


def invert_similarity(matrix_2x3: Points) -> Points:
    """The 2 x 3 map back."""
    a = complex(matrix_2x3[0, 0], matrix_2x3[1, 0])
    inverse = 1 / a
    t = -inverse * complex(matrix_2x3[0, 2], matrix_2x3[1, 2])
    return np.array([[inverse.real, -inverse.imag, t.real], [inverse.imag, inverse.real, t.imag]])


def map_points(matrix_2x3: Points, points_Px2: Points) -> Points:
    """The points under the map."""
    moved: Points = points_Px2 @ matrix_2x3[:, :2].T + matrix_2x3[:, 2]
    return moved


def upright_map(region: Region, size_px: int) -> Points:
    """The 2 x 3 map from the picture to a square of `size_px` that holds the region, set upright."""
    turn = np.deg2rad(-region.roll_degrees)
    a = complex(np.cos(turn), np.sin(turn)) * size_px / region.side_px
    middle = (size_px - 1) / 2
    t = complex(middle, middle) - a * complex(region.centre_x_px, region.centre_y_px)
    return np.array([[a.real, -a.imag, t.real], [a.imag, a.real, t.imag]])


def warp(
    image_HWC: NDArray[np.uint8], matrix_2x3: Points, size_px: int, *, border: int = cv2.BORDER_CONSTANT
) -> NDArray[np.uint8]:
    """The square of `size_px` that the similarity makes of the picture, averaging where it shrinks much."""
    # A bilinear tap skips pixels where the picture shrinks to less than a half: so first a whole number of
    # times by averages, which OpenCV does far faster than a broken one.
    times = int(1 / math.hypot(matrix_2x3[0, 0], matrix_2x3[1, 0]) + 1e-9)
    part_HWC, matrix = _part(image_HWC, matrix_2x3, size_px, margin_px=3 + times)
    if times > 1 and min(part_HWC.shape[:2]) >= times:
        part_HWC, matrix = _shrunk(part_HWC, matrix, times)
    part_HWC = cv2.cvtColor(
        part_HWC, cv2.COLOR_RGB2RGBA
    )  # OpenCV warps four colours in half the time of three
    warped = cv2.warpAffine(part_HWC, matrix, (size_px, size_px), flags=cv2.INTER_LINEAR, borderMode=border)
    square: NDArray[np.uint8] = cv2.cvtColor(warped, cv2.COLOR_RGBA2RGB)
    return square


def _part(
    image_HWC: NDArray[np.uint8], matrix_2x3: Points, size_px: int, *, margin_px: int
) -> tuple[NDArray[np.uint8], Points]:
    """The part of the picture that the map uses, with a margin, and the map from there."""
    height, width = image_HWC.shape[:2]
    corners = np.array([(0.0, 0.0), (size_px, 0.0), (0.0, size_px), (size_px, size_px)])
    left, top, right, bottom = bounding_box(map_points(invert_similarity(matrix_2x3), corners))
    x0, y0 = (min(max(int(low) - margin_px, 0), side - 1) for low, side in ((left, width), (top, height)))
    x1, y1 = (
        min(max(int(right) + margin_px, x0 + 1), width),
        min(max(int(bottom) + margin_px, y0 + 1), height),
    )
    return image_HWC[y0:y1, x0:x1], _from_part(matrix_2x3, np.ones(2), np.array([x0, y0]))


def _shrunk(image_HWC: NDArray[np.uint8], matrix_2x3: Points, times: int) -> tuple[NDArray[np.uint8], Points]:
    """The picture in averages of times x times pixels, and the map from there; the rest is cut off."""
    height, width = (side // times for side in image_HWC.shape[:2])
    whole = image_HWC[: height * times, : width * times]
    small = cv2.resize(whole, (width, height), interpolation=cv2.INTER_AREA)
    steps = np.array([times, times])  # input pixels a small pixel
    return small, _from_part(matrix_2x3, steps, (steps - 1) / 2)


def _from_part(matrix_2x3: Points, steps_2: Points, first_2: Points) -> Points:
    """The map of a picture whose first pixel lies at `first` and whose pixels are `steps` apart."""
    linear = matrix_2x3[:, :2]
    return np.column_stack([linear * steps_2, linear @ first_2 + matrix_2x3[:, 2]])


def _complex(points_Px2: Points) -> NDArray[np.complex128]:
    points = np.asarray(points_Px2, dtype=np.float64)
    return points[:, 0] + 1j * points[:, 1]
