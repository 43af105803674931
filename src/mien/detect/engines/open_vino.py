"""OpenVINO on the CPU, in float32 and in int8 calibrated on real crops; uint8 pictures in."""

from __future__ import annotations

import importlib
import importlib.util
import subprocess
import sys
import tempfile
from pathlib import Path
from types import ModuleType
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from mien.detect.au_model import AuModel, save_au_model
from mien.detect.engines._exported import checked_files
from mien.detect.engines.base import ENGINES, EngineError, Images, Tolerance
from mien.detect.network import input_pixels

_CHANNELS = 16  # OpenVINO 2026.4 gave other numbers at each run with 4 and with 8
_INSTALL = "the engines openvino and openvino-int8 need openvino and nncf: pip install 'mien[openvino]'"


@ENGINES.register("openvino")
class OpenVinoEngine:
    """Runs `NAME.openvino.xml` with its weights beside it."""

    name: ClassVar[str] = "openvino"
    tolerance: ClassVar[Tolerance] = Tolerance(1e-4, 0.999, 0.01)
    suffixes: ClassVar[tuple[str, ...]] = (".openvino.xml", ".openvino.bin")

    def __init__(self, model: AuModel, *, model_path: Path, threads: int | None) -> None:
        xml, _ = checked_files(type(self), model, model_path)
        # Left alone, OpenVINO rounds to bfloat16 where the CPU has it, and then engines disagree.
        settings: dict[str, Any] = {"INFERENCE_PRECISION_HINT": "f32", "PERFORMANCE_HINT": "LATENCY"}
        if threads is not None:
            settings["INFERENCE_NUM_THREADS"] = threads
        compiled = imported("openvino").Core().compile_model(str(xml), "CPU", settings)
        self._request = compiled.create_infer_request()
        self._inputs = model.encoder.inputs
        self._num_outputs = len(model.units) * (1 if model.intensity is None else 2)

    def __call__(self, crops_NHWC: Images) -> NDArray[np.float32]:
        """(N, K) raw outputs."""
        pixels_NHWC = input_pixels(crops_NHWC, self._inputs)
        if not len(pixels_NHWC):
            return np.zeros((0, self._num_outputs), np.float32)
        outputs: NDArray[np.float32] = self._request.infer({0: pixels_NHWC})[0].copy()
        return outputs

    @staticmethod
    def write(model: AuModel, files: tuple[Path, ...], calibration_NHWC: Images) -> None:
        """The network by OpenVINO's converter, any number of pictures at a time."""
        _convert(model, files[0])


@ENGINES.register("openvino-int8")
class OpenVinoInt8Engine(OpenVinoEngine):
    """Runs `NAME.openvino-int8.xml`: weights and activations of 8 bits where that is faster."""

    name: ClassVar[str] = "openvino-int8"
    tolerance: ClassVar[Tolerance] = Tolerance(0.03, 0.95, None)
    suffixes: ClassVar[tuple[str, ...]] = (".openvino-int8.xml", ".openvino-int8.bin")

    @staticmethod
    def write(model: AuModel, files: tuple[Path, ...], calibration_NHWC: Images) -> None:
        """Quantised after training: the ranges of all layers are measured on the calibration crops."""
        fewest = _fewest_channels(model)
        if fewest < _CHANNELS:
            raise EngineError(
                f"openvino-int8 needs {_CHANNELS} channels in every layer, and this network has one of "
                f"{fewest}: OpenVINO's 8-bit kernels for AVX2 race in narrower ones. Take openvino or onnx"
            )
        if importlib.util.find_spec("nncf") is None:
            raise EngineError(f"{_INSTALL} (no nncf)")
        _convert(model, files[0], input_pixels(calibration_NHWC, model.encoder.inputs))


def _fewest_channels(model: AuModel) -> int:
    """Of the backbone's convolutions of any kind and its linear layers, whose weights NNCF quantises.

    The head is quantised too, but does not count: with 4 outputs it gave the same bits at each run.
    """
    layers = list(model.encoder.backbone.modules())
    widths = [getattr(layer, name, None) for layer in layers for name in ("out_channels", "out_features")]
    return min((width for width in widths if isinstance(width, int)), default=1)


def _convert(model: AuModel, out: Path, pixels_NHWC: Images | None = None) -> None:
    """By a process of its own, for the reason `_converting` gives."""
    imported("openvino")
    with tempfile.TemporaryDirectory(dir=out.parent) as name:
        whole, pictures = Path(name) / "model.safetensors", Path(name) / "pictures.npy"
        save_au_model(whole, model)
        words = [str(whole), str(out)]
        if pixels_NHWC is not None:
            np.save(pictures, pixels_NHWC)
            words.append(str(pictures))
        # -P: nothing is imported from the folder that the command is given in.
        command = [sys.executable, "-P", "-m", "mien.detect.engines._converting", *words]
        done = subprocess.run(command, stderr=subprocess.PIPE, text=True, check=False)  # noqa: S603
    if done.returncode != 0:
        said = (done.stderr.strip().splitlines() or ["it said nothing"])[-1]
        raise EngineError(f"converting for OpenVINO ended with {done.returncode}: {said}")


def imported(name: str) -> ModuleType:
    """The module, without OpenVINO's telemetry: mien sends nothing anywhere."""
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise EngineError(f"{_INSTALL} ({error})") from error
