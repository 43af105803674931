"""Warm where the map is warm, the face itself where it is cold."""

import numpy as np

from mien.visualise.activation_overlay import overlay


def test_a_cold_map_leaves_the_face_and_a_warm_corner_changes_that_corner():
    face = np.full((64, 64, 3), 120, np.uint8)
    assert (overlay(face, np.zeros((2, 2)), side_px=64) == 120).all()
    corner = overlay(face, np.array([[1.0, 0], [0, 0]]), side_px=64)
    assert (corner[:8, :8] != 120).any()
    assert (corner[-8:, -8:] == 120).all()
    assert corner.shape == (64, 64, 3)
