"""Engines that run an AU model's network on face crops: PyTorch, or ONNX Runtime on an exported file.

`NAME.onnx` or `NAME.onnx-int8.onnx` lies beside `NAME.safetensors`, with a receipt `NAME.ENGINE.json`: the
digest of the model's network, the SHA-256 of the file, and how the export agreed with torch. A file that does
not match its receipt never reaches ONNX Runtime's parser.
"""

from __future__ import annotations

import hashlib
import importlib
import json
from pathlib import Path
from types import ModuleType
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from mien.detect.au_model import AuModel
from mien.detect.network import PixelNetwork, input_pixels
from mien.registry import nearest

Images = NDArray[np.uint8]

KIND = "mien exported model"
EXPORTED_SUFFIX = {"onnx": ".onnx", "onnx-int8": ".onnx-int8.onnx"}


class EngineError(ValueError):
    """An engine that cannot run a model: not installed, nothing exported, or exported from another model."""


class Engine(Protocol):
    """Runs one model's network. One thread calls it at a time; any thread may."""

    name: str

    def __call__(self, crops_NHWC: Images) -> NDArray[np.float32]:
        """(N, K) raw outputs, for `AuModel.read`, of (N, S, S, 3) RGB aligned crops, S = crop_size_px."""


def open_engine(name: str, model: AuModel, *, model_path: Path, threads: int | None = None) -> Engine:
    """The engine called `name`, ready to run; `threads` of the CPU, None leaves it to the engine.

    ValueError for an unknown name, EngineError when the engine cannot run this model.
    """
    if name == "torch":
        return TorchEngine(model, threads=threads)
    if name not in EXPORTED_SUFFIX:
        raise ValueError(f"unknown engine {name!r}{nearest(name, ['torch', *EXPORTED_SUFFIX])}")
    return OnnxEngine(name, model, model_path=Path(model_path), threads=threads)


class TorchEngine:
    """PyTorch, on the device of the model's weights. `threads` sets torch's number, for the whole process."""

    name = "torch"

    def __init__(self, model: AuModel, *, threads: int | None = None) -> None:
        if threads is not None:
            torch.set_num_threads(threads)
        self._inputs = model.encoder.inputs
        self._device = model.encoder.device
        network = PixelNetwork(model).eval().to(self._device)
        self._network = network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    @torch.inference_mode()
    def __call__(self, crops_NHWC: Images) -> NDArray[np.float32]:
        """(N, K) raw outputs."""
        pixels = torch.from_numpy(input_pixels(crops_NHWC, self._inputs)).to(self._device)
        outputs: NDArray[np.float32] = self._network(pixels).cpu().numpy()
        return outputs


class OnnxEngine:
    """ONNX Runtime on the CPU: the network as one .onnx file, uint8 pictures in."""

    def __init__(self, name: str, model: AuModel, *, model_path: Path, threads: int | None = None) -> None:
        self.name = name
        file = checked_file(name, model, model_path)
        runtime = import_onnx("onnxruntime")
        runtime.disable_telemetry_events()
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


def import_onnx(name: str) -> ModuleType:
    """A module of the extra `onnx`; EngineError saying what to install."""
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise EngineError(
            f"the engines onnx and onnx-int8 need pip install 'mien[onnx]' ({error})"
        ) from error


def receipt_path(model_path: Path, engine: str) -> Path:
    """Where the receipt lies."""
    return model_path.with_name(f"{model_path.stem}.{engine}.json")


def exported_file(model_path: Path, engine: str) -> Path:
    """Where the exported file lies, whether it is there or not."""
    return model_path.with_name(model_path.stem + EXPORTED_SUFFIX[engine])


def checked_file(engine: str, model: AuModel, model_path: Path) -> Path:
    """The exported file of this very model, unchanged; EngineError saying what to do otherwise."""
    again = f"Write it with:\n  mien export {model_path} --engine {engine} --calibrate CROPS"
    path, file = receipt_path(model_path, engine), exported_file(model_path, engine)
    receipt = _read(path, again)
    if receipt.get("engine") != engine or receipt.get("network_digest") != model.network_digest:
        raise EngineError(
            f"{path} belongs to another model: its network is {receipt.get('network_digest')}, that of "
            f"{model_path} is {model.network_digest}. {again}"
        )
    if not file.is_file():
        raise EngineError(f"{file} is missing, though {path.name} lists it. {again}")
    if sha256_of(file) != receipt["files"].get(file.name):
        raise EngineError(f"{file} is damaged or changed: its hash is not that in {path.name}. {again}")
    return file


def sha256_of(path: Path) -> str:
    """Of a file's content, hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _read(path: Path, again: str) -> dict[str, Any]:
    if not path.is_file():
        raise EngineError(f"{path}: no such file; the model is not exported for this engine. {again}")
    try:
        receipt = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise EngineError(f"{path} is not JSON ({error}). {again}") from error
    kind = receipt.get("kind") if isinstance(receipt, dict) else None
    if kind != KIND or not isinstance(receipt.get("files"), dict):
        raise EngineError(f"{path} is not a receipt written by `mien export`. {again}")
    return receipt  # type: ignore[no-any-return]
