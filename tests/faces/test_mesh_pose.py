from types import SimpleNamespace

import cv2
import numpy as np
from scipy.spatial.transform import Rotation

from mien.faces.align import crop_contract, template_points_5x2_px
from mien.faces.face_mesh import five_points
from mien.faces.mesh_pose import RIGID_POINTS, frontal_pictures, mean_mesh, normalised_mesh
from mien.faces.warp import fit_similarity, map_points

NAMES = SimpleNamespace(detector="", detector_sha256="", landmarker="", landmarker_sha256="")


def test_pose_scale_and_place_leave_nothing():
    turned = Rotation.from_euler("xyz", (20, -35, 10), degrees=True).apply(mean_mesh()) * 61.0 + (
        300,
        200,
        -4,
    )
    assert np.abs(normalised_mesh(turned[None])).max() < 1e-4


def test_what_other_points_do_is_kept_whatever_the_pose():
    moved = mean_mesh().astype(float).copy()
    lips = [61, 291, 13, 14]
    moved[lips] += (0.02, -0.05, 0.01)
    turn = Rotation.from_euler("xyz", (-10, 25, 5), degrees=True)
    (left,) = normalised_mesh((turn.apply(moved) * 40.0 + 7.0)[None])
    np.testing.assert_allclose(left[lips], np.tile((0.02, -0.05, 0.01), (4, 1)), atol=1e-5)


def test_the_rotation_is_that_of_scipy():
    random = np.random.default_rng(0)
    mesh = mean_mesh() + random.normal(0, 0.02, (468, 3))
    rigid = list(RIGID_POINTS)
    source = mesh[rigid] - mesh[rigid].mean(axis=0)
    target = mean_mesh()[rigid] - mean_mesh()[rigid].mean(axis=0)
    expected, _ = Rotation.align_vectors(target, source)
    (ours,) = normalised_mesh(mesh[None]) + mean_mesh()
    turned = expected.apply(mesh - mesh[rigid].mean(axis=0))
    scale = np.ptp(ours[:, 0]) / np.ptp(turned[:, 0])
    np.testing.assert_allclose(ours - ours[rigid].mean(axis=0), turned * scale, atol=1e-5)


def test_a_mesh_of_one_point_is_nan():
    assert np.isnan(normalised_mesh(np.ones((1, 468, 3)))).all()


def test_the_mean_mesh_is_symmetric():
    mirrored = mean_mesh() * (-1, 1, 1)
    nearest = np.square(mirrored[:, None] - mean_mesh()[None]).sum(axis=2).min(axis=1)
    assert np.sqrt(nearest).max() < 1e-6


def frontal_spots(yaw, pitch):
    """Where lid and mouth corners, drawn into the crop of a turned mean face, come to lie, (6, 2)."""
    contract = crop_contract(NAMES)
    mesh = Rotation.from_euler("xyz", (pitch, yaw, 8), degrees=True).apply(mean_mesh()) * 60 + (300, 200, 0)
    to_crop = fit_similarity(five_points(mesh), template_points_5x2_px(contract))
    crop = np.zeros((256, 256, 3), np.uint8)
    for x, y in map_points(to_crop, mesh[[33, 133, 362, 263, 61, 291], :2]):
        cv2.circle(crop, (round(x), round(y)), 4, (255, 255, 255), -1)
    (picture,) = frontal_pictures(crop[None], mesh[None], contract)
    found = cv2.connectedComponentsWithStats((picture > 60).astype(np.uint8))[3][1:]
    return found[np.lexsort((found[:, 0], found[:, 1] > 36))]


def test_a_frontal_picture_shows_the_same_places_in_every_pose():
    level = frontal_spots(0, 0)
    np.testing.assert_allclose(level[:, 0] + level[[3, 2, 1, 0, 5, 4], 0], 79, atol=1)  # about the middle
    for yaw, pitch in ((25, 0), (-25, 0), (0, 15), (20, -10)):
        np.testing.assert_allclose(frontal_spots(yaw, pitch), level, atol=2.5)
