from __future__ import annotations

import dataclasses
import hashlib
import json
import struct

import pytest
import torch

from mien.backbones import build_backbone
from mien.faces.contract import ContractMismatchError, CropContract, InputContract
from mien.train.encoder_file import (
    load_encoder,
    pretrained_among,
    record_of_people,
    save_encoder,
    warning_of_people,
)
from mien.train.tensor_file import TensorFileError

CONTRACT = CropContract("a", "1", "b", "2", ((0, 0), (1, 0), (0.5, 0.5), (0, 1), (1, 1)), 0.1)
INPUTS = InputContract(CONTRACT, 72, 64, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


@pytest.fixture
def saved(tmp_path):
    torch.manual_seed(0)
    backbone = build_backbone("resnet18", width=4)
    backbone(torch.randn(4, 3, 32, 32))  # running statistics move away from their start
    return save(tmp_path / "encoder.safetensors", backbone, {"steps_done": 3}), backbone.eval()


def save(path, backbone, training, *, width=4):
    settings = {"backbone_name": "resnet18", "backbone_settings": {"width": width}}
    save_encoder(path, backbone, inputs=INPUTS, training=training, **settings)
    return path


def test_a_loaded_encoder_gives_the_saved_ones_features(saved):
    path, backbone = saved
    encoder = load_encoder(path)
    images = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        assert torch.equal(encoder.backbone(images), backbone(images))
    assert not encoder.backbone.training
    assert (encoder.feature_dim, encoder.backbone_name) == (32, "resnet18")
    assert encoder.inputs == INPUTS
    assert encoder.training == {"steps_done": 3}
    assert all(not parameter.requires_grad for parameter in encoder.backbone.parameters())


def test_loading_does_not_move_the_global_generator(saved):
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    load_encoder(saved[0])
    assert torch.equal(torch.rand(3), expected)


def test_the_record_is_readable_json_in_the_header(saved):
    content = saved[0].read_bytes()
    (length,) = struct.unpack("<Q", content[:8])
    header = json.loads(content[8 : 8 + length])
    record = json.loads(header["__metadata__"]["mien"])
    assert record["kind"] == "mien encoder"
    assert record["backbone"] == {"name": "resnet18", "width": 4}
    assert CropContract.from_dict(record["crop_contract"]) == CONTRACT


def test_a_torch_checkpoint_is_refused_unopened(tmp_path):
    torch.save({"state_dict": {}}, tmp_path / "model.pth")
    with pytest.raises(TensorFileError, match=r"is a pickle.*expected a mien encoder"):
        load_encoder(tmp_path / "model.pth")


def test_weights_of_another_shape_are_refused(saved, tmp_path):
    path = save(tmp_path / "other.safetensors", saved[1], {}, width=8)
    with pytest.raises(TensorFileError, match="weights do not fit backbone 'resnet18'"):
        load_encoder(path)


@pytest.mark.parametrize("identities", [["anna"], "anna", None, 3, {"people": "anna"}, {"people": [3]}])
def test_an_odd_record_of_people_is_told_with_the_file(saved, tmp_path, identities):
    path = save(tmp_path / "odd.safetensors", saved[1], {"identities": identities})
    with pytest.raises(
        TensorFileError, match=r"odd\.safetensors: .* training\.identities is not a record of people"
    ):
        load_encoder(path)


def test_an_encoder_refuses_faces_cropped_otherwise(saved):
    other = dataclasses.replace(CONTRACT, margin=0.2)
    with pytest.raises(ContractMismatchError, match=r"margin: 0\.1 in .*encoder.*, 0\.2 in a store"):
        encoder = load_encoder(saved[0])
        encoder.contract.require_same(other, ours=encoder.source, theirs="a store")


def test_people_are_known_again_by_name_and_their_names_are_not_spelt_out():
    record = record_of_people(["anna", "ben", "anna", "zoë"])
    assert record["count"] == 3
    assert record["sha256"] == hashlib.sha256("anna\nben\nzoë".encode()).hexdigest()
    assert not any(name in json.dumps(record, ensure_ascii=False) for name in ("anna", "ben", "zoë"))
    training = {"identities": record}
    assert pretrained_among(training, ["zoë", "anna", "carl", "anna"]) == 2
    assert warning_of_people(training, ["zoë", "carl"]).startswith("1 of 2 people in the test")
    assert warning_of_people(training, ["carl"]) == ""


def test_of_more_people_than_are_listed_and_of_files_without_people_nothing_is_said(monkeypatch):
    monkeypatch.setattr("mien.train.encoder_file.MOST_LISTED", 2)
    assert "people" in record_of_people("ab")
    record = record_of_people("abc")
    assert record["count"] == 3
    assert "people" not in record
    for training in ({"identities": record}, {}):
        assert pretrained_among(training, "a") is None
        assert warning_of_people(training, "a") == ""
