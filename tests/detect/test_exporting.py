"""Exported engines: they say what torch says, are tied to their model, and are refused when they differ."""

import contextlib
import dataclasses
import importlib.util
import itertools
import json
import shutil
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from mien.detect.au_model import load_au_model, save_au_model
from mien.detect.calibration import Calibration
from mien.detect.engines import ENGINES, EngineError, Tolerance, engines_to_export, open_engine, open_vino
from mien.detect.engines._exported import checked_files, receipt_path
from mien.detect.exporting import export_model, measure_agreement
from tests.detect.conftest import SMALL_CONTRACT
from tests.detect.tiny_model import tiny_model, write_tiny_model

pytestmark = pytest.mark.openvino

NEEDS = {
    "onnx": ("onnx", "onnxscript", "onnxruntime"),
    "openvino": ("openvino",),
    "openvino-int8": ("openvino", "nncf"),
}

WIDTH = 16  # narrower networks are refused eight bits
FOR_NOISE = Tolerance(0.1, 0.8, None)  # an untrained network takes 8 bits worse than a real one


@pytest.fixture(scope="session")
def model():
    return tiny_model(SMALL_CONTRACT, width=WIDTH)


@pytest.fixture(scope="session")
def model_path(tmp_path_factory):
    return write_tiny_model(tmp_path_factory.mktemp("wide"), contract=SMALL_CONTRACT, width=WIDTH)


def _installed(engine):
    return all(importlib.util.find_spec(module) for module in NEEDS[engine])


@pytest.fixture(scope="session")
def exported(model_path, tmp_path_factory, crops):
    """`exported(engine)`: the folder with the tiny model exported for it, made once."""
    folders = {}

    def make(engine):
        if not _installed(engine):
            pytest.skip(f"{engine} is not installed")
        if engine not in folders:
            folders[engine] = tmp_path_factory.mktemp(engine)
            arguments = {"calibration_NHWC": crops, "check_NHWC": crops[::-1], "crops_from": "patterns"}
            with pytest.MonkeyPatch.context() as patch:
                if engine == "openvino-int8":
                    patch.setattr(ENGINES.get(engine), "tolerance", FOR_NOISE)
                model = load_au_model(model_path)
                export_model(model, model_path, engine, **arguments, out=folders[engine])
        return folders[engine]

    return make


def test_these_engines_are_found():
    assert ENGINES.names() == ["onnx", "openvino", "openvino-int8", "torch"]
    assert engines_to_export() == ["onnx", "openvino", "openvino-int8"]


@pytest.mark.parametrize("engine", list(NEEDS))
def test_an_exported_model_says_what_torch_says(engine, exported, crops):
    path = exported(engine) / "tiny.safetensors"
    model = load_au_model(path)
    expected = open_engine("torch", model, model_path=path)(crops)
    run = open_engine(engine, model, model_path=path, threads=1)
    found = run(crops)
    assert found.dtype == np.float32
    assert found.shape == expected.shape
    if engine == "openvino-int8":
        assert 1e-6 < np.abs(found - expected).max() < 0.2 * np.ptp(expected)
    else:
        assert np.allclose(found, expected, atol=1e-3)
    for count in (0, 1, 5):
        assert np.allclose(run(crops[:count]), found[:count], atol=1e-4)


@pytest.mark.parametrize("engine", list(NEEDS))
def test_the_receipt_states_the_agreement_that_was_reached(engine, exported, crops):
    path = exported(engine) / "tiny.safetensors"
    receipt = json.loads(receipt_path(path, engine).read_text())
    again = measure_agreement(load_au_model(path), path, engine, crops[::-1])
    assert receipt["agreement"]["num_crops"] == len(crops)
    assert receipt["agreement"]["max_difference"] == pytest.approx(again.max_difference, abs=1e-5)
    assert receipt["agreement"]["mean_difference"] <= receipt["tolerance"]["mean_difference"]
    assert receipt["agreement"]["presence_agreement"] >= receipt["tolerance"]["presence_agreement"]
    assert receipt["network_digest"] == load_au_model(path).network_digest
    assert receipt["num_calibration_crops"] == len(crops)


@pytest.mark.parametrize("threads", [None, 2])
def test_the_same_faces_give_the_same_bits_on_any_number_of_threads(threads, exported, crops):
    path = exported("openvino-int8") / "tiny.safetensors"
    model = load_au_model(path)
    expected = open_engine("openvino-int8", model, model_path=path, threads=1)(crops)
    for _ in range(3):
        run = open_engine("openvino-int8", model, model_path=path, threads=threads)
        assert all(np.array_equal(run(crops), expected) for _ in range(3))


def test_eight_bits_are_refused_to_a_narrow_network(tmp_path, crops):
    narrow = write_tiny_model(tmp_path, contract=SMALL_CONTRACT)
    with pytest.raises(EngineError, match="16 channels in every layer, and this network has one of 4"):
        export_model(
            load_au_model(narrow),
            narrow,
            "openvino-int8",
            calibration_NHWC=crops,
            check_NHWC=crops,
            crops_from="patterns",
            out=tmp_path / "out",
        )
    assert list((tmp_path / "out").iterdir()) == []


@pytest.mark.parametrize(
    "layer",
    [
        torch.nn.Conv2d(16, 12, 3),
        torch.nn.Conv1d(16, 12, 3),
        torch.nn.ConvTranspose2d(16, 12, 3),
        torch.nn.Linear(16, 12),
    ],
)
def test_every_kind_of_layer_that_is_quantised_counts_for_its_width(layer):
    wide = [torch.nn.Conv2d(3, 16, 3), torch.nn.BatchNorm2d(16), torch.nn.Linear(16, 64)]
    networks = [torch.nn.Sequential(*wide, *more) for more in ([], [layer])]
    models = [SimpleNamespace(encoder=SimpleNamespace(backbone=network)) for network in networks]
    assert [open_vino._fewest_channels(model) for model in models] == [16, 12]


