"""Engines: all agree with torch; an exported one belongs to its model, and is refused when it differs."""

import contextlib
import dataclasses
import itertools
import json
import shutil
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from mien.detect import export
from mien.detect.au_model import input_pixels, load_au_model, save_au_model
from mien.detect.calibration import Calibration
from mien.detect.engines import EXPORTED_SUFFIX, EngineError, checked_file, open_engine, receipt_path
from mien.detect.export import TOLERANCES, Agreement, Faces, export_model, measure_agreement
from mien.detect.network import fitted_parts
from tests.detect.conftest import SMALL_CONTRACT
from tests.detect.tiny_model import tiny_model, write_tiny_model

ENGINES = list(EXPORTED_SUFFIX)
# an untrained network loses more in 8 bits than a trained one
FOR_NOISE = {"mean_difference": 0.1, "presence_agreement": 0.8, "max_difference": None}


@pytest.fixture(scope="session")
def model_path(tmp_path_factory):
    return write_tiny_model(tmp_path_factory.mktemp("wide"), contract=SMALL_CONTRACT, width=16)


@pytest.fixture(scope="session")
def exported(model_path, tmp_path_factory, crops):
    """`exported(engine)`: the folder with the tiny model exported for it, made once."""
    pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    folders = {}

    def make(engine):
        if engine not in folders:
            folders[engine] = tmp_path_factory.mktemp(engine)
            with pytest.MonkeyPatch.context() as patch:
                if engine == "onnx-int8":
                    patch.setitem(TOLERANCES, engine, FOR_NOISE)
                _export(model_path, engine, crops, folders[engine])
        return folders[engine]

    return make


def _export(path, engine, crops, out):
    arguments = {"calibration": Faces(crops), "check": Faces(crops[::-1]), "crops_from": "patterns"}
    return export_model(load_au_model(path), path, engine, **arguments, out=out)


@pytest.mark.parametrize("engine", ENGINES)
def test_an_exported_model_agrees_with_torch(engine, exported, crops):
    path = exported(engine) / "tiny.safetensors"
    model = load_au_model(path)
    expected = open_engine("torch", model, model_path=path)(crops)
    run = open_engine(engine, model, model_path=path, threads=1)
    found = run(crops)
    assert found.dtype == np.float32
    assert found.shape == expected.shape
    if engine == "onnx-int8":
        assert 1e-6 < np.abs(found - expected).max() < 0.2 * np.ptp(expected)
    else:
        assert np.allclose(found, expected, atol=1e-3)
    for count in (0, 1, 5):
        assert np.allclose(run(crops[:count]), found[:count], atol=1e-4)


@pytest.mark.parametrize("engine", ENGINES)
def test_the_receipt_states_the_agreement_that_was_reached(engine, exported, crops):
    path = exported(engine) / "tiny.safetensors"
    receipt = json.loads(receipt_path(path, engine).read_text())
    again = measure_agreement(load_au_model(path), path, engine, Faces(crops[::-1]))
    assert receipt["agreement"]["num_crops"] == len(crops)
    assert receipt["agreement"]["max_difference"] == pytest.approx(again.max_difference, abs=1e-5)
    assert receipt["agreement"]["mean_difference"] <= receipt["tolerance"]["mean_difference"]
    assert receipt["agreement"]["presence_agreement"] >= receipt["tolerance"]["presence_agreement"]
    assert receipt["network_digest"] == load_au_model(path).network_digest
    assert receipt["num_calibration_crops"] == len(crops)


def test_eight_bits_give_the_same_numbers_on_any_number_of_threads(exported, crops):
    path = exported("onnx-int8") / "tiny.safetensors"
    model = load_au_model(path)
    expected = open_engine("onnx-int8", model, model_path=path, threads=1)(crops)
    for threads in (None, 2):
        run = open_engine("onnx-int8", model, model_path=path, threads=threads)
        assert all(np.array_equal(run(crops), expected) for _ in range(3))


