"""Faces of a single picture, cropped as those of a video are."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mien.faces.align import crop_contract, crop_face
from mien.faces.finder import FaceFinder, Mesh

MIN_SCORE = 0.5


@dataclass(frozen=True, eq=False)
class PictureFace:
    """A face found in a picture."""

    mesh: Mesh
    crop_HWC: NDArray[np.uint8]  # 256 x 256 x 3 RGB


def picture_faces(image_HWC: NDArray[np.uint8], finder: FaceFinder) -> Iterator[PictureFace]:
    """The faces of a uint8 RGB picture, best detection first; none where the mesh finds no face.

    The mesh looks twice, the second time at the region that the first found, as it would in a video.
    """
    contract = crop_contract(finder)
    for detection in finder.detect(image_HWC):
        first = finder.mesh(image_HWC, detection.region)
        mesh = finder.mesh(image_HWC, first.region) if first else None
        if mesh and mesh.score >= MIN_SCORE:
            yield PictureFace(mesh, crop_face(image_HWC, mesh.points_5x2_px, contract))
