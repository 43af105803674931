"""Crops to calibrate and to check on: spread over the sources, and apart."""

import numpy as np
import pytest

from mien.data.sources import SourceError
from mien.data.store import TrackStore
from mien.detect.crops import gather_crops
from mien.faces.contract import ContractMismatchError
from mien.train.encoder_file import load_encoder
from tests.detect.tiny_model import tiny_model


def test_no_track_lends_crops_to_both_sides(disc_store, disc_encoder, monkeypatch):
    """Crops that show the number of their track."""

    def numbered(store, track, positions, *, size_px=None):
        return np.full((len(positions), 64, 64, 3), track, np.uint8)

    monkeypatch.setattr(TrackStore, "read_frames", numbered)
    crops = gather_crops([disc_store], load_encoder(disc_encoder), num_crops=48)
    assert crops.calibration_NHWC.shape == crops.check_NHWC.shape == (24, 64, 64, 3)
    first, second = (set(np.unique(half).tolist()) for half in (crops.calibration_NHWC, crops.check_NHWC))
    assert not first & second
    assert first | second == set(range(12))


def test_fewer_crops_than_tracks_come_from_as_many_tracks(disc_store, disc_encoder):
    crops = gather_crops([disc_store], load_encoder(disc_encoder), num_crops=8)
    assert len(crops.calibration_NHWC) + len(crops.check_NHWC) == 8


def test_too_few_faces_and_other_crops_are_refused(disc_store, disc_encoder, tmp_path):
    import cv2

    encoder = load_encoder(disc_encoder)
    with pytest.raises(SourceError, match=r"too few faces in .*: it takes 8"):
        gather_crops([disc_store], encoder, num_crops=4)
    other = tiny_model(encoder.contract).encoder
    cv2.imwrite(str(tmp_path / "grey.png"), np.full((64, 64, 3), 128, np.uint8))
    with pytest.raises(ContractMismatchError, match="faces found now"):
        gather_crops([tmp_path / "grey.png"], other, num_crops=8)