def test_agreement_is_that_of_the_readings(exported, crops):
    path = exported("onnx-int8") / "tiny.safetensors"
    model = load_au_model(path)
    probabilities = []
    for engine in ("torch", "onnx-int8"):
        run = open_engine(engine, model, model_path=path)
        probabilities.append(model.read(run(crops)).probability_NA)
    ours, theirs = probabilities
    found = measure_agreement(model, path, "onnx-int8", Faces(crops))
    assert found.max_difference == pytest.approx(np.abs(ours - theirs).max())
    assert found.mean_difference == pytest.approx(np.abs(ours - theirs).mean())
    assert found.presence_agreement == ((ours > model.threshold_A) == (theirs > model.threshold_A)).mean()


def test_an_export_beyond_its_tolerance_leaves_nothing_behind(exported, tmp_path, crops, monkeypatch):
    folder = exported("onnx-int8")
    file = folder / "tiny.onnx-int8.onnx"
    monkeypatch.setattr(export, "_write_network", lambda *given: shutil.copyfile(file, given[2]))
    monkeypatch.setitem(TOLERANCES, "onnx-int8", FOR_NOISE | {"max_difference": 1e-9})
    with pytest.raises(EngineError, match=r"on onnx-int8 was not kept: probabilities differ from torch's by"):
        _export(folder / "tiny.safetensors", "onnx-int8", crops, tmp_path)
    assert list(tmp_path.iterdir()) == []


@contextlib.contextmanager
def killed_before(folder, step):
    """A kill before the so manieth change of a name in the folder."""
    steps = itertools.count()
    with pytest.MonkeyPatch.context() as patch:

        def counted(owner, name, place):
            real = getattr(owner, name)

            def change(*given, **more):
                if Path(given[place]).parent == folder and next(steps) == step:
                    raise KeyboardInterrupt
                return real(*given, **more)

            patch.setattr(owner, name, change)

        counted(Path, "replace", 1)
        counted(Path, "unlink", 0)
        counted(shutil, "copyfile", 1)
        with contextlib.suppress(KeyboardInterrupt):
            yield


def test_an_export_killed_anywhere_leaves_the_old_one_the_new_one_or_one_that_is_refused(
    model, crops, tmp_path, monkeypatch
):
    written = []  # the number of the export is all that its file contains
    monkeypatch.setattr(export, "_write_network", lambda *given: given[2].write_text(str(written[-1])))
    monkeypatch.setattr(export, "measure_agreement", lambda *_: Agreement(1, 0.0, 0.0, 1.0))
    models = [model, dataclasses.replace(model, threshold_A=model.threshold_A / 2)]
    for number, one in enumerate(models):
        (tmp_path / str(number)).mkdir()
        save_au_model(tmp_path / f"{number}/tiny.safetensors", one)
    out, fates = tmp_path / "out", []
    while "new" not in fates:
        shutil.rmtree(out, ignore_errors=True)
        for number in range(2):
            written.append(number)
            with killed_before(out, len(fates) if number else -1):
                _export(tmp_path / f"{number}/tiny.safetensors", "onnx", crops, out)
        kept = load_au_model(out / "tiny.safetensors")
        try:
            content = int(checked_file("onnx", kept, out / "tiny.safetensors").read_text())
        except EngineError as error:
            assert "mien export" in str(error)
            fates.append("refused")
        else:
            assert content == (0 if np.array_equal(kept.threshold_A, model.threshold_A) else 1)
            fates.append("new" if content else "old")
    assert fates == sorted(fates, key=["old", "refused", "new"].index)
    assert len(fates) >= 4


def test_nothing_exported_is_an_error_that_says_how(model, model_path):
    for engine in ENGINES:
        with pytest.raises(
            EngineError, match=rf"tiny\.{engine}\.json: no such file.*\n  mien export .* --engine {engine}"
        ):
            open_engine(engine, model, model_path=model_path)


