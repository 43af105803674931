"""Angles come back from a head turned by them, with the signs that the docs state."""

from __future__ import annotations

import numpy as np
import pytest

from mien.faces.face_mesh import pose_from_axes


def turned(yaw, pitch, roll):
    """R = Rz(roll) Ry(yaw) Rx(pitch): x right, y down, z away; yaw to the right, pitch up, roll clockwise."""
    yaw, pitch, roll = np.deg2rad([yaw, pitch, roll])
    about_x = np.array([[1, 0, 0], [0, np.cos(pitch), np.sin(pitch)], [0, -np.sin(pitch), np.cos(pitch)]])
    about_y = np.array([[np.cos(yaw), 0, -np.sin(yaw)], [0, 1, 0], [np.sin(yaw), 0, np.cos(yaw)]])
    about_z = np.array([[np.cos(roll), -np.sin(roll), 0], [np.sin(roll), np.cos(roll), 0], [0, 0, 1]])
    return about_z @ about_y @ about_x


ANGLES = [(0, 0, 0), (40, 0, 0), (0, 25, 0), (0, 0, -30), (-55, 20, 70), (15, -35, 170)]


@pytest.mark.parametrize("angles", ANGLES)
def test_axes_tell_the_angles(angles):
    rotation = turned(*angles)
    pose = pose_from_axes(2.5 * rotation[:, 0], 1.3 * rotation[:, 1] + 0.2 * rotation[:, 0])
    assert pose == pytest.approx(angles)


def test_the_nose_goes_where_the_signs_say():
    nose_from_eyes = np.array([0, 0.54, -0.68])  # z away from the camera
    assert (nose_from_eyes @ turned(30, 0, 0).T)[0] > 0  # yaw 30: to the right of the picture
    assert (nose_from_eyes @ turned(0, 30, 0).T)[1] < nose_from_eyes[1]  # pitch 30: up
