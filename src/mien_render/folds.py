"""Folds of the skin that the model's shapes lack: bulges as coarse as the mesh, creases finer than it.

Places follow the appearance changes that the FACS manual describes for each action unit (Ekman, Friesen &
Hager 2002). Heights are cm along the normal at intensity 5 for a face of full wrinkle depth. Creases are
shaded texel by texel: light falls on their slopes as if the normal leant.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from mien_render.anatomy import blob, smoothstep
from mien_render.arrays import Floats, compiled, floats
from mien_render.deform import Shapes
from mien_render.light import Light

_STEP_CM = 0.03  # over which a slope is measured
_HOLLOW = 1.6  # how much darker a hollow is, a cm of depth
_LEAST, _MOST = 0.4, 1.5  # share of the light that a crease leaves or gathers

Fields = Mapping[int, Callable[[Floats], Floats]]


class Creases:
    """The creases of A units on R x R texels of the face, the left sides, then the right ones."""

    def __init__(self, texel_RR3: Floats, units: Sequence[int]) -> None:
        self.side_px = len(texel_RR3)
        texel_N3 = np.ascontiguousarray(texel_RR3.reshape(-1, 3))
        left_N = smoothstep(-0.6, 0.6, texel_N3[:, 0])[:, None]
        slopes = [_slopes(unit, texel_N3) for unit in units]
        self.shapes = Shapes.of(
            [slope * left_N for slope in slopes] + [slope * (1 - left_N) for slope in slopes]
        )

    def shade(self, depths_2A: Floats, bare_RR: Floats, light: Light, *, head_33: Floats) -> Floats:
        """What share of its light every texel gets (R, R), for creases of those depths.

        1 where there is none, or where the skin is not bare (`bare_RR` 0).
        """
        slopes_N3 = np.zeros((self.side_px**2, 3), dtype=np.float32)
        self.shapes.move(slopes_N3, depths_2A)
        shade_RR = np.empty((self.side_px, self.side_px), dtype=np.float32)
        _shade_slopes(slopes_N3, bare_RR.reshape(-1), _pull(light, head_33), shade_RR.reshape(-1))
        return shade_RR


def bulge_height(action_unit: int, position_N3: Floats) -> Floats:
    """The bulge that comes with the action unit: (N,) in cm, zeros where it has none of its own."""
    return _height(_BULGES, action_unit, position_N3)


def crease_height(action_unit: int, position_N3: Floats) -> Floats:
    """The creases of the action unit: (N,) in cm, zeros where it has none."""
    return _height(_CREASES, action_unit, position_N3)


def _height(fields: Fields, action_unit: int, position_N3: Floats) -> Floats:
    if action_unit not in fields:
        return np.zeros(len(position_N3), dtype=np.float32)
    return floats(fields[action_unit](position_N3) * (position_N3[:, 2] > 2))


def _slopes(action_unit: int, position_N3: Floats) -> Floats:
    """Slopes along x and y, and how deep the hollow is: (N, 3)."""
    along, up = floats([_STEP_CM, 0, 0]), floats([0, _STEP_CM, 0])
    height_N = crease_height(action_unit, position_N3)
    slope_x = crease_height(action_unit, position_N3 + along) - crease_height(
        action_unit, position_N3 - along
    )
    slope_y = crease_height(action_unit, position_N3 + up) - crease_height(action_unit, position_N3 - up)
    hollow = np.maximum(-height_N, 0) * _HOLLOW
    return np.stack([slope_x / (2 * _STEP_CM), slope_y / (2 * _STEP_CM), hollow], axis=1)


def _pull(light: Light, head_33: Floats) -> Floats:
    """How the light changes where the normal leans along the head's x and y, relative to a frontal face's."""
    strength_2 = floats([light.key_colour_3.mean(), light.fill_colour_3.mean()])
    towards_23 = np.stack([light.key_direction_3, light.fill_direction_3]) @ head_33
    strength_2 = strength_2 * (towards_23[:, 2] > -0.2)
    sky, ground = light.sky_colour_3.mean(), light.ground_colour_3.mean()
    whole = strength_2 @ np.maximum(towards_23[:, 2], 0.1) + 0.5 * (sky + ground) + 0.05
    pull = strength_2 @ towards_23[:, :2] + 0.5 * (sky - ground) * head_33[1, :2]
    return floats(pull / whole)


@compiled
def _shade_slopes(slopes_N3: Floats, bare_N: Floats, pull_2: Floats, shade_N: Floats) -> None:
    one, least, most = np.float32(1), np.float32(_LEAST), np.float32(_MOST)
    for texel in range(shade_N.shape[0]):
        x, y, hollow = slopes_N3[texel, 0], slopes_N3[texel, 1], slopes_N3[texel, 2]
        lean = x * pull_2[0] + y * pull_2[1] + hollow
        shade_N[texel] = min(max(one - bare_N[texel] * lean, least), most)


def _distance(position_N3: Floats, points: Sequence[tuple[float, float]]) -> Floats:
    """Distance (N,) in cm from a chain of points (|x|, y)."""
    at = np.stack([np.abs(position_N3[:, 0]), position_N3[:, 1]], axis=1)
    nearest = np.full(len(at), np.inf, dtype=np.float32)
    for start, end in itertools.pairwise(points):
        a, b = floats(start), floats(end)
        t = np.clip((at - a) @ (b - a) / ((b - a) @ (b - a)), 0, 1)
        nearest = np.minimum(nearest, np.linalg.norm(at - a - t[:, None] * (b - a), axis=1))
    return floats(nearest)


def _valley(position_N3: Floats, *points: tuple[float, float], width: float) -> Floats:
    """-1 along a chain of points, softly ending."""
    return floats(-np.exp(-((_distance(position_N3, points) / width) ** 2)))


def _line(position_N3: Floats, *points: tuple[float, float], width: float, depth: float) -> Floats:
    """A groove along a chain of points, softly ending, with a low ridge on either side."""
    inside = (_distance(position_N3, points) / width) ** 2
    return floats(-depth * (1 - 0.7 * inside) * np.exp(-inside))


def _forehead_lines(position_N3: Floats, low_x: float, high_x: float) -> Floats:
    """Four or five horizontal lines, a little wavy, above the brows between two distances from the middle."""
    x, y = np.abs(position_N3[:, 0]), position_N3[:, 1]
    height = (y + 0.18 * np.sin(0.9 * position_N3[:, 0] + 0.7) - 0.03 * x**2 - 6.35) / 0.8
    away = (height - np.round(height)) / 0.2
    window = smoothstep(5.9, 6.4, y) * smoothstep(10.3, 9.0, y)
    window *= smoothstep(low_x - 0.8, low_x + 0.4, x) * smoothstep(high_x + 0.8, high_x - 0.8, x)
    return floats(-0.085 * (1 - 0.7 * away**2) * np.exp(-(away**2)) * window)


def _crows_feet(p: Floats) -> Floats:
    rays = sum(
        _line(p, (5.05, 3.1 + 0.25 * up), (6.3, 3.1 + up), width=0.13, depth=0.075)
        for up in (-1.1, -0.4, 0.35, 1.05)
    )
    return floats(rays + _line(p, (1.7, 2.35), (2.6, 1.75), (4.0, 1.7), (5.0, 2.2), width=0.2, depth=0.1))


def _nose_wrinkles(p: Floats) -> Floats:
    across = sum(_line(p, (0.0, y), (0.75, y + 0.08), width=0.14, depth=0.1) for y in (3.1, 3.7, 4.3))
    bunny = sum(
        _line(p, (0.75 + far, 2.6 - far), (1.75 + far, 2.0 - far), width=0.14, depth=0.1)
        for far in (0.0, 0.45)
    )
    return floats(across + bunny + _line(p, (1.75, 0.95), (2.35, -0.2), (2.8, -1.3), width=0.24, depth=0.14))


def _chin(p: Floats) -> Floats:
    x, y = p[:, 0], p[:, 1]
    bumps = np.sin(8.0 * x + 1.3 * np.sin(5 * y)) * np.sin(7.5 * y + np.sin(4 * x))
    pebbles = floats(0.05 * bumps * blob(p, 0.0, -6.6, 1.7, 1.0))
    return pebbles + _line(p, (0.0, -5.0), (1.2, -5.15), (2.0, -5.6), width=0.28, depth=0.11)


def _lip_lines(p: Floats) -> Floats:
    phase = p[:, 0] / 0.5
    lines = np.exp(-(((phase - np.round(phase)) / 0.22) ** 2))
    where = blob(p, 0, -2.5, 1.9, 0.42) + blob(p, 0, -4.7, 1.7, 0.4)
    corner = _line(p, (2.55, -3.1), (2.75, -3.52), (2.55, -4.0), width=0.17, depth=0.12)
    return floats(-0.05 * lines * where) + corner


_BULGES: Fields = {
    4: lambda p: 0.2 * blob(p, 1.6, 5.2, 0.7, 0.5),
    6: lambda p: 0.14 * blob(p, 3.4, 1.9, 1.3, 0.35) + 0.12 * _valley(p, (1.9, 2.3), (4.8, 1.5), width=0.2),
    7: lambda p: 0.13 * blob(p, 3.2, 2.55, 1.2, 0.22) + 0.06 * _valley(p, (2.0, 2.3), (4.4, 2.15), width=0.2),
    9: lambda p: 0.2 * _valley(p, (1.0, 2.8), (1.7, 1.2), width=0.22),
    10: lambda p: 0.16 * _valley(p, (2.0, 0.3), (3.0, -1.6), width=0.28),
    12: lambda p: 0.2 * _valley(p, (2.0, -0.2), (3.5, -3.2), width=0.3),
    14: lambda p: -0.34 * blob(p, 3.25, -3.5, 0.33, 0.5) + 0.12 * blob(p, 2.5, -3.5, 0.4, 0.5),
    15: lambda p: (
        0.14 * blob(p, 2.9, -4.7, 0.5, 0.5) + 0.16 * _valley(p, (2.85, -3.8), (3.3, -5.4), width=0.25)
    ),
    17: lambda p: 0.14 * _valley(p, (0.0, -5.0), (1.3, -5.2), width=0.25),
    20: lambda p: 0.14 * _valley(p, (3.3, -2.6), (3.6, -4.6), width=0.25),
    24: lambda p: (
        0.12 * (blob(p, 0, -2.5, 1.8, 0.3) + blob(p, 0, -4.7, 1.6, 0.35))
        - 0.12 * blob(p, 2.9, -3.55, 0.3, 0.3)
    ),
}

_CREASES: Fields = {
    1: lambda p: _forehead_lines(p, -2.0, 3.0),
    2: lambda p: _forehead_lines(p, 3.2, 6.4),
    4: lambda p: (
        _line(p, (0.72, 4.3), (0.6, 5.3), (0.8, 6.6), width=0.17, depth=0.16)
        + _line(p, (1.25, 5.7), (1.5, 6.5), width=0.16, depth=0.06)
    ),
    6: _crows_feet,
    7: lambda p: _line(p, (1.9, 2.55), (2.7, 2.2), (3.9, 2.2), (4.7, 2.6), width=0.13, depth=0.09),
    9: _nose_wrinkles,
    10: lambda p: _line(p, (1.9, 0.5), (2.7, -0.4), (3.3, -1.7), width=0.28, depth=0.13),
    12: lambda p: _line(p, (2.0, 0.0), (3.0, -1.4), (3.75, -3.2), (3.7, -4.0), width=0.28, depth=0.15),
    14: lambda p: (
        -0.3 * blob(p, 3.2, -3.55, 0.3, 0.42)
        + _line(p, (3.45, -2.6), (3.75, -3.5), (3.5, -4.5), width=0.2, depth=0.12)
    ),
    15: lambda p: (
        _line(p, (2.75, -3.75), (3.2, -4.6), (3.35, -5.5), width=0.2, depth=0.15)
        + _line(p, (0.0, -5.25), (1.5, -5.2), (2.2, -5.0), width=0.24, depth=0.07)
    ),
    17: _chin,
    20: lambda p: (
        _line(p, (3.3, -2.2), (3.55, -3.5), (3.3, -4.9), width=0.2, depth=0.1)
        + _line(p, (4.1, -2.4), (4.35, -3.6), (4.1, -5.0), width=0.2, depth=0.05)
    ),
    23: _lip_lines,
    24: lambda p: (
        _line(p, (0.0, -2.45), (1.3, -2.6), (2.3, -3.0), width=0.22, depth=0.08)
        + _line(p, (0.0, -4.75), (1.3, -4.65), (2.3, -4.2), width=0.22, depth=0.12)
        - 0.16 * blob(p, 2.95, -3.55, 0.28, 0.35)
    ),
}