def test_files_of_another_model_are_refused(exported, tmp_path):
    folder = exported("onnx")
    for file in folder.iterdir():
        shutil.copyfile(file, tmp_path / file.name)
    other = tiny_model(SMALL_CONTRACT, seed=1, width=16)
    save_au_model(tmp_path / "tiny.safetensors", other)
    with pytest.raises(EngineError, match=r"tiny\.onnx\.json belongs to another model"):
        open_engine("onnx", other, model_path=tmp_path / "tiny.safetensors")


def test_a_recalibrated_model_runs_the_same_exported_network(exported, tmp_path, crops):
    folder = exported("onnx")
    for file in folder.iterdir():
        shutil.copyfile(file, tmp_path / file.name)
    model = load_au_model(folder / "tiny.safetensors")
    save_au_model(tmp_path / "tiny.safetensors", dataclasses.replace(model, calibration=Calibration.none(4)))
    again = load_au_model(tmp_path / "tiny.safetensors")
    assert open_engine("onnx", again, model_path=tmp_path / "tiny.safetensors")(crops).shape == (
        len(crops),
        8,
    )


@pytest.mark.parametrize("engine", ENGINES)
def test_a_changed_or_missing_file_is_refused_before_the_engine_sees_it(engine, exported, tmp_path):
    folder = exported(engine)
    for file in folder.iterdir():
        shutil.copyfile(file, tmp_path / file.name)
    path = tmp_path / "tiny.safetensors"
    model = load_au_model(path)
    (file,) = tmp_path.glob("*.onnx")
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 255
    file.write_bytes(content)
    with pytest.raises(EngineError, match=rf"{file.name} is damaged or changed"):
        open_engine(engine, model, model_path=path)
    file.unlink()
    with pytest.raises(EngineError, match=rf"{file.name} is missing"):
        open_engine(engine, model, model_path=path)
    for text in ("{", "[]", "{}", '{"kind": "mien exported model", "files": 3}', "[" * 100_000):
        receipt_path(path, engine).write_text(text)
        with pytest.raises(EngineError, match=rf"tiny\.{engine}\.json is n"):
            open_engine(engine, model, model_path=path)


@pytest.mark.parametrize("engine", ENGINES)
def test_a_missing_package_says_what_to_install(engine, exported, monkeypatch):
    path = exported(engine) / "tiny.safetensors"
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(EngineError, match=r"pip install 'mien\[train\]'"):
        open_engine(engine, load_au_model(path), model_path=path)


def test_torch_has_nothing_to_export(model_path, crops, tmp_path):
    with pytest.raises(EngineError, match="cannot export to 'torch'"):
        _export(model_path, "torch", crops, tmp_path)


def test_torch_gives_the_network_of_resized_cut_normalised_crops(model, model_path, crops):
    frames = np.stack([cv2.resize(crop, (36, 36), interpolation=cv2.INTER_AREA) for crop in crops])
    parts = fitted_parts(model)
    centre = (frames[:, 2:34, 2:34] / 255.0 - model.inputs.mean) / model.inputs.std
    with torch.no_grad():
        features = parts.encoder.backbone(torch.from_numpy(centre).float().permute(0, 3, 1, 2))
        expected = torch.cat([parts.head(features), parts.intensity(features)], dim=1)
    found = open_engine("torch", model, model_path=model_path)(crops)
    assert found.dtype == np.float32
    assert np.allclose(found, expected.numpy(), atol=1e-4)


def test_no_crops_give_no_rows(model, model_path):
    nothing = np.zeros((0, 64, 64, 3), np.uint8)
    assert open_engine("torch", model, model_path=model_path)(nothing).shape == (0, 8)


def test_crops_of_another_size_or_type_are_refused(model):
    for crops in (np.zeros((1, 32, 32, 3), np.uint8), np.zeros((1, 64, 64, 3), np.float32)):
        with pytest.raises(ValueError, match="expected uint8 face crops of N x 64 x 64 x 3"):
            input_pixels(crops, model.inputs)


def test_an_unknown_engine_names_the_nearest(model, model_path):
    with pytest.raises(ValueError, match=r"unknown engine 'toch'; did you mean 'torch'\?"):
        open_engine("toch", model, model_path=model_path)