def test_agreement_is_that_of_the_readings(exported, crops):
    path = exported("openvino-int8") / "tiny.safetensors"
    model = load_au_model(path)
    probabilities = []
    for engine in ("torch", "openvino-int8"):
        run = open_engine(engine, model, model_path=path)
        probabilities.append(model.read(run(crops)).probability_NA)
    ours, theirs = probabilities
    found = measure_agreement(model, path, "openvino-int8", crops)
    assert found.max_difference == pytest.approx(np.abs(ours - theirs).max())
    assert found.mean_difference == pytest.approx(np.abs(ours - theirs).mean())
    assert found.presence_agreement == ((ours > model.threshold_A) == (theirs > model.threshold_A)).mean()


def test_an_export_beyond_its_tolerance_leaves_nothing_behind(model_path, tmp_path, crops, monkeypatch):
    if not _installed("openvino-int8"):
        pytest.skip("openvino is not installed")
    monkeypatch.setattr(ENGINES.get("openvino-int8"), "tolerance", Tolerance(1e-9, 1.0, 1e-9))
    with pytest.raises(EngineError, match=r"tiny\.safetensors on openvino-int8 .* probabilities differ by"):
        export_model(
            load_au_model(model_path),
            model_path,
            "openvino-int8",
            calibration_NHWC=crops,
            check_NHWC=crops,
            crops_from="patterns",
            out=tmp_path,
        )
    assert list(tmp_path.iterdir()) == []


class Planted:
    """Runs torch; its two files hold nothing but the number of the export."""

    name, tolerance, suffixes = "planted", Tolerance(1e-4, 0.999, 0.01), (".planted.a", ".planted.b")
    number = 0

    def __init__(self, model, *, model_path, threads):
        numbers = {int(file.read_text()) for file in checked_files(Planted, model, model_path)}
        (self.read,) = numbers
        self.run = open_engine("torch", model, model_path=model_path)

    def __call__(self, crops_NHWC):
        return self.run(crops_NHWC)

    @classmethod
    def write(cls, model, files, calibration_NHWC):
        for file in files:
            file.write_text(str(cls.number))


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
    monkeypatch.setitem(ENGINES._entries, "planted", Planted)
    models = [model, dataclasses.replace(model, threshold_A=model.threshold_A / 2)]
    for number, one in enumerate(models):
        (tmp_path / str(number)).mkdir()
        save_au_model(tmp_path / f"{number}/tiny.safetensors", one)
    out, fates = tmp_path / "out", []
    while "new" not in fates:
        shutil.rmtree(out, ignore_errors=True)
        for number in range(2):
            Planted.number = number
            path = tmp_path / f"{number}/tiny.safetensors"
            with killed_before(out, len(fates) if number else -1):
                export_model(
                    load_au_model(path),
                    path,
                    "planted",
                    calibration_NHWC=crops[:1],
                    check_NHWC=crops[:2],
                    crops_from="patterns",
                    out=out,
                )
        try:
            kept = load_au_model(out / "tiny.safetensors")
            run = open_engine("planted", kept, model_path=out / "tiny.safetensors")
        except EngineError as error:
            assert "mien export" in str(error)
            fates.append("refused")
        else:
            assert run.read == (0 if np.array_equal(kept.threshold_A, model.threshold_A) else 1)
            fates.append("new" if run.read else "old")
    assert fates == sorted(fates, key=["old", "refused", "new"].index)
    assert len(fates) >= 5


def test_nothing_exported_is_an_error_that_says_how(model, model_path):
    for engine in engines_to_export():
        with pytest.raises(
            EngineError, match=rf"tiny\.{engine}\.json: no such file.*\n  mien export .* --engine {engine}"
        ):
            open_engine(engine, model, model_path=model_path)


def test_files_of_another_model_are_refused(exported, tmp_path):
    folder = exported("onnx")
    for file in folder.iterdir():
        shutil.copyfile(file, tmp_path / file.name)
    other = tiny_model(load_au_model(folder / "tiny.safetensors").contract, seed=1, width=WIDTH)
    save_au_model(tmp_path / "tiny.safetensors", other)
    with pytest.raises(EngineError, match=r"tiny\.onnx\.json is of another model"):
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


@pytest.mark.parametrize("engine", list(NEEDS))
def test_a_changed_or_missing_file_is_refused_before_the_engine_sees_it(engine, exported, tmp_path):
    folder = exported(engine)
    for file in folder.iterdir():
        shutil.copyfile(file, tmp_path / file.name)
    path = tmp_path / "tiny.safetensors"
    model = load_au_model(path)
    file = max(
        (f for f in tmp_path.iterdir() if f.suffix in (".onnx", ".bin")), key=lambda f: f.stat().st_size
    )
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


@pytest.mark.parametrize("engine", list(NEEDS))
def test_a_missing_package_says_what_to_install(engine, exported, monkeypatch):
    path = exported(engine) / "tiny.safetensors"
    module = "onnxruntime" if engine == "onnx" else "openvino"
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(EngineError, match=rf"pip install 'mien\[{engine.split('-')[0]}\]'"):
        open_engine(engine, load_au_model(path), model_path=path)


def test_torch_has_nothing_to_export(model, model_path, crops, tmp_path):
    with pytest.raises(EngineError, match="there is nothing to export"):
        export_model(
            model, model_path, "torch", calibration_NHWC=crops, check_NHWC=crops, crops_from="", out=tmp_path
        )
