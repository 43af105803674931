"""The moving features of a drawn face - brows, eyes, mouth, nostrils - painted onto its skin as polygons."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from mien.render.drawn_person import DRAWN_ACTION_UNITS, Colour, DrawnPerson

Pixels = NDArray[np.uint8]
Floats = NDArray[np.floating[Any]]

_SHIFT = 4  # cv2 takes sixteenths of a pixel
_ACROSS_N = np.linspace(-1, 1, 15)


def paint_features(canvas_SSC: Pixels, person: DrawnPerson, intensity_A: Floats, gaze_2: Floats) -> None:
    """Paint brows, eyes, nostrils and mouth, as these intensities (0-1, gains applied) shape them."""
    for side in (-1, 1):
        action = _Actions(intensity_A * (1 + side * person.left_right_balance))
        _paint_brow(canvas_SSC, person, action, side)
        _paint_eye(canvas_SSC, person, action, side, gaze_2)
    action = _Actions(intensity_A)
    _paint_nostrils(canvas_SSC, person, action)
    _paint_mouth(canvas_SSC, person, action)


class _Actions:
    """Intensities by action unit number: `action[12]`."""

    def __init__(self, intensity_A: Floats) -> None:
        self._intensity: dict[int, float] = dict(zip(DRAWN_ACTION_UNITS, intensity_A.tolist(), strict=True))

    def __getitem__(self, number: int) -> float:
        return self._intensity[number]


def _paint_brow(canvas_SSC: Pixels, person: DrawnPerson, action: _Actions, side: int) -> None:
    along_N = (_ACROSS_N + 1) / 2  # 0 inner end, 1 outer end
    inner_N, outer_N = np.clip(1 - along_N * 1.5, 0, 1), np.clip(along_N * 1.6 - 0.6, 0, 1)
    x_N = person.eye_x - 0.125 + 0.27 * along_N - 0.03 * action[4] * (1 - along_N)
    y_N = (
        person.eye_y
        - person.brow_gap
        - 0.03 * np.sin(along_N * np.pi * 0.8)
        + person.brow_slope * (along_N - 0.5)
    )
    y_N = y_N - 0.075 * action[1] * inner_N - 0.07 * action[2] * outer_N
    y_N = y_N + action[4] * (0.045 + 0.02 * inner_N) + 0.025 * action[9] * inner_N
    thick_N = person.brow_thickness * np.sqrt(np.sin(np.clip(along_N * 0.8 + 0.18, 0, 1) * np.pi))
    _fill(canvas_SSC, side * x_N, y_N - thick_N, y_N + thick_N, _darker(person.hair, 0.8))


def _paint_eye(canvas_SSC: Pixels, person: DrawnPerson, action: _Actions, side: int, gaze_2: Floats) -> None:
    x_N = person.eye_x + person.eye_half_width * _ACROSS_N
    arch_N = 1 - np.abs(_ACROSS_N) ** 2.2
    axis_N = person.eye_y - person.eye_tilt * _ACROSS_N
    lower = 0.55 * person.eye_opening * (1 - 0.55 * action[7] - 0.45 * action[6]) - 0.012 * action[9]
    upper = person.eye_opening * (1 + 0.75 * action[5] - 0.35 * action[7] - 0.1 * action[4])
    upper = upper * (1 - action[43]) - lower * 0.9 * action[43]
    top_N, bottom_N = axis_N - upper * arch_N, axis_N + lower * arch_N
    _blend_eyeball(canvas_SSC, person, side, (x_N, top_N, bottom_N), gaze_2)
    _line(canvas_SSC, side * x_N, bottom_N, _darker(person.skin, 0.62), 0.008)
    _line(canvas_SSC, side * x_N, top_N, _darker(person.hair, 0.45), 0.022)
    crease_N = np.minimum(axis_N - person.eye_opening * 1.25 * arch_N, top_N - 0.02) - 0.012
    _line(canvas_SSC, side * x_N, crease_N, _darker(person.skin, 0.72), 0.01)


def _blend_eyeball(
    canvas_SSC: Pixels, person: DrawnPerson, side: int, lids: tuple[Floats, Floats, Floats], gaze_2: Floats
) -> None:
    x_N, top_N, bottom_N = lids
    if float((bottom_N - top_N).max()) < 0.006:
        return
    side_px = canvas_SSC.shape[0]
    rows, columns = _window(side_px, side * person.eye_x, person.eye_y, person.eye_half_width * 1.1, 0.13)
    ball = np.full_like(canvas_SSC[rows, columns], 0)
    ball[:] = (222, 216, 210)
    origin = np.array([columns.start, rows.start])
    centre_2 = np.array([side * person.eye_x + 0.035 * gaze_2[0], person.eye_y - 0.006 + 0.015 * gaze_2[1]])
    iris_radius = 0.049
    for radius, colour in ((iris_radius, _darker(person.iris, 0.55)), (iris_radius * 0.86, person.iris)):
        _disc(ball, centre_2, radius, colour, side_px=side_px, origin=origin)
    _disc(ball, centre_2, iris_radius * 0.42, (12, 10, 10), side_px=side_px, origin=origin)
    _disc(ball, centre_2 - (0.014, 0.018), 0.009, (250, 250, 250), side_px=side_px, origin=origin)
    mask = np.zeros(ball.shape[:2], np.uint8)
    _polygon(mask, side * x_N, top_N, bottom_N, 255, side_px=side_px, origin=origin)
    share = (mask.astype(np.float32) / 255)[..., None]
    patch = canvas_SSC[rows, columns]
    canvas_SSC[rows, columns] = (patch + (ball.astype(np.float32) - patch) * share).astype(np.uint8)


def _paint_nostrils(canvas_SSC: Pixels, person: DrawnPerson, action: _Actions) -> None:
    y = person.nose_tip_y + 0.03 - 0.022 * action[9]
    spread = 1 + 0.15 * action[9] + 0.06 * action[12]
    dark = _darker(person.skin, 0.32)
    for side in (-1, 1):
        x = side * person.nose_half_width * 0.45 * spread
        x_N = x + 0.026 * _ACROSS_N
        arch_N = 0.011 * (1 - _ACROSS_N**2)
        _fill(canvas_SSC, x_N, y - arch_N, y + arch_N * 0.7, dark)
        wing_x = side * person.nose_half_width * spread
        _line(
            canvas_SSC,
            wing_x + side * 0.012 * (1 - _ACROSS_N**2),
            y - 0.022 + 0.035 * _ACROSS_N,
            _darker(person.skin, 0.66),
            0.011,
        )


def _paint_mouth(canvas_SSC: Pixels, person: DrawnPerson, action: _Actions) -> None:
    half_width = person.mouth_half_width + 0.055 * action[12] - 0.015 * action[26] + 0.012 * action[15]
    lift = person.corner_rest + 0.065 * action[12] - 0.06 * action[15]
    gap = 0.045 * action[25] + 0.12 * action[26] * (0.5 + 0.5 * action[25])
    x_N, bow_N = half_width * _ACROSS_N, 1 - _ACROSS_N**2
    corner_N = -lift * np.abs(_ACROSS_N) ** 1.8
    middle_N = person.mouth_y + corner_N - 0.015 * action[9] * bow_N
    cupid_N = 0.007 * np.exp(-((_ACROSS_N / 0.16) ** 2))
    thin = 1 - 0.25 * action[12]
    upper_top_N = middle_N - person.lip_fullness * thin * bow_N**0.8 + cupid_N - 0.12 * gap * bow_N
    upper_low_N = middle_N - 0.15 * gap * bow_N + 0.006 * bow_N
    lower_top_N = middle_N + 0.85 * gap * bow_N + 0.006 * bow_N
    lower_low_N = lower_top_N + 1.2 * person.lip_fullness * thin * bow_N**0.7
    _fill(canvas_SSC, x_N, upper_top_N, upper_low_N, _darker(person.lip, 0.86))
    _fill(canvas_SSC, x_N, lower_top_N, lower_low_N, person.lip)
    _fill(canvas_SSC, x_N * 0.55, lower_low_N - 0.02, lower_low_N - 0.012, _darker(person.lip, 1.12))
    if gap > 0.004:
        _fill(canvas_SSC, x_N, upper_low_N, lower_top_N, (58, 22, 24))
        _fill(
            canvas_SSC, x_N * 0.78, upper_low_N, np.minimum(upper_low_N + 0.035, lower_top_N), (224, 216, 204)
        )
    _line(
        canvas_SSC, x_N, (upper_low_N + lower_top_N) / 2 if gap <= 0.004 else upper_low_N, (70, 30, 30), 0.009
    )


def _darker(colour: Colour, factor: float) -> Colour:
    red, green, blue = (min(255.0, channel * factor) for channel in colour)
    return red, green, blue


def _window(side_px: int, x: float, y: float, half_width: float, half_height: float) -> tuple[slice, slice]:
    middle_x, middle_y = (x + 1) / 2 * side_px, (y + 1) / 2 * side_px
    reach_x, reach_y = half_width / 2 * side_px, half_height / 2 * side_px
    return (
        slice(int(middle_y - reach_y), int(middle_y + reach_y) + 1),
        slice(int(middle_x - reach_x), int(middle_x + reach_x) + 1),
    )


def _sixteenths(
    x_N: Floats, y_N: Floats, side_px: int, origin: NDArray[np.int64] | None = None
) -> NDArray[np.int32]:
    points_N2 = (np.stack([x_N, y_N], axis=-1) + 1) / 2 * side_px - 0.5
    if origin is not None:
        points_N2 = points_N2 - origin
    return np.round(points_N2 * (1 << _SHIFT)).astype(np.int32)


def _polygon(
    canvas: Pixels,
    x_N: Floats,
    top_N: Floats,
    bottom_N: Floats,
    colour: Sequence[float] | float,
    *,
    side_px: int,
    origin: NDArray[np.int64] | None = None,
) -> None:
    outline = np.concatenate(
        [_sixteenths(x_N, top_N, side_px, origin), _sixteenths(x_N, bottom_N, side_px, origin)[::-1]]
    )
    cv2.fillPoly(canvas, [outline], colour, lineType=cv2.LINE_AA, shift=_SHIFT)


def _fill(canvas_SSC: Pixels, x_N: Floats, top_N: Floats, bottom_N: Floats, colour: Colour) -> None:
    _polygon(canvas_SSC, x_N, top_N, bottom_N, colour, side_px=canvas_SSC.shape[0])


def _line(canvas_SSC: Pixels, x_N: Floats, y_N: Floats, colour: Colour, width: float) -> None:
    """A stroke of that width in face coordinates, at least one pixel."""
    side_px = canvas_SSC.shape[0]
    points = _sixteenths(np.asarray(x_N), np.asarray(y_N), side_px)
    thickness_px = max(1, round(width / 2 * side_px))
    cv2.polylines(canvas_SSC, [points], False, colour, thickness_px, lineType=cv2.LINE_AA, shift=_SHIFT)


def _disc(
    canvas: Pixels,
    centre_2: Floats,
    radius: float,
    colour: Colour,
    *,
    side_px: int,
    origin: NDArray[np.int64],
) -> None:
    x, y = _sixteenths(np.array(centre_2[0]), np.array(centre_2[1]), side_px, origin)
    radius_sixteenths = round(radius / 2 * side_px * (1 << _SHIFT))
    cv2.circle(canvas, (int(x), int(y)), radius_sixteenths, colour, -1, lineType=cv2.LINE_AA, shift=_SHIFT)
