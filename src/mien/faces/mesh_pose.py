"""The face set upright and frontal, its mesh and its picture: what is left is its shape and what it does.

For the mesh a similarity in three dimensions brings points that expressions hardly move (lid corners, bridge
of the nose, forehead, upper outline) to those of a mean face: least squares with a closed form (Umeyama, PAMI
1991). For the picture the same points give a camera that looks at a smooth mean face.
"""

from __future__ import annotations

from functools import cache
from importlib import resources

import cv2
import numpy as np
from numpy.typing import NDArray

from mien.faces.align import template_points_5x2_px
from mien.faces.contract import CropContract
from mien.faces.face_mesh import five_points
from mien.faces.warp import fit_similarity, map_points

Meshes = NDArray[np.float32]

RIGID_POINTS = (33, 133, 362, 263, 6, 168, 197, 195, 5, 10, 109, 338, 151, 234, 454, 127, 356, 162, 389)
"""Rows of the mesh."""

FRONTAL_HW = (72, 80)
_FRONTAL_STEP = 1 / 48  # of a pixel, in distances between the outer lid corners
_FRONTAL_TOP = -0.45


@cache
def mean_mesh() -> Meshes:
    """(468, 3): the mean of rendered faces, frontal and symmetric; outer lid corners 1 apart, y down.

    The origin lies between the lid corners.
    """
    stored = resources.files("mien.faces").joinpath("mean_mesh.npy")
    with resources.as_file(stored) as path:
        mesh: Meshes = np.load(path, allow_pickle=False)
    return mesh


def normalised_mesh(mesh_N468x3: NDArray[np.floating]) -> Meshes:
    """(N, 468, 3): meshes in any scale and pose, aligned with the mean mesh, less the mean mesh.

    x to the right, y down, z away from the camera, all on one scale. A mesh whose rigid points coincide
    gives NaN.
    """
    rigid, target_3 = list(RIGID_POINTS), mean_mesh()[list(RIGID_POINTS)].mean(axis=0)
    source_N13 = mesh_N468x3[:, rigid].astype(np.float64).mean(axis=1, keepdims=True)
    source = mesh_N468x3[:, rigid] - source_N13
    target = mean_mesh()[rigid].astype(np.float64) - target_3
    left, singular_N3, right = np.linalg.svd(np.einsum("nki,kj->nij", source, target))
    handed_N = np.sign(np.linalg.det(left) * np.linalg.det(right))  # a rotation, never a reflection
    left[:, :, 2] *= handed_N[:, None]
    singular_N3[:, 2] *= handed_N
    with np.errstate(invalid="ignore", divide="ignore"):
        scale_N = singular_N3.sum(axis=1) / np.square(source).sum(axis=(1, 2))
    aligned = (mesh_N468x3 - source_N13) @ (left @ right) * scale_N[:, None, None] + target_3
    return np.asarray(aligned - mean_mesh(), dtype=np.float32)


def frontal_pictures(
    crops_NHWC: NDArray[np.uint8], mesh_N468x3: NDArray[np.floating], contract: CropContract
) -> NDArray[np.uint8]:
    """(N, 72, 80), grey: crops as seen from the front, from above the brows to the lower lip.

    A pixel shows the same place of every face; the middle of the picture is the middle of the face.
    """
    surface_P4, to_camera_4R = _frontal_surface()
    small_px, template_5x2 = contract.crop_size_px // 2, template_points_5x2_px(contract)
    found_NHW = np.empty((len(crops_NHWC), *FRONTAL_HW), np.uint8)
    for crop_HWC, mesh_468x3, found_HW in zip(crops_NHWC, mesh_N468x3, found_NHW, strict=True):
        small_HWC = cv2.resize(crop_HWC, (small_px, small_px), interpolation=cv2.INTER_AREA)
        to_crop = fit_similarity(five_points(mesh_468x3), template_5x2)
        rigid_R2 = (map_points(to_crop, mesh_468x3[list(RIGID_POINTS), :2]) + 0.5) / 2 - 0.5
        at_HW2 = (surface_P4 @ (to_camera_4R @ rigid_R2)).astype(np.float32).reshape(*FRONTAL_HW, 2)
        grey_HW = cv2.cvtColor(small_HWC, cv2.COLOR_RGB2GRAY)
        cv2.remap(grey_HW, at_HW2, None, cv2.INTER_LINEAR, dst=found_HW, borderMode=cv2.BORDER_REPLICATE)
    return found_NHW


@cache
def _frontal_surface() -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """A smooth face without a nose, one point (x, y, z, 1) for each pixel; and what fits cameras to it.

    The second, (4, R), makes an affine camera (4, 2) of the places (R, 2) of the rigid points.
    """

    def terms(x: NDArray[np.floating], y: NDArray[np.floating]) -> NDArray[np.floating]:
        return np.stack([np.ones_like(x), y, y**2, y**3, x**2, x**2 * y, x**4, x**2 * y**2], axis=-1)

    mesh = mean_mesh().astype(np.float64)
    x, y, z = mesh.T
    beside_nose = (np.abs(x) > 0.18) | (y < -0.05) | (y > 0.55)
    shown = beside_nose & (np.abs(x) < 0.75) & (y > -0.55) & (y < 1.1)
    curve = np.linalg.lstsq(terms(x[shown], y[shown]), z[shown], rcond=None)[0]
    height, width = FRONTAL_HW
    down, across = np.mgrid[:height, :width].reshape(2, -1).astype(np.float64)
    x, y = (across - (width - 1) / 2) * _FRONTAL_STEP, _FRONTAL_TOP + (down + 0.5) * _FRONTAL_STEP
    surface_P4 = np.stack([x, y, terms(x, y) @ curve, np.ones_like(x)], axis=1)
    rigid_R3 = mesh[list(RIGID_POINTS)]
    return surface_P4, np.linalg.pinv(np.column_stack([rigid_R3, np.ones(len(rigid_R3))]))
