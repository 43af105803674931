"""Triangles to pixels: which one is nearest at each pixel, and what its corners say there.

A pixel belongs to a triangle that holds its centre. The nearest wins; of equally near ones the first.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mien_render.arrays import Floats, Ints, compiled, floats

FAR_CM = 400.0
NEAR_CM = 5.0


@dataclass(frozen=True)
class View:
    """What a camera at the origin sees that looks along -z, y up: N vertices on S x S pixels.

    `screen_N3` is the column and row in px and the inverse distance, which is linear in the picture;
    `triangle_SS` is the number of the nearest triangle, -1 where there is none.
    """

    screen_N3: Floats
    triangle_SS: Ints
    inverse_distance_SS: Floats

    @property
    def depth_SS(self) -> Floats:  # noqa: N802 -- axes stand in capitals
        """Distance along z in cm; FAR_CM where nothing is."""
        return floats(1 / np.maximum(self.inverse_distance_SS, np.float32(1 / FAR_CM)))


def view_triangles(
    camera_N3: Floats, triangles_T3: Ints, *, size_px: int, field_of_view_radians: float
) -> View:
    """Which triangles are seen. Only those that wind counter-clockwise as seen, farther than NEAR_CM, are."""
    screen_N3 = to_screen(camera_N3, size_px=size_px, field_of_view_radians=field_of_view_radians)
    triangle_SS = np.full((size_px, size_px), -1, dtype=np.int32)
    inverse_SS = np.full((size_px, size_px), 1 / FAR_CM, dtype=np.float32)
    _keep_nearest(screen_N3, triangles_T3, triangle_SS, inverse_SS)
    return View(screen_N3, triangle_SS, inverse_SS)


def to_screen(camera_N3: Floats, *, size_px: int, field_of_view_radians: float) -> Floats:
    """Camera coordinates -> column, row in px and inverse distance (N, 3)."""
    inverse_N = np.float32(1) / np.maximum(-camera_N3[:, 2], np.float32(1e-3))
    scale_N = np.float32(size_px / 2 / np.tan(field_of_view_radians / 2)) * inverse_N
    middle = np.float32(size_px / 2)
    screen_N3 = np.empty((len(camera_N3), 3), dtype=np.float32)
    screen_N3[:, 0] = middle + camera_N3[:, 0] * scale_N
    screen_N3[:, 1] = middle - camera_N3[:, 1] * scale_N
    screen_N3[:, 2] = inverse_N
    return screen_N3


def rasterise(
    camera_N3: Floats,
    triangles_T3: Ints,
    attributes_NA: Floats,
    *,
    size_px: int,
    field_of_view_radians: float,
) -> tuple[Floats, Floats]:
    """Attributes (size, size, A) and depth in cm (size, size); 0 and FAR_CM where nothing is."""
    view = view_triangles(
        camera_N3, triangles_T3, size_px=size_px, field_of_view_radians=field_of_view_radians
    )
    drawn_SSA = np.zeros((size_px, size_px, attributes_NA.shape[1]), dtype=np.float32)
    _interpolate(view.screen_N3, triangles_T3, view.triangle_SS, attributes_NA, drawn_SSA)
    return drawn_SSA, view.depth_SS


def draw_flat(
    corner_uv_N2: Floats, triangles_T3: Ints, attributes_NA: Floats, *, size_px: int
) -> tuple[Floats, NDArray[np.bool_]]:
    """Attributes over the unit square of UVs (row 0 is v = 1) and where there are any, both windings."""
    plane = np.full((len(corner_uv_N2), 3), -10, dtype=np.float32)
    plane[:, :2] = (corner_uv_N2 * 2 - 1) * 10
    (ax, ay), (bx, by), (cx, cy) = (plane[triangles_T3[:, at], :2].T for at in range(3))
    clockwise = (bx - ax) * (cy - ay) < (cx - ax) * (by - ay)
    facing = np.where(clockwise[:, None], triangles_T3[:, ::-1], triangles_T3)
    drawn, depth = rasterise(plane, facing, attributes_NA, size_px=size_px, field_of_view_radians=np.pi / 2)
    return drawn, depth < FAR_CM - 1


@compiled
def _keep_nearest(screen_N3: Floats, triangles_T3: Ints, triangle_SS: Ints, inverse_SS: Floats) -> None:
    size = triangle_SS.shape[0]
    for triangle in range(triangles_T3.shape[0]):
        a, b, c = triangles_T3[triangle, 0], triangles_T3[triangle, 1], triangles_T3[triangle, 2]
        ax, ay, aw = float(screen_N3[a, 0]), float(screen_N3[a, 1]), float(screen_N3[a, 2])
        bx, by, bw = float(screen_N3[b, 0]), float(screen_N3[b, 1]), float(screen_N3[b, 2])
        cx, cy, cw = float(screen_N3[c, 0]), float(screen_N3[c, 1]), float(screen_N3[c, 2])
        area = (cx - ax) * (by - ay) - (bx - ax) * (cy - ay)  # rows grow downwards
        if area <= 0 or max(aw, bw, cw) > 1 / NEAR_CM:
            continue
        left = max(int(np.ceil(min(ax, bx, cx) - 0.5)), 0)
        right = min(int(np.floor(max(ax, bx, cx) - 0.5)), size - 1)
        top = max(int(np.ceil(min(ay, by, cy) - 0.5)), 0)
        bottom = min(int(np.floor(max(ay, by, cy) - 0.5)), size - 1)
        step_a, step_b, step_c = cy - by, ay - cy, by - ay  # from one column to the next
        step = (step_a * aw + step_b * bw + step_c * cw) / area
        x = left + 0.5
        for row in range(top, bottom + 1):
            y = row + 0.5
            in_a = (cx - x) * (by - y) - (bx - x) * (cy - y)
            in_b = (ax - x) * (cy - y) - (cx - x) * (ay - y)
            in_c = (bx - x) * (ay - y) - (ax - x) * (by - y)
            inverse = (in_a * aw + in_b * bw + in_c * cw) / area
            for column in range(left, right + 1):
                if in_a >= 0 and in_b >= 0 and in_c >= 0 and inverse > inverse_SS[row, column]:
                    inverse_SS[row, column] = inverse
                    triangle_SS[row, column] = triangle
                in_a += step_a
                in_b += step_b
                in_c += step_c
                inverse += step


@compiled
def shares(  # noqa: PLR0917 -- compiled: as the loops have them
    screen_N3: Floats, a: int, b: int, c: int, row: int, column: int
) -> tuple[np.float32, np.float32, np.float32]:
    """How much each corner of a triangle has of the pixel's centre, in space: they sum to 1."""
    x, y = column + 0.5, row + 0.5
    ax, ay = float(screen_N3[a, 0]) - x, float(screen_N3[a, 1]) - y
    bx, by = float(screen_N3[b, 0]) - x, float(screen_N3[b, 1]) - y
    cx, cy = float(screen_N3[c, 0]) - x, float(screen_N3[c, 1]) - y
    of_a = (cx * by - bx * cy) * screen_N3[a, 2]
    of_b = (ax * cy - cx * ay) * screen_N3[b, 2]
    of_c = (bx * ay - ax * by) * screen_N3[c, 2]
    whole = of_a + of_b + of_c
    return np.float32(of_a / whole), np.float32(of_b / whole), np.float32(of_c / whole)


@compiled
def _interpolate(
    screen_N3: Floats, triangles_T3: Ints, triangle_SS: Ints, attributes_NA: Floats, drawn_SSA: Floats
) -> None:
    for row in range(triangle_SS.shape[0]):
        for column in range(triangle_SS.shape[1]):
            triangle = triangle_SS[row, column]
            if triangle < 0:
                continue
            a, b, c = triangles_T3[triangle, 0], triangles_T3[triangle, 1], triangles_T3[triangle, 2]
            of_a, of_b, of_c = shares(screen_N3, a, b, c, row, column)
            for at in range(attributes_NA.shape[1]):
                drawn_SSA[row, column, at] = (
                    of_a * attributes_NA[a, at] + of_b * attributes_NA[b, at] + of_c * attributes_NA[c, at]
                )
