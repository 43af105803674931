"""ONNX Runtime on the CPU: the network as one .onnx file, uint8 pictures in."""

from __future__ import annotations

import importlib
from pathlib import Path
from types import ModuleType
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray

from mien.detect.au_model import AuModel
from mien.detect.engines._exported import checked_files
from mien.detect.engines.base import ENGINES, EngineError, Images, Tolerance
from mien.detect.network import PixelNetwork, input_pixels

_INSTALL = "the engine onnx needs onnxruntime, onnx and onnxscript: pip install 'mien[onnx]'"


@ENGINES.register("onnx")
class OnnxEngine:
    """Runs `NAME.onnx`."""

    name: ClassVar[str] = "onnx"
    tolerance: ClassVar[Tolerance] = Tolerance(1e-4, 0.999, 0.01)
    suffixes: ClassVar[tuple[str, ...]] = (".onnx",)

    def __init__(self, model: AuModel, *, model_path: Path, threads: int | None) -> None:
        (file,) = checked_files(OnnxEngine, model, model_path)
        runtime = _imported("onnxruntime")
        options = runtime.SessionOptions()
        options.intra_op_num_threads = threads or 0
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # busy neighbours
        self._session = runtime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])
        self._inputs = model.encoder.inputs

    def __call__(self, crops_NHWC: Images) -> NDArray[np.float32]:
        """(N, K) raw outputs."""
        outputs: NDArray[np.float32]
        (outputs,) = self._session.run(None, {"pixels": input_pixels(crops_NHWC, self._inputs)})
        return outputs

    @staticmethod
    def write(model: AuModel, files: tuple[Path, ...], calibration_NHWC: Images) -> None:
        """The network by torch's exporter, any number of pictures at a time."""
        for module in ("onnx", "onnxscript", "onnxruntime"):
            _imported(module)
        side_px = model.encoder.inputs.input_size_px
        pixels = torch.zeros(2, side_px, side_px, 3, dtype=torch.uint8)
        torch.onnx.export(
            PixelNetwork(model).eval().cpu(),
            (pixels,),
            files[0],
            input_names=["pixels"],
            output_names=["outputs"],
            dynamic_shapes={"pixels_NHWC": {0: torch.export.Dim("rows")}},
            external_data=False,
            verbose=False,
        )


def _imported(name: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise EngineError(f"{_INSTALL} ({error})") from error
