from __future__ import annotations

import numpy as np
import pytest

from mien_render.body import rotation_matrix
from mien_render.deform import LEAST_OFFSET_CM, Shapes, turned, vertex_normals


@pytest.fixture
def shapes_EV3() -> np.ndarray:  # noqa: N802 -- axes stand in capitals
    random = np.random.default_rng(1)
    return (random.normal(size=(5, 40, 3)) * (random.uniform(size=(5, 40, 1)) < 0.3)).astype(np.float32)


def test_listed_shapes_move_as_whole_ones_do(shapes_EV3: np.ndarray):
    weights = np.array([0.5, 0.0, -1.0, 0.2, 1.5], dtype=np.float32)
    moved = np.ones((40, 3), dtype=np.float32)
    Shapes.of(list(shapes_EV3)).move(moved, weights)
    np.testing.assert_allclose(moved, 1 + np.einsum("e,evi->vi", weights, shapes_EV3), atol=1e-6)


def test_offsets_that_nobody_sees_are_left_out():
    shape = np.array([[LEAST_OFFSET_CM / 2, 0, 0], [0, -2 * LEAST_OFFSET_CM, 0]], dtype=np.float32)
    assert Shapes.of([shape]).vertex_N.tolist() == [1]


def test_scaled_shapes_move_each_vertex_by_its_share(shapes_EV3: np.ndarray):
    share = np.linspace(0, 1, 40).astype(np.float32)
    weights = np.ones(5, dtype=np.float32)
    whole, scaled = (np.zeros((40, 3), dtype=np.float32) for _ in range(2))
    shapes = Shapes.of(list(shapes_EV3))
    shapes.move(whole, weights)
    shapes.scaled(share).move(scaled, weights)
    np.testing.assert_allclose(scaled, whole * share[:, None], atol=1e-6)


def test_normals_of_a_cube_point_away_from_its_middle():
    corners = np.array([(x, y, z) for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)], dtype=np.float32)
    import scipy.spatial

    hull = scipy.spatial.ConvexHull(corners)
    a, b, c = (corners[hull.simplices[:, at]] for at in range(3))
    inward = np.einsum("ti,ti->t", np.cross(b - a, c - a), a) < 0
    triangles = np.where(inward[:, None], hull.simplices[:, ::-1], hull.simplices).astype(np.int32)
    normals = vertex_normals(corners, triangles)
    np.testing.assert_allclose(np.linalg.norm(normals, axis=1), 1, atol=1e-6)
    assert (np.einsum("vi,vi->v", normals, corners) > 1).all()


def test_a_full_share_turns_about_the_pivot_and_none_stays():
    head = rotation_matrix(20, -10, 5)
    points = np.random.default_rng(2).normal(size=(10, 3)).astype(np.float32)
    pivot = np.array([0, -9, -2], dtype=np.float32)
    share = np.repeat(np.array([0, 1], dtype=np.float32), 5)
    moved = turned(points, head, share, pivot)
    np.testing.assert_allclose(moved[:5], points[:5], atol=1e-6)
    np.testing.assert_allclose(moved[5:], (points[5:] - pivot) @ head.T + pivot, atol=1e-5)
