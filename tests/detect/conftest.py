"""A tiny model, made once, and crops for it."""

import numpy as np
import pytest

from mien.faces.contract import CropContract
from tests.detect.tiny_model import tiny_model, write_tiny_model
from tests.evaluate.conftest import planted  # noqa: F401
from tests.points_beside import CONTRACT, PointsTracking

SMALL_CONTRACT = CropContract(
    "d", "1", "m", "2", ((0.3, 0.4), (0.7, 0.4), (0.5, 0.6), (0.35, 0.8), (0.65, 0.8)), 0.2, 64
)


@pytest.fixture(scope="session")
def model():
    return tiny_model(SMALL_CONTRACT)


@pytest.fixture(scope="session")
def model_path(tmp_path_factory):
    return write_tiny_model(tmp_path_factory.mktemp("model"), contract=SMALL_CONTRACT)


class KeptIds:
    """A PersonLinker that leaves the tracks as they are."""

    def __init__(self, **_settings):
        pass

    def link(self, frames):
        return frames


@pytest.fixture
def points_beside(monkeypatch):
    """Every Detector of this process takes faces and their ids from the points beside its videos."""
    monkeypatch.setattr("mien.detect.detector.FaceTracking", PointsTracking)
    monkeypatch.setattr("mien.detect.detector.PersonLinker", KeptIds)


@pytest.fixture(scope="session")
def crops():
    """Coarse patterns, so that resizing leaves something of them."""
    coarse = np.random.default_rng(0).integers(0, 256, (9, 8, 8, 3), dtype=np.uint8)
    return coarse.repeat(8, axis=1).repeat(8, axis=2)


@pytest.fixture(scope="session")
def beside_model(tmp_path_factory):
    """The file of a tiny model for faces whose points lie beside the video."""
    return write_tiny_model(tmp_path_factory.mktemp("beside"), contract=CONTRACT)
