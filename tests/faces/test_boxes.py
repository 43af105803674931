"""How much boxes have in common, against counting pixels."""

from __future__ import annotations

import numpy as np
import pytest

from mien.faces.boxes import bounding_box, iou, iou_with_many, overlap, share_inside, stand_apart


def pixels(box):
    grid = np.zeros((40, 40), bool)
    grid[box[1] : box[3], box[0] : box[2]] = True
    return grid


def test_shares_are_those_of_counted_pixels():
    generator = np.random.default_rng(0)
    for _ in range(50):
        (x0, x1, x2, x3), (y0, y1, y2, y3) = (generator.permutation(40)[:4] for _ in range(2))
        box = (min(x0, x1), min(y0, y1), max(x0, x1), max(y0, y1))
        other = (min(x2, x3), min(y2, y3), max(x2, x3), max(y2, y3))
        a, b = pixels(box), pixels(other)
        assert iou(box, other) == pytest.approx((a & b).sum() / (a | b).sum())
        assert overlap(box, other) == pytest.approx((a & b).sum() / min(a.sum(), b.sum()))
        assert share_inside(box, width_px=20, height_px=30) == pytest.approx(a[:30, :20].sum() / a.sum())
        assert iou_with_many(np.array(box), np.array([other]))[0] == pytest.approx(iou(box, other))


def test_a_small_box_within_a_large_one_is_overlapped_whole():
    assert overlap((0, 0, 100, 100), (40, 40, 50, 50)) == 1
    assert iou((0, 0, 100, 100), (40, 40, 50, 50)) == pytest.approx(0.01)


def test_boxes_without_area_share_nothing():
    assert iou((1, 1, 1, 1), (1, 1, 1, 1)) == overlap((1, 1, 1, 1), (0, 0, 4, 4)) == 0
    assert share_inside((1, 1, 1, 1), width_px=4, height_px=4) == 0


def test_only_boxes_that_keep_their_distance_stand_apart():
    boxes = [(0, 0, 10, 10), (6, 0, 16, 10), (20, 0, 30, 10)]
    assert stand_apart(boxes, max_overlap=0.3) == [False, False, True]
    assert stand_apart(boxes, max_overlap=0.4) == [True, True, True]


def test_the_bounding_box_holds_all_points():
    assert bounding_box(np.array([(3.0, 9.0), (1.0, 4.0), (2.0, 20.0)])) == (1.0, 4.0, 3.0, 20.0)
