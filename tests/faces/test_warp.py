"""Similarities are fitted, inverted and applied as the mathematics says, and shrinking does not alias."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from mien.faces.finder import Region
from mien.faces.warp import fit_similarity, invert_similarity, map_points, upright_map, warp


def by_least_squares(source, target):
    """The same fit as a linear system in (a, b, tx, ty)."""
    rows, values = [], []
    for (x, y), (u, v) in zip(source, target, strict=True):
        rows += [[x, -y, 1, 0], [y, x, 0, 1]]
        values += [u, v]
    a, b, tx, ty = np.linalg.lstsq(np.array(rows), np.array(values), rcond=None)[0]
    return np.array([[a, -b, tx], [b, a, ty]])


def similarity(scale, degrees, shift):
    turn = np.deg2rad(degrees)
    linear = scale * np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    return np.column_stack([linear, shift])


def test_the_fit_is_that_of_least_squares():
    generator = np.random.default_rng(0)
    for _ in range(20):
        source, target = generator.normal(size=(2, 5, 2)) * 100
        assert fit_similarity(source, target) == pytest.approx(by_least_squares(source, target), abs=1e-9)


def test_a_similarity_is_found_again():
    points = np.random.default_rng(1).normal(size=(5, 2))
    matrix = similarity(2.5, 30, (7, -3))
    assert fit_similarity(points, map_points(matrix, points)) == pytest.approx(matrix)


def test_a_mirrored_face_is_never_mirrored_back():
    points = np.array([(-1.0, 0), (1, 0), (0, 1), (-0.5, 2), (0.5, 2)])
    assert np.linalg.det(fit_similarity(points * (-1, 1), points)[:, :2]) > 0


def test_points_that_coincide_are_refused():
    with pytest.raises(ValueError, match="coincide"):
        fit_similarity(np.ones((5, 2)), np.eye(5, 2))


def test_the_inverse_undoes_the_map():
    points = np.random.default_rng(2).normal(size=(9, 2)) * 50
    matrix = similarity(0.4, -100, (30, 2))
    assert map_points(invert_similarity(matrix), map_points(matrix, points)) == pytest.approx(points)


def test_a_region_is_set_upright_in_the_middle():
    region = Region(centre_x_px=40.0, centre_y_px=60.0, side_px=96.0, roll_degrees=90.0)
    matrix = upright_map(region, 193)
    assert map_points(matrix, np.array([(40.0, 60.0)])) == pytest.approx(np.array([(96.0, 96.0)]))
    # a face lying on its side, crown to the right: what is right of the middle comes to lie above it
    x, y = map_points(matrix, np.array([(50.0, 60.0)]))[0]
    assert (x, y) == pytest.approx((96.0, 96.0 - 10 * 193 / 96))


@pytest.mark.parametrize("scale", [0.9, 1.0, 1.7])
def test_a_warp_that_hardly_shrinks_is_opencv_s(scale):
    image = np.random.default_rng(3).integers(0, 255, (120, 160, 3), dtype=np.uint8)
    matrix = similarity(scale, 12, (-20, 5))
    for border in (cv2.BORDER_CONSTANT, cv2.BORDER_REPLICATE):
        expected = cv2.warpAffine(image, matrix, (96, 96), flags=cv2.INTER_LINEAR, borderMode=border)
        difference = np.abs(warp(image, matrix, 96, border=border).astype(int) - expected)
        assert difference.max() <= 12  # weights are rounded to 1/32 px at other places
        assert difference.mean() < 1.5


@pytest.mark.parametrize("scale", [0.5, 0.3, 0.11])
def test_a_warp_that_shrinks_much_keeps_places_and_averages(scale):
    y, x = np.mgrid[:600, :800]
    image = np.stack([x / 4, y / 4, (x + y) / 8], axis=-1).astype(np.uint8)
    matrix = similarity(scale, 25, (40, -10))
    square = warp(image, matrix, 64)
    inside = cv2.erode(warp(np.full_like(image, 255), matrix, 64), np.ones((7, 7))) == 255
    places = map_points(
        invert_similarity(matrix), np.stack(np.meshgrid(range(64), range(64)), -1).reshape(-1, 2)
    )
    expected = np.stack([places[:, 0] / 4, places[:, 1] / 4, places.sum(axis=1) / 8], -1).reshape(64, 64, 3)
    assert inside.mean() > 0.1
    assert np.abs(square.astype(float) - expected)[inside].max() < 2.5


def test_fine_stripes_turn_grey_instead_of_aliasing():
    stripes = np.zeros((800, 800, 3), np.uint8)
    stripes[:, ::2] = 255
    square = warp(stripes, similarity(0.23, 10, (20, 20)), 128)
    centre = square[50:100, 50:100].astype(float)
    assert centre.mean() == pytest.approx(127.5, abs=3)
    assert centre.std() < 12


def test_a_square_beside_the_picture_is_its_edge_continued_or_black():
    image = np.full((50, 50, 3), 90, np.uint8)
    away = similarity(1, 0, (500, 500))
    assert (warp(image, away, 32) == 0).all()
    assert (warp(image, away, 32, border=cv2.BORDER_REPLICATE) == 90).all()
