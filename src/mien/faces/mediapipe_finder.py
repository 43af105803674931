"""The default finder: MediaPipe's BlazeFace (full range) and Face Mesh through LiteRT, one thread."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mien.faces.blaze_face import BlazeFace
from mien.faces.face_mesh import FaceMesh
from mien.faces.finder import Detection, Mesh, Region
from mien.faces.models import FaceModels


class MediaPipeFinder:
    """A FaceFinder; it can be pickled, and loads its weights again where it arrives."""

    detector = "MediaPipe BlazeFace full range"
    landmarker = "MediaPipe Face Mesh 468"

    def __init__(self, models: FaceModels, *, min_detection_score: float = 0.4) -> None:
        self.models = models
        self.min_detection_score = min_detection_score
        self._blaze_face = BlazeFace(models.detector.path, min_score=min_detection_score)
        self._face_mesh = FaceMesh(models.mesh.path)

    @property
    def detector_sha256(self) -> str:
        """Hash of BlazeFace's file."""
        return self.models.detector.sha256

    @property
    def landmarker_sha256(self) -> str:
        """Hash of Face Mesh's file."""
        return self.models.mesh.sha256

    def detect(self, image_HWC: NDArray[np.uint8]) -> list[Detection]:
        """All faces of the picture, best first."""
        return self._blaze_face.detect(image_HWC)

    def detect_small(self, image_HWC: NDArray[np.uint8], *, min_face_px: float) -> list[Detection]:
        """Faces too small for `detect` in so large a picture, searched for in tiles, largest first."""
        return self._blaze_face.detect_small(image_HWC, min_face_px=min_face_px)

    def mesh(self, image_HWC: NDArray[np.uint8], region: Region) -> Mesh | None:
        """The face in `region`, whatever its score; None where the region leaves the picture."""
        return self._face_mesh.measure(image_HWC, region)

    def __reduce__(self) -> tuple[object, ...]:
        return _finder, (self.models, self.min_detection_score)


def _finder(models: FaceModels, min_detection_score: float) -> MediaPipeFinder:
    return MediaPipeFinder(models, min_detection_score=min_detection_score)
