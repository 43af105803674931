"""Crops to calibrate and to check on: spread over the sources, and apart."""

import numpy as np
import pytest

from mien.data.sources import SourceError
from mien.data.store import TrackStore
from mien.detect.export import gather_faces
from mien.faces.contract import ContractMismatchError
from mien.train.encoder_file import load_encoder
from tests.detect.tiny_model import tiny_face_model, tiny_model


@pytest.fixture(scope="module")
def of_discs(disc_encoder):
    return tiny_model(load_encoder(disc_encoder).contract)


def test_no_track_lends_crops_to_both_sides(disc_store, of_discs, monkeypatch):
    """Crops that show the number of their track."""

    def numbered(store, track, positions, *, size_px=None):
        return np.full((len(positions), 64, 64, 3), track, np.uint8)

    monkeypatch.setattr(TrackStore, "read_frames", numbered)
    halves = gather_faces([disc_store], of_discs, num_faces=48)
    assert [half.crops_NHWC.shape for half in halves] == [(24, 64, 64, 3)] * 2
    first, second = (set(np.unique(half.crops_NHWC).tolist()) for half in halves)
    assert not first & second
    assert first | second == set(range(12))


def test_fewer_crops_than_tracks_come_from_as_many_tracks(disc_store, of_discs):
    assert sum(map(len, gather_faces([disc_store], of_discs, num_faces=8))) == 8


def test_too_few_faces_and_other_crops_are_refused(disc_store, of_discs, tmp_path):
    import cv2

    with pytest.raises(SourceError, match=r"too few faces in .*: it takes 8"):
        gather_faces([disc_store], of_discs, num_faces=4)
    cv2.imwrite(str(tmp_path / "grey.png"), np.full((64, 64, 3), 128, np.uint8))
    with pytest.raises(ContractMismatchError, match="faces found now"):
        gather_faces([tmp_path / "grey.png"], of_discs, num_faces=8)


def test_a_store_has_no_meshes_for_a_model_that_uses_them(disc_store, of_discs):
    with pytest.raises(SourceError, match=r"a store has no face meshes, which a tiny face model uses"):
        gather_faces([disc_store], tiny_face_model(of_discs.contract), num_faces=8)
