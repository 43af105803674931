from __future__ import annotations

import numpy as np
import pytest

from mien_render.rasterise import FAR_CM, rasterise, view_triangles

FIELD = float(np.pi / 2)  # at 10 cm the picture is 20 cm high


def _draw(vertices, triangles, attributes, size_px: int = 100):
    arrays = (
        np.array(vertices, dtype=np.float32),
        np.array(triangles, dtype=np.int32),
        np.array(attributes, dtype=np.float32),
    )
    return rasterise(*arrays, size_px=size_px, field_of_view_radians=FIELD)


def test_a_triangle_covers_its_area():
    _, depth = _draw([(-5, -5, -10), (5, -5, -10), (-5, 5, -10)], [(0, 1, 2)], np.zeros((3, 3)))
    assert (depth < FAR_CM).sum() == pytest.approx(50 * 50 / 2, rel=0.05)


def test_the_nearer_triangle_hides_the_farther_in_either_order():
    shape = [(-5, -5), (5, -5), (0, 5)]
    vertices = [(x, y, -10) for x, y in shape] + [(x * 2, y * 2, -20) for x, y in shape]
    colours = [(1, 0, 0)] * 3 + [(0, 1, 0)] * 3
    for order in ([(0, 1, 2), (3, 4, 5)], [(3, 4, 5), (0, 1, 2)]):
        drawn, _ = _draw(vertices, order, colours)
        assert drawn[55, 50].tolist() == pytest.approx([1, 0, 0])


def test_a_triangle_seen_from_behind_is_not_drawn():
    _, depth = _draw([(-5, -5, -10), (5, -5, -10), (-5, 5, -10)], [(0, 2, 1)], np.zeros((3, 3)))
    assert (depth == FAR_CM).all()


def test_up_is_up_and_right_is_right():
    _, depth = _draw([(4, 4, -10), (8, 4, -10), (4, 8, -10)], [(0, 1, 2)], np.zeros((3, 3)))
    rows, columns = np.nonzero(depth < FAR_CM)
    assert rows.max() < 50 < columns.min()


def test_attributes_are_interpolated():
    drawn, _ = _draw([(-5, -5, -10), (5, -5, -10), (0, 5, -10)], [(0, 1, 2)], np.eye(3))
    np.testing.assert_allclose(drawn[57, 50], [1 / 3, 1 / 3, 1 / 3], atol=0.06)
    assert drawn[57, 50].sum() == pytest.approx(1, abs=1e-4)


def test_the_nearest_triangle_is_the_one_that_a_ray_meets_first():
    """Against rays through the pixels' centres, met with every triangle's plane."""
    random = np.random.default_rng(5)
    size_px, triangles = 24, np.arange(36, dtype=np.int32).reshape(-1, 3)
    camera = random.uniform([-8, -8, -20], [8, 8, -9], (36, 3)).astype(np.float32)
    view = view_triangles(camera, triangles, size_px=size_px, field_of_view_radians=FIELD)
    for row in range(0, size_px, 3):
        for column in range(0, size_px, 3):
            ray = np.array([(column + 0.5) / size_px * 2 - 1, 1 - (row + 0.5) / size_px * 2, -1.0])
            met = {number: _distance_along(ray, camera[corners]) for number, corners in enumerate(triangles)}
            met = {number: distance for number, distance in met.items() if np.isfinite(distance)}
            expected = min(met, key=lambda number: met[number]) if met else -1
            assert view.triangle_SS[row, column] == expected, (row, column)


def _distance_along(ray: np.ndarray, corners_33: np.ndarray) -> float:
    a, b, c = corners_33.astype(float)
    if np.cross(b - a, c - a) @ ray >= 0:  # seen from behind
        return np.inf
    along, of_b, of_c = np.linalg.solve(np.stack([ray, a - b, a - c], axis=1), a)
    return float(along) if min(of_b, of_c, 1 - of_b - of_c) >= 0 else np.inf
