"""Folds that the model's shapes lack: heights along the normal, a field an action unit.

Places follow the appearance changes that the FACS manual describes for each action unit (Ekman, Friesen &
Hager 2002). Heights are cm at intensity 5 for a face of full wrinkle depth.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from mien.render.anatomy import blob, smoothstep
from mien.render.arrays import Floats, floats


def wrinkle_height(action_unit: int, position_N3: Floats) -> Floats:
    """The fold that comes with the action unit: (N,) in cm, zeros where it has none of its own."""
    field = _FIELDS.get(action_unit)
    front = position_N3[:, 2] > 2
    if field is None:
        return np.zeros(len(position_N3), dtype=np.float32)
    return (field(position_N3) * front).astype(np.float32)


def _ridges(position_N3: Floats, *, period_cm: float, axis: int) -> Floats:
    return floats(np.sin(2 * np.pi * position_N3[:, axis] / period_cm))


def _valley(
    position_N3: Floats, start: tuple[float, float], end: tuple[float, float], width_cm: float
) -> Floats:
    """-1 along a segment on both sides of the face, softly ending."""
    point = np.stack([np.abs(position_N3[:, 0]), position_N3[:, 1]], axis=1)
    a, b = floats(start), floats(end)
    t = np.clip((point - a) @ (b - a) / ((b - a) @ (b - a)), 0, 1)
    distance = np.linalg.norm(point - a - t[:, None] * (b - a), axis=1)
    return floats(-np.exp(-((distance / width_cm) ** 2)))


def _forehead(position_N3: Floats, low_x: float, high_x: float) -> Floats:
    x, y = np.abs(position_N3[:, 0]), position_N3[:, 1]
    window = smoothstep(6.0, 7.0, y) * smoothstep(10.5, 9.0, y)
    return window * smoothstep(low_x - 1, low_x + 0.5, x) * smoothstep(high_x + 1, high_x - 1, x)


def _inner_brow(position_N3: Floats) -> Floats:
    return 0.1 * _ridges(position_N3, period_cm=1.0, axis=1) * _forehead(position_N3, -2.0, 3.0)


def _outer_brow(position_N3: Floats) -> Floats:
    return 0.085 * _ridges(position_N3, period_cm=1.0, axis=1) * _forehead(position_N3, 3.0, 6.5)


def _frown(position_N3: Floats) -> Floats:
    furrow = _valley(position_N3, (0.62, 4.7), (0.75, 6.6), 0.28)
    return 0.26 * furrow + 0.2 * blob(position_N3, 1.6, 5.2, 0.7, 0.5)


def _crows_feet(position_N3: Floats) -> Floats:
    x, y = np.abs(position_N3[:, 0]) - 4.4, position_N3[:, 1] - 3.2
    angle = np.arctan2(y, x)
    window = blob(position_N3, 6.1, 3.1, 0.8, 1.2)
    pouch = 0.14 * blob(position_N3, 3.4, 1.9, 1.3, 0.35) + 0.12 * _valley(
        position_N3, (1.9, 2.3), (4.8, 1.5), 0.2
    )
    return floats(0.07 * np.sin(9 * angle) * window + pouch)


def _lid_pouch(position_N3: Floats) -> Floats:
    return 0.13 * blob(position_N3, 3.2, 2.55, 1.2, 0.22) + 0.06 * _valley(
        position_N3, (2.0, 2.3), (4.4, 2.15), 0.2
    )


def _nose_bridge(position_N3: Floats) -> Floats:
    window = blob(position_N3, 0.0, 3.4, 1.3, 1.0)
    side = _valley(position_N3, (1.0, 2.8), (1.7, 1.2), 0.22)
    return 0.13 * _ridges(position_N3, period_cm=0.75, axis=1) * window + 0.2 * side


def _upper_lip_furrow(position_N3: Floats) -> Floats:
    return 0.16 * _valley(position_N3, (2.0, 0.3), (3.0, -1.6), 0.28)


def _smile_fold(position_N3: Floats) -> Floats:
    return 0.2 * _valley(position_N3, (2.0, -0.2), (3.5, -3.2), 0.3)


def _dimple(position_N3: Floats) -> Floats:
    return -0.34 * blob(position_N3, 3.25, -3.5, 0.33, 0.5) + 0.12 * blob(position_N3, 2.5, -3.5, 0.4, 0.5)


def _corner_bags(position_N3: Floats) -> Floats:
    pouch = 0.14 * blob(position_N3, 2.9, -4.7, 0.5, 0.5)
    return pouch + 0.16 * _valley(position_N3, (2.85, -3.8), (3.3, -5.4), 0.25)


def _chin(position_N3: Floats) -> Floats:
    x, y = position_N3[:, 0], position_N3[:, 1]
    bumps = np.sin(7.0 * x + 1.3 * np.sin(5 * y)) * np.sin(6.5 * y + np.sin(4 * x))
    crease = 0.14 * _valley(position_N3, (0.0, -5.0), (1.3, -5.2), 0.25)
    return floats((0.07 * bumps * blob(position_N3, 0.0, -6.4, 1.6, 1.0)).astype(np.float32) + crease)


def _stretch(position_N3: Floats) -> Floats:
    return 0.14 * _valley(position_N3, (3.3, -2.6), (3.6, -4.6), 0.25)


def _lip_lines(position_N3: Floats) -> Floats:
    lines = _ridges(position_N3, period_cm=0.55, axis=0)
    return 0.05 * lines * (blob(position_N3, 0, -2.6, 1.8, 0.35) + blob(position_N3, 0, -4.6, 1.6, 0.3))


def _pressed(position_N3: Floats) -> Floats:
    bulge = 0.12 * (blob(position_N3, 0, -2.5, 1.8, 0.3) + blob(position_N3, 0, -4.7, 1.6, 0.35))
    return bulge - 0.12 * blob(position_N3, 2.9, -3.55, 0.3, 0.3)


_FIELDS: dict[int, Callable[[Floats], Floats]] = {
    1: _inner_brow,
    2: _outer_brow,
    4: _frown,
    6: _crows_feet,
    7: _lid_pouch,
    9: _nose_bridge,
    10: _upper_lip_furrow,
    12: _smile_fold,
    14: _dimple,
    15: _corner_bags,
    17: _chin,
    20: _stretch,
    23: _lip_lines,
    24: _pressed,
}
