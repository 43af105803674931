import numpy as np
from scipy.spatial.transform import Rotation

from mien.faces.mesh_pose import RIGID_POINTS, mean_mesh, normalised_mesh


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
