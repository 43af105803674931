"""Bulges that the model's shapes lack, as coarse as the mesh: heights along the normal, a field a unit.

Places follow the appearance changes that the FACS manual describes for each action unit (Ekman, Friesen &
Hager 2002). Heights are cm at intensity 5 for a face of full wrinkle depth.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from mien_render.anatomy import blob
from mien_render.arrays import Floats, floats


def bulge_height(action_unit: int, position_N3: Floats) -> Floats:
    """The bulge that comes with the action unit: (N,) in cm, zeros where it has none of its own."""
    field = _FIELDS.get(action_unit)
    front = position_N3[:, 2] > 2
    if field is None:
        return np.zeros(len(position_N3), dtype=np.float32)
    return (field(position_N3) * front).astype(np.float32)


def _valley(
    position_N3: Floats, start: tuple[float, float], end: tuple[float, float], width_cm: float
) -> Floats:
    """-1 along a segment on both sides of the face, softly ending."""
    point = np.stack([np.abs(position_N3[:, 0]), position_N3[:, 1]], axis=1)
    a, b = floats(start), floats(end)
    t = np.clip((point - a) @ (b - a) / ((b - a) @ (b - a)), 0, 1)
    distance = np.linalg.norm(point - a - t[:, None] * (b - a), axis=1)
    return floats(-np.exp(-((distance / width_cm) ** 2)))


def _frown(position_N3: Floats) -> Floats:
    return 0.2 * blob(position_N3, 1.6, 5.2, 0.7, 0.5)


def _cheek_pouch(position_N3: Floats) -> Floats:
    pouch = 0.14 * blob(position_N3, 3.4, 1.9, 1.3, 0.35)
    return pouch + 0.12 * _valley(position_N3, (1.9, 2.3), (4.8, 1.5), 0.2)


def _lid_pouch(position_N3: Floats) -> Floats:
    return 0.13 * blob(position_N3, 3.2, 2.55, 1.2, 0.22) + 0.06 * _valley(
        position_N3, (2.0, 2.3), (4.4, 2.15), 0.2
    )


def _nose_sides(position_N3: Floats) -> Floats:
    return 0.2 * _valley(position_N3, (1.0, 2.8), (1.7, 1.2), 0.22)


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
    return 0.14 * _valley(position_N3, (0.0, -5.0), (1.3, -5.2), 0.25)


def _stretch(position_N3: Floats) -> Floats:
    return 0.14 * _valley(position_N3, (3.3, -2.6), (3.6, -4.6), 0.25)


def _pressed(position_N3: Floats) -> Floats:
    bulge = 0.12 * (blob(position_N3, 0, -2.5, 1.8, 0.3) + blob(position_N3, 0, -4.7, 1.6, 0.35))
    return bulge - 0.12 * blob(position_N3, 2.9, -3.55, 0.3, 0.3)


_FIELDS: dict[int, Callable[[Floats], Floats]] = {
    4: _frown,
    6: _cheek_pouch,
    7: _lid_pouch,
    9: _nose_sides,
    10: _upper_lip_furrow,
    12: _smile_fold,
    14: _dimple,
    15: _corner_bags,
    17: _chin,
    20: _stretch,
    24: _pressed,
}
