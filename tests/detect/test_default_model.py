"""The shipped model, or an untrained one in its place: no --model, no torch, every block of outputs."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys

import numpy as np
import pytest

from mien.cli import main
from mien.datasets.rendered import shipped_clips
from mien.detect import au_model
from mien.detect.au_model import load_au_model, save_au_model
from mien.detect.engines import EngineError, open_engine
from mien.detect.export import Faces, export_model
from mien.detect.network import build_network
from mien.faces.mesh_pose import mean_mesh
from mien.train.tensor_file import TensorFileError
from tests.detect.tiny_model import tiny_face_model

WITHOUT_TORCH = """
import sys

class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {"torch", "scipy", "sklearn", "lightning", "tensorboard", "onnx"}:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Blocked())
"""


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """A folder as mien/models/, with an untrained model of pixels and points."""
    folder = tmp_path_factory.mktemp("models")
    model = tiny_face_model()
    save_au_model(folder / "au.safetensors", model)
    model = load_au_model(folder / "au.safetensors")
    halves = {"calibration": random_faces(8), "check": random_faces(8), "crops_from": "noise"}
    export_model(model, folder / "au.safetensors", "onnx", **halves, out=folder)
    return folder


def random_faces(count):
    generator = np.random.default_rng(0)
    mesh = mean_mesh() * 90 + generator.normal(0, 1, (count, 468, 3))
    crops = generator.integers(0, 256, (count, 256, 256, 3), dtype=np.uint8)
    return Faces(crops, mesh.astype(np.float32))


def without_torch(code, models):
    patched = f"import pathlib, mien.detect.au_model as m\nm.MODELS = pathlib.Path({str(models)!r})\n"
    return subprocess.run(
        [sys.executable, "-c", WITHOUT_TORCH + patched + code], capture_output=True, text=True, check=False
    )


def test_a_clip_is_detected_without_a_model_given_and_without_torch(models):
    (clip, *_) = sorted((shipped_clips() / "main").rglob("*.mp4"))
    done = without_torch(
        f"""
import json, mien
detector = mien.Detector(blendshapes=True, gaze=True)
found = detector.detect({str(clip)!r})
frame = found.to_pandas()
about = {{name: found.metadata[name] for name in ("engine", "gaze")}}
about |= {{"columns": list(frame), "faces": int(frame.success.sum())}}
first = frame[frame.success == 1].iloc[0]
print(json.dumps(about | {{"empty": list(first.index[first.isna()])}}))
print([name for name in sys.modules if name.partition(".")[0] in ("torch", "scipy", "sklearn")])
""",
        models,
    )
    assert done.returncode == 0, done.stderr
    told, modules = done.stdout.splitlines()
    found = json.loads(told)
    assert modules == "[]"
    assert (found["engine"], found["gaze"]) == ("onnx", True)
    assert found["faces"] > 20
    assert found["columns"][-8:] == [
        "AU01_intensity_left",
        "AU01_intensity_right",
        "AU12_intensity_left",
        "AU12_intensity_right",
        "blendshape_jawOpen",
        "blendshape_browInnerUp",
        "gaze_yaw",
        "gaze_pitch",
    ]
    assert found["empty"] == ["joined", "AU25_intensity"]  # no face id was joined across a break


def test_what_needs_the_extra_says_so_in_one_sentence(models):
    code = "from mien.cli import main\nprint(main({words}))"
    words = ["export", "m.safetensors", "--engine", "onnx", "--calibrate", "x"]
    done = without_torch(code.format(words=words), models)
    assert done.stdout.strip() == "1"
    assert "pip install 'mien[train]'" in done.stderr
    assert "Traceback" not in done.stderr
    done = without_torch("import mien\nmien.Detector(engine='torch')", models)
    assert "the engine torch needs pip install 'mien[train]'" in done.stderr
    done = without_torch("import mien\nmien.load_encoder('e')", models)
    assert "mien.load_encoder needs more packages: pip install 'mien[train]'" in done.stderr


def test_the_engines_agree_on_pixels_and_points(models):
    path = models / "au.safetensors"
    model, faces = load_au_model(path), random_faces(5)
    runs = [open_engine(name, model, model_path=path) for name in ("torch", "auto")]
    assert [run.name for run in runs] == ["torch", "onnx"]
    ours, theirs = (run(faces.crops_NHWC, faces.mesh_N468x3) for run in runs)
    assert np.allclose(ours, theirs, atol=1e-4)
    elsewhere_N468x3 = (3 * faces.mesh_N468x3 + (50, 20, 0)).astype(np.float32)
    assert np.allclose(runs[1](faces.crops_NHWC, elsewhere_N468x3), theirs, atol=1e-2)
    with pytest.raises(ValueError, match="uses the points of the face's mesh"):
        runs[1](faces.crops_NHWC)


def test_readings_are_by_block_and_within_their_ranges():
    model = tiny_face_model()
    outputs_NK = np.arange(1, 21, dtype=np.float32)[None] - 10
    readings = model.read(outputs_NK)
    assert np.array_equal(readings.intensity_NA, [[0, 0, 0, np.nan]], equal_nan=True)
    assert model.side_columns[:2] == ("AU01_intensity_left", "AU01_intensity_right")
    assert np.array_equal(readings.sides_NS, [[0, 3, 1, 5]])
    assert np.array_equal(readings.blendshape_NB, [[1, 1]])
    assert np.array_equal(readings.gaze_NG, [[9, 10]])


def test_a_model_that_lacks_a_block_or_has_an_unknown_one_says_so(models):
    model = tiny_face_model()
    with pytest.raises(ValueError, match="mood; known: logit, intensity"):
        dataclasses.replace(model, outputs={**model.outputs, "mood": ("calm",)})
    with pytest.raises(ValueError, match="left of AU02, which is none of its units"):
        dataclasses.replace(model, outputs={"logit": model.columns, "left": ("AU02",)})
    plain = dataclasses.replace(model, outputs={name: model.block(name) for name in ("logit", "intensity")})
    with pytest.raises(ValueError, match="gives no gaze"):
        __import__("mien").Detector(plain, gaze=True)
    with pytest.raises(TensorFileError, match="weights of other names or shapes"):
        build_network(dataclasses.replace(model, network_settings={"width": 8}))


def test_the_card_without_a_file_is_the_shipped_model_s(models, monkeypatch, capsys):
    monkeypatch.setattr(au_model, "MODELS", models)
    assert main(["card"]) == 0
    card = capsys.readouterr().out
    assert "au.safetensors" in card
    assert "2 units with intensities of the left and the right; 2 blendshapes" in " ".join(card.split())
    monkeypatch.setattr(au_model, "MODELS", models / "none")
    assert main(["card"]) == 1
    assert "ships no action-unit model" in capsys.readouterr().err


def test_a_model_without_an_export_runs_on_torch(models, tmp_path):
    model = load_au_model(models / "au.safetensors")
    save_au_model(tmp_path / "own.safetensors", model)
    assert open_engine("auto", model, model_path=tmp_path / "own.safetensors").name == "torch"
    with pytest.raises(EngineError, match="mien export"):
        open_engine("onnx", model, model_path=tmp_path / "own.safetensors")
