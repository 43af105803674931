"""The face mesh set upright and frontal: what is left of it is the face's shape and what the face does.

A similarity in three dimensions brings points that expressions hardly move (lid corners, bridge of the nose,
forehead, upper outline) to those of a mean face: least squares with a closed form (Umeyama, PAMI 1991).
"""

from __future__ import annotations

from functools import cache
from importlib import resources

import numpy as np
from numpy.typing import NDArray

Meshes = NDArray[np.float32]

RIGID_POINTS = (33, 133, 362, 263, 6, 168, 197, 195, 5, 10, 109, 338, 151, 234, 454, 127, 356, 162, 389)
"""Rows of the mesh."""


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
