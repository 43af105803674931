"""The model's file: what is saved comes back, and what is no model says so."""

import dataclasses
import json

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from mien.detect.au_model import load_au_model, save_au_model
from mien.detect.calibration import Calibration, Curve
from mien.detect.engines import open_engine
from mien.detect.network import build_network
from mien.train.tensor_file import TensorFileError, write_arrays
from tests.detect.tiny_model import UNITS, tiny_model


def _outputs(model, path, crops):
    return open_engine("torch", model, model_path=path)(crops)


def _parts(path):
    with safe_open(path, framework="np") as file:
        record = json.loads(file.metadata()["mien"])
        return {name: file.get_tensor(name) for name in file.keys()}, record  # noqa: SIM118


def test_a_loaded_model_gives_the_saved_ones_outputs_and_readings_bit_for_bit(model, model_path, crops):
    loaded = load_au_model(model_path)
    outputs_NK = _outputs(model, model_path, crops)
    assert np.array_equal(_outputs(loaded, model_path, crops), outputs_NK)
    ours, theirs = model.read(outputs_NK), loaded.read(outputs_NK)
    assert np.array_equal(ours.probability_NA, theirs.probability_NA)
    assert np.array_equal(ours.intensity_NA, theirs.intensity_NA, equal_nan=True)
    assert np.array_equal(model.threshold_A, loaded.threshold_A)
    assert (loaded.units, loaded.columns) == (UNITS, ("AU01", "AU04", "AU12", "AU25"))
    assert loaded.record == model.record
    assert loaded.inputs == model.inputs
    assert loaded.source == str(model_path)


def test_saving_twice_gives_the_same_bytes_and_digest(model, model_path, tmp_path):
    save_au_model(tmp_path / "again.safetensors", load_au_model(model_path))
    assert (tmp_path / "again.safetensors").read_bytes() == model_path.read_bytes()
    assert load_au_model(model_path).digest == model.digest


def test_readings_are_calibrated_clipped_and_nan_where_never_coded(model):
    outputs_NK = np.array([[0.4, 1.0, 1.0, 0.0, -1.0, 2.0, 7.0, 1.0]], np.float32)
    readings = model.read(outputs_NK)
    log_odds = np.array([[1.5 * 0.4 - 0.5, 0.7, 0.25, -0.5]])  # platt, temperature, half-way between knots
    assert np.allclose(readings.probability_NA, 1 / (1 + np.exp(-log_odds)), atol=1e-6)
    assert np.array_equal(readings.intensity_NA, [[0.0, 2.0, 5.0, np.nan]], equal_nan=True)


def test_present_is_above_the_threshold_not_at_it(model):
    exactly = model.threshold_A[None]
    assert not model.present(exactly).any()
    assert model.present(np.nextafter(exactly, np.float32(1))).all()


def test_recalibrating_changes_the_digest_but_not_the_networks(model):
    other = dataclasses.replace(model, calibration=Calibration.none(4))
    assert other.digest != model.digest
    assert other.network_digest == model.network_digest
    assert tiny_model(model.contract, seed=1).network_digest != model.network_digest


def test_a_model_that_lies_about_its_parts_is_refused(model):
    with pytest.raises(ValueError, match=r"a tiny model: .* each of 4 units"):
        dataclasses.replace(model, threshold_A=model.threshold_A[:3])
    with pytest.raises(ValueError, match="each once"):
        dataclasses.replace(model, units=(1, 1, 4, 12))
    with pytest.raises(ValueError, match="no action unit 3"):
        dataclasses.replace(model, units=(1, 3, 4, 12))
    with pytest.raises(ValueError, match=r"expected \(N, 8\)"):
        model.read(np.zeros((2, 4), np.float32))


def test_a_curve_has_to_rise():
    with pytest.raises(ValueError, match="rising"):
        Curve("platt", -1.0)
    with pytest.raises(ValueError, match="rising"):
        Curve("isotonic", 1.0, 0.0, np.array([[0.0, 1.0], [1.0, 0.0]]))
    with pytest.raises(ValueError, match="known: as it is"):
        Curve("astrology")


def test_a_line_after_a_curve_is_one_curve():
    logits = np.linspace(-3, 3, 50)
    knots = np.array([[-1.0, -2.0], [1.0, 0.5]])
    curve, line = Curve("isotonic", 1.0, 0.2, knots), Curve("platt", 0.8, -0.3)
    assert np.allclose(curve.followed_by(line).log_odds(logits), line.log_odds(curve.log_odds(logits)))


def test_other_files_are_refused_by_name(model, model_path, disc_encoder, tmp_path):
    with pytest.raises(
        TensorFileError, match=r"encoder\.safetensors holds a mien encoder; expected a mien AU"
    ):
        load_au_model(disc_encoder)
    torch.save({}, tmp_path / "model.pth")
    with pytest.raises(TensorFileError, match=r"model\.pth is a pickle"):
        load_au_model(tmp_path / "model.pth")
    with pytest.raises(FileNotFoundError):
        load_au_model(tmp_path / "nothing.safetensors")


def test_one_changed_weight_is_damage(model_path, tmp_path):
    content = bytearray(model_path.read_bytes())
    content[-3] ^= 1
    (tmp_path / "bent.safetensors").write_bytes(content)
    with pytest.raises(TensorFileError, match=r"bent\.safetensors is damaged"):
        load_au_model(tmp_path / "bent.safetensors")


def _of_backbone(backbone):
    return {"network_settings": {"backbone": backbone, "training": {}}}


def test_a_record_that_does_not_fit_is_refused_even_with_a_right_hash(model_path, tmp_path):
    from mien.detect.au_model import content_sha256

    for change, message in {
        "wide": (_of_backbone({"name": "resnet18", "width": 1_000_000}), "weights do not fit backbone"),
        "odd": (_of_backbone({"name": "resnet19", "width": 4}), "did you mean 'resnet18'"),
        "other": ({"network": "nothing"}, "knows no network 'nothing'"),
        "named": ({"outputs": [["logit", ["AU01", "AU04", "AU25", "AU12"]]]}, "begin with the logits"),
        "units": ({"units": [1, 4, 12]}, "do not fit together"),
        "text": ({"units": "none"}, "units"),
        "extra": ({"run": "os.system('true')"}, "unknown key 'run'"),
        "format": ({"format": 7}, "format 7; this mien reads 2"),
        "size": ({"input_size_px": 10**9}, "pictures of"),
    }.items():
        changes, words = message
        tensors, record = _parts(model_path)
        del record["content_sha256"]
        kind = record.pop("kind")
        record |= changes
        path = tmp_path / f"{change}.safetensors"
        write_arrays(path, tensors, record | {"content_sha256": content_sha256(tensors, record)}, kind=kind)
        with pytest.raises(TensorFileError, match=words) as caught:
            build_network(load_au_model(path))
        assert str(path) in str(caught.value)


def test_a_file_without_a_record_or_with_a_broken_one_is_refused(tmp_path):
    for name, metadata in {"none": None, "text": {"mien": "{"}, "list": {"mien": "[]"}}.items():
        path = tmp_path / f"{name}.safetensors"
        save_file({"x": torch.zeros(1)}, path, metadata=metadata)
        with pytest.raises(TensorFileError, match=f"{name}.safetensors"):
            load_au_model(path)
