"""Engines that run an AU model's network on face crops: ONNX Runtime on an exported file, or PyTorch.

`NAME.onnx` or `NAME.onnx-int8.onnx` lies beside `NAME.safetensors`, with a receipt `NAME.ENGINE.json`: the
digest of the model's network, the SHA-256 of the file, and how the export agreed with torch. A file that does
not match its receipt never reaches ONNX Runtime's parser. `mien.detect.export` writes both.
"""

from __future__ import annotations

import hashlib
import importlib
import json
from pathlib import Path
from types import ModuleType
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from mien.detect.au_model import AuModel, Images, Meshes, network_inputs
from mien.registry import nearest

KIND = "mien exported model"
EXPORTED_SUFFIX = {"onnx": ".onnx", "onnx-int8": ".onnx-int8.onnx"}


class EngineError(ValueError):
    """An engine that cannot run a model: not installed, nothing exported, or exported from another model."""


class Engine(Protocol):
    """Runs one model's network. One thread calls it at a time; any thread may."""

    name: str
    device: str  # cpu or cuda

    def __call__(self, crops_NHWC: Images, mesh_N468x3: Meshes | None = None) -> NDArray[np.float32]:
        """(N, K) raw outputs, for `AuModel.read`, of (N, S, S, 3) RGB aligned crops, S = crop_size_px.

        mesh_N468x3: of the same faces, in any one scale; only models that use points look at it.
        """


def open_engine(
    name: str, model: AuModel, *, model_path: Path, device: str = "cpu", threads: int | None = None
) -> Engine:
    """The engine called `name`, ready to run; `threads` of the CPU, None leaves it to the engine.

    `auto` is onnx where the model was exported for it, else torch. `device` is that of torch. ValueError for
    an unknown name, EngineError when the engine cannot run this model.
    """
    model_path = Path(model_path)
    if name == "auto":
        name = "onnx" if receipt_path(model_path, "onnx").is_file() else "torch"
    if name == "torch":
        return _torch_engine(model, device=device, threads=threads)
    if name not in EXPORTED_SUFFIX:
        raise ValueError(f"unknown engine {name!r}{nearest(name, ['auto', 'torch', *EXPORTED_SUFFIX])}")
    return OnnxEngine(name, model, model_path=model_path, threads=threads)


def _torch_engine(model: AuModel, *, device: str, threads: int | None) -> Engine:
    try:
        from mien.detect.network import TorchEngine
    except ModuleNotFoundError as error:
        raise EngineError(
            f"the engine torch needs pip install 'mien[train]' ({error}); `mien export` makes a file of "
            f"{model.source} that needs no torch"
        ) from error
    return TorchEngine(model, device=device, threads=threads)


class OnnxEngine:
    """ONNX Runtime on the CPU."""

    def __init__(self, name: str, model: AuModel, *, model_path: Path, threads: int | None = None) -> None:
        self.name, self.device, self._model = name, "cpu", model
        file = checked_file(name, model, model_path)
        runtime = import_onnx("onnxruntime")
        runtime.disable_telemetry_events()
        options = runtime.SessionOptions()
        options.intra_op_num_threads = threads or 0
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # busy neighbours
        self._session = runtime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])

    def __call__(self, crops_NHWC: Images, mesh_N468x3: Meshes | None = None) -> NDArray[np.float32]:
        """(N, K) raw outputs."""
        outputs: NDArray[np.float32]
        (outputs,) = self._session.run(None, network_inputs(self._model, crops_NHWC, mesh_N468x3))
        return outputs


def receipt_path(model_path: Path, engine: str) -> Path:
    """Where the receipt belongs."""
    return model_path.with_name(f"{model_path.stem}.{engine}.json")


def checked_file(engine: str, model: AuModel, model_path: Path) -> Path:
    """The exported file of this very model, unchanged; EngineError with what to do otherwise."""
    path, file = receipt_path(model_path, engine), exported_file(model_path, engine)

    def refused(problem: str) -> EngineError:
        again = f"mien export {model_path} --engine {engine} --calibrate CROPS"
        return EngineError(f"{problem}. Write it with:\n  {again}")

    if not path.is_file():
        raise refused(f"{path}: no such file; the model is not exported for this engine")
    try:
        receipt = json.loads(path.read_text(encoding="utf-8"))
        sha256, network = receipt["files"][file.name], receipt["network_digest"]
        if (receipt["kind"], receipt["engine"]) != (KIND, engine):
            raise ValueError("it is of another kind")
    except (ValueError, RecursionError, LookupError, TypeError) as error:
        raise refused(f"{path} is not a receipt that `mien export` wrote: {error!r}") from error
    if network != model.network_digest:
        raise refused(f"{path} belongs to another model than {model_path}")
    if not file.is_file():
        raise refused(f"{file} is missing, though {path.name} lists it")
    if sha256_of(file) != sha256:
        raise refused(f"{file} is damaged or changed: its hash is not that in {path.name}")
    return file


def import_onnx(name: str) -> ModuleType:
    """One of ONNX's modules; EngineError saying what to install."""
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise EngineError(f"{name} is missing, which pip install 'mien[train]' brings ({error})") from error


def exported_file(model_path: Path, engine: str) -> Path:
    """Where the exported file belongs."""
    return model_path.with_name(model_path.stem + EXPORTED_SUFFIX[engine])


def sha256_of(path: Path) -> str:
    """Of a file's content, in hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
