"""Boxes x0 y0 x1 y1 in pixels: how much they have in common."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from mien.faces.finder import Box, Points


def bounding_box(points_Px2: Points) -> Box:
    """The smallest upright box around the points."""
    (left, top), (right, bottom) = points_Px2.min(axis=0).tolist(), points_Px2.max(axis=0).tolist()
    return left, top, right, bottom


def iou(box: Box, other: Box) -> float:
    """Intersection over union, 0 to 1; 0 for boxes without area."""
    common = _area(_intersection(box, other))
    union = _area(box) + _area(other) - common
    return common / union if union > 0 else 0.0


def overlap(box: Box, other: Box) -> float:
    """The share of the smaller box that the other covers, 0 to 1: 1 for a small face before a large one."""
    smaller = min(_area(box), _area(other))
    return _area(_intersection(box, other)) / smaller if smaller > 0 else 0.0


def share_inside(box: Box, *, width_px: int, height_px: int) -> float:
    """The share of the box that lies in the picture, 0 to 1."""
    area = _area(box)
    inside = _area(_intersection(box, (0.0, 0.0, float(width_px), float(height_px))))
    return inside / area if area > 0 else 0.0


def stand_apart(boxes: Sequence[Box], *, max_overlap: float) -> list[bool]:
    """For each box, whether it overlaps no other one by more than that."""
    return [
        all(overlap(box, other) <= max_overlap for at, other in enumerate(boxes) if at != index)
        for index, box in enumerate(boxes)
    ]


def iou_with_many(box_4: Points, boxes_Nx4: Points) -> Points:
    """(N,) intersection over union of one box with N."""
    sides = np.minimum(box_4[2:], boxes_Nx4[:, 2:]) - np.maximum(box_4[:2], boxes_Nx4[:, :2])
    common = np.prod(np.maximum(sides, 0), axis=1)
    union = np.prod(box_4[2:] - box_4[:2]) + np.prod(boxes_Nx4[:, 2:] - boxes_Nx4[:, :2], axis=1) - common
    shares: Points = np.divide(common, union, out=np.zeros(len(boxes_Nx4)), where=union > 0)
    return shares


def _intersection(box: Box, other: Box) -> Box:
    return (max(box[0], other[0]), max(box[1], other[1]), min(box[2], other[2]), min(box[3], other[3]))


def _area(box: Box) -> float:
    return max(0.0, box[2] - box[0]) * max(0.0, box[3] - box[1])
