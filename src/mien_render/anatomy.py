"""Where things lie on the neutral face: brows, lips, hair line, beard, folds; all in cm of the neutral mesh.

x grows to the person's left, y up, z out of the face. Masks are functions of neutral positions and go from
0 to 1, so that they can be painted per texel or read per vertex and follow every identity by themselves.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mien_render.arrays import Floats, floats

EYE_CENTRE_CM = (3.1, 3.61, 8.05)  # of the left eyeball; the right one is mirrored
EYE_RADIUS_CM = 1.55
EYE_CORNERS_CM = ((4.62, 3.1, 8.7), (1.75, 3.05, 9.0))  # outer and inner, of the left eye
NOSE_TIP_CM = (0.0, 0.0, 13.0)
MOUTH_CORNER_CM = (2.62, -3.52, 10.0)
NECK_PIVOT_CM = (0.0, -9.0, -2.0)
HEAD_CENTRE_CM = (0.0, 1.5, 3.0)


def smoothstep(low: float, high: float, values: NDArray[np.floating]) -> Floats:
    """0 below `low`, 1 above `high`, smooth between; also for `low` > `high`, which turns it round."""
    t = np.clip((values - low) / (high - low), 0, 1)
    return floats(t * t * (3 - 2 * t))


def brow_mask(position_N3: Floats, *, height_cm: float, thickness_cm: float, arch_cm: float) -> Floats:
    """Both brows: a tapering arch above the eyes, moved up by `height_cm`."""
    x, y = np.abs(position_N3[:, 0]), position_N3[:, 1]
    along = np.clip((x - 1.25) / 4.25, 0, 1)  # 0 at the inner end, 1 at the tail
    centre_y = 4.95 + height_cm + arch_cm * np.sin(np.pi * np.clip(along, 0, 1) ** 1.35) - 0.12 * along
    half = 0.5 * thickness_cm * (0.75 + 0.5 * np.sin(np.pi * along**0.7) - 0.75 * along**2.5)
    ends = smoothstep(1.05, 1.5, x) * smoothstep(5.75, 5.1, x)
    inside = smoothstep(1.25, 0.5, np.abs(y - centre_y) / np.maximum(half, 0.02))
    return floats(inside * ends * (position_N3[:, 2] > 5))


def lip_mask(position_N3: Floats, *, fullness: float) -> Floats:
    """The red of the lips; `fullness` 1 is the mean face."""
    x, y = np.abs(position_N3[:, 0]), position_N3[:, 1]
    along = np.clip(x / 2.62, 0, 1)
    bow = 0.13 * np.exp(-((x - 0.5) ** 2) / 0.12) - 0.05 * np.exp(-(x**2) / 0.05)
    upper_y = -3.52 + fullness * (0.72 * (1 - along**1.7) + bow)
    lower_y = -3.52 - fullness * 0.88 * (1 - along**2.2) ** 0.8
    inside = smoothstep(0.08, -0.08, y - upper_y) * smoothstep(-0.08, 0.08, y - lower_y)
    return inside * smoothstep(2.75, 2.5, x) * (position_N3[:, 2] > 8.5)


def mouth_inside_mask(position_N3: Floats) -> Floats:
    """The bag behind the lips."""
    x, y, z = position_N3.T
    depth = smoothstep(10.6 - 0.12 * 2.6, 9.9, z + 0.12 * x**2)
    return floats(depth * (np.abs(x) < 4.2) * (y > -7.5) * (y < 0.5) * (z > -1))


def scalp_mask(
    position_N3: Floats,
    *,
    hairline_cm: float,
    tilt: float = 0.0,
    recess_cm: float = 0.6,
    fringe_cm: float = 0.0,
    softness_cm: float = 0.5,
) -> Floats:
    """Where hair grows: above a line that falls from the forehead past the temples to the nape.

    `tilt` slants the line over the forehead (a parting), `recess_cm` moves it up at the temples, `fringe_cm`
    makes it uneven.
    """
    x, y, z = np.abs(position_N3[:, 0]), position_N3[:, 1], position_N3[:, 2]
    line_y = np.interp(z, [-9, -4, 0.5, 2.2, 3.4, 5.0, 7.5, 11], [-6, -5.5, -2.0, 1.0, 3.2, 6.6, 8.4, 8.6])
    front = smoothstep(2.0, 7.0, z)
    locks = np.sin(2.1 * position_N3[:, 0]) + 0.6 * np.sin(4.7 * position_N3[:, 0] + 1)
    line_y = line_y + front * (hairline_cm + tilt * position_N3[:, 0] + fringe_cm * locks)
    line_y = line_y + front * (recess_cm - 0.6) * np.exp(-((x - 4.5) ** 2) / 4)
    ear = (x > 7.25) & (y < 4.6) & (z > -3.2) & (z < 3.6)
    return smoothstep(-softness_cm, softness_cm, y - line_y) * ~ear


def beard_mask(position_N3: Floats) -> Floats:
    """Moustache, cheeks below a line, jaw and the upper neck."""
    x, y, z = np.abs(position_N3[:, 0]), position_N3[:, 1], position_N3[:, 2]
    cheek_y = np.interp(x, [0, 1.2, 2.6, 4.0, 6.0, 7.5], [-1.35, -1.5, -2.4, -3.4, -2.2, 1.5])
    below = smoothstep(0.4, -0.6, y - cheek_y)
    bald = np.exp(-(((x - 1.9) / 0.7) ** 2 + ((y + 5.0) / 0.6) ** 2)).astype(np.float32) * 0.6
    neck = smoothstep(-11.5, -9.0, y)
    return below * neck * smoothstep(0.5, 2.5, z) * (1 - bald) * (x < 7.8)


def clothes_mask(position_N3: Floats, *, neckline_cm: float) -> Floats:
    """Torso below a round neckline `neckline_cm` high."""
    x, y, z = position_N3.T
    line = neckline_cm - 0.02 * x**2 * (z > 0) + 2.5 * smoothstep(2, -3, z)
    return smoothstep(0.15, -0.15, y - line)


def blob(position_N3: Floats, x: float, y: float, width: float, height: float) -> Floats:
    """A Gaussian spot on the front of the face, both sides (|x|)."""
    spot = np.exp(-(((np.abs(position_N3[:, 0]) - x) / width) ** 2) - ((position_N3[:, 1] - y) / height) ** 2)
    return floats(spot * (position_N3[:, 2] > 2))
