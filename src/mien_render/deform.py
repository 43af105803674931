"""Moving vertices: sums of shapes that move only some of them, normals, turning part of a mesh."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mien_render.arrays import Floats, Ints, compiled

LEAST_OFFSET_CM = 1e-3  # what a shape moves by less is left where it is


@dataclass(frozen=True)
class Shapes:
    """E shapes as lists: shape e moves `vertex_N[first_E1[e] : first_E1[e + 1]]` by `offset_N3`, in cm."""

    first_E1: Ints
    vertex_N: Ints
    offset_N3: Floats

    @classmethod
    def of(cls, offsets: Sequence[Floats]) -> Shapes:
        """From whole shapes, (V, 3) each."""
        moved = [np.flatnonzero(np.abs(offset_V3).max(axis=1) > LEAST_OFFSET_CM) for offset_V3 in offsets]
        first = np.concatenate([[0], np.cumsum([len(vertices) for vertices in moved])])
        chosen = [offset_V3[vertices] for offset_V3, vertices in zip(offsets, moved, strict=True)]
        return cls(
            first.astype(np.int32),
            np.concatenate(moved).astype(np.int32),
            np.concatenate(chosen).astype(np.float32),
        )

    def scaled(self, share_V: Floats) -> Shapes:
        """The same shapes, each vertex moved by its share."""
        return Shapes(self.first_E1, self.vertex_N, self.offset_N3 * share_V[self.vertex_N, None])

    def move(self, vertices_V3: Floats, weights_E: Floats) -> None:
        """Add the weighted shapes, in place; a weight below 1/1000 counts as none."""
        _add_shapes(vertices_V3, weights_E, self.first_E1, self.vertex_N, self.offset_N3)


def vertex_normals(vertices_V3: Floats, triangles_T3: Ints) -> Floats:
    """Unit normals (V, 3), the mean over a vertex's triangles by area; 0 for a vertex without any."""
    normals_V3 = np.zeros_like(vertices_V3)
    _add_area_normals(vertices_V3, triangles_T3, normals_V3)
    return normals_V3


def turned(vectors_V3: Floats, rotation_33: Floats, share_V: Floats, pivot_3: Floats) -> Floats:
    """Vectors turned about a pivot, each by its share between itself (0) and the whole rotation (1)."""
    result_V3 = np.empty_like(vectors_V3)
    _turn(vectors_V3, rotation_33, share_V, pivot_3, result_V3)
    return result_V3


@compiled
def _add_shapes(
    vertices_V3: Floats, weights_E: Floats, first_E1: Ints, vertex_N: Ints, offset_N3: Floats
) -> None:
    for shape in range(weights_E.shape[0]):
        weight = weights_E[shape]
        if abs(weight) < 1e-3:
            continue
        for at in range(first_E1[shape], first_E1[shape + 1]):
            vertex = vertex_N[at]
            for axis in range(3):
                vertices_V3[vertex, axis] += weight * offset_N3[at, axis]


@compiled
def _add_area_normals(vertices_V3: Floats, triangles_T3: Ints, normals_V3: Floats) -> None:
    for triangle in range(triangles_T3.shape[0]):
        a, b, c = triangles_T3[triangle, 0], triangles_T3[triangle, 1], triangles_T3[triangle, 2]
        bx, by, bz = (
            vertices_V3[b, 0] - vertices_V3[a, 0],
            vertices_V3[b, 1] - vertices_V3[a, 1],
            vertices_V3[b, 2] - vertices_V3[a, 2],
        )
        cx, cy, cz = (
            vertices_V3[c, 0] - vertices_V3[a, 0],
            vertices_V3[c, 1] - vertices_V3[a, 1],
            vertices_V3[c, 2] - vertices_V3[a, 2],
        )
        x, y, z = by * cz - bz * cy, bz * cx - bx * cz, bx * cy - by * cx
        for corner in range(3):
            vertex = triangles_T3[triangle, corner]
            normals_V3[vertex, 0] += x
            normals_V3[vertex, 1] += y
            normals_V3[vertex, 2] += z
    for vertex in range(normals_V3.shape[0]):
        x, y, z = normals_V3[vertex, 0], normals_V3[vertex, 1], normals_V3[vertex, 2]
        length = max(np.sqrt(x * x + y * y + z * z), np.float32(1e-9))
        for axis in range(3):
            normals_V3[vertex, axis] /= length


@compiled
def _turn(
    vectors_V3: Floats, rotation_33: Floats, share_V: Floats, pivot_3: Floats, result_V3: Floats
) -> None:
    for vertex in range(vectors_V3.shape[0]):
        share = share_V[vertex]
        x = vectors_V3[vertex, 0] - pivot_3[0]
        y = vectors_V3[vertex, 1] - pivot_3[1]
        z = vectors_V3[vertex, 2] - pivot_3[2]
        for axis in range(3):
            full = rotation_33[axis, 0] * x + rotation_33[axis, 1] * y + rotation_33[axis, 2] * z
            full += pivot_3[axis]
            result_V3[vertex, axis] = vectors_V3[vertex, axis] + share * (full - vectors_V3[vertex, axis])
