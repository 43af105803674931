"""Engines that run an AU model's network on face crops: PyTorch, or ONNX Runtime on an exported file.

`NAME.onnx` or `NAME.onnx-int8.onnx` lies beside `NAME.safetensors`, with a receipt `NAME.ENGINE.json`: the
digest of the model's network, the SHA-256 of the file, and how the export agreed with torch. A file that does
not match its receipt never reaches ONNX Runtime's parser. The file takes uint8 pictures of the input size,
any number at a time. With `onnx-int8`, ONNX Runtime's static quantisation takes the ranges of activations
from the calibration crops, and weights have a scale per channel.
"""

from __future__ import annotations

import dataclasses
import hashlib
import importlib
import json
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from types import ModuleType
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from mien import __version__
from mien.detect.au_model import AuModel, AuNetwork, Images, input_pixels
from mien.io import replacing, write_bytes
from mien.registry import nearest

KIND = "mien exported model"
EXPORTED_SUFFIX = {"onnx": ".onnx", "onnx-int8": ".onnx-int8.onnx"}

_BATCH = 32


class EngineError(ValueError):
    """An engine that cannot run a model: not installed, nothing exported, or exported from another model."""


class Engine(Protocol):
    """Runs one model's network. One thread calls it at a time; any thread may."""

    name: str

    def __call__(self, crops_NHWC: Images) -> NDArray[np.float32]:
        """(N, K) raw outputs, for `AuModel.read`, of (N, S, S, 3) RGB aligned crops, S = crop_size_px."""


@dataclass(frozen=True)
class Tolerance:
    """How far an exported model may be from torch; beyond this it is refused."""

    mean_difference: float  # of a probability
    presence_agreement: float  # share of faces and units on the same side of the threshold
    max_difference: float | None  # of a probability; None: reported, not limited


TOLERANCES = {"onnx": Tolerance(1e-4, 0.999, 0.01), "onnx-int8": Tolerance(0.03, 0.95, None)}


@dataclass(frozen=True)
class Agreement:
    """Two engines on the same crops: differences of probabilities, and how often presence agrees."""

    num_crops: int
    max_difference: float
    mean_difference: float
    presence_agreement: float  # share of faces and units on the same side of the threshold
    max_intensity_difference: float | None

    def shortfall(self, allowed: Tolerance) -> str:
        """What is beyond the tolerance, in words; empty when nothing is."""
        mean, largest, presence = self.mean_difference, self.max_difference, self.presence_agreement
        found = []
        if not mean <= allowed.mean_difference:
            found.append(f"probabilities differ by {mean:.2g} (at most {allowed.mean_difference})")
        if allowed.max_difference is not None and not largest <= allowed.max_difference:
            found.append(f"one differs by {largest:.2g} (at most {allowed.max_difference})")
        if not presence >= allowed.presence_agreement:
            found.append(f"presence agrees in {presence:.2%} (at least {allowed.presence_agreement:.2%})")
        return ", ".join(found)


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
        network = AuNetwork(model).eval().to(self._device)
        self._network = network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    @torch.inference_mode()
    def __call__(self, crops_NHWC: Images) -> NDArray[np.float32]:
        """(N, K) raw outputs."""
        pixels = torch.from_numpy(input_pixels(crops_NHWC, self._inputs)).to(self._device)
        outputs: NDArray[np.float32] = self._network(pixels).cpu().numpy()
        return outputs


class OnnxEngine:
    """ONNX Runtime on the CPU."""

    def __init__(self, name: str, model: AuModel, *, model_path: Path, threads: int | None = None) -> None:
        self.name = name
        file = checked_file(name, model, model_path)
        runtime = _import_onnx("onnxruntime")
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


def receipt_path(model_path: Path, engine: str) -> Path:
    """Where the receipt belongs."""
    return model_path.with_name(f"{model_path.stem}.{engine}.json")


def checked_file(engine: str, model: AuModel, model_path: Path) -> Path:
    """The exported file of this very model, unchanged; EngineError with what to do otherwise."""
    again = f"Write it with:\n  mien export {model_path} --engine {engine} --calibrate CROPS"
    path, file = receipt_path(model_path, engine), _exported_file(model_path, engine)
    if not path.is_file():
        raise EngineError(f"{path}: no such file; the model is not exported for this engine. {again}")
    try:
        receipt = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise EngineError(f"{path} is not JSON ({error}). {again}") from error
    kind = receipt.get("kind") if isinstance(receipt, dict) else None
    if kind != KIND or not isinstance(receipt.get("files"), dict):
        raise EngineError(f"{path} is not a receipt written by `mien export`. {again}")
    if receipt.get("engine") != engine or receipt.get("network_digest") != model.network_digest:
        raise EngineError(
            f"{path} belongs to another model: its network is {receipt.get('network_digest')}, that of "
            f"{model_path} is {model.network_digest}. {again}"
        )
    if not file.is_file():
        raise EngineError(f"{file} is missing, though {path.name} lists it. {again}")
    if _sha256_of(file) != receipt["files"].get(file.name):
        raise EngineError(f"{file} is damaged or changed: its hash is not that in {path.name}. {again}")
    return file


def export_model(
    model: AuModel,
    model_path: Path,
    engine: str,
    *,
    calibration_NHWC: Images,
    check_NHWC: Images,
    crops_from: str,
    out: Path,
) -> Agreement:
    """Write `engine`'s file and receipt into `out`, beside a copy of the model where that is another folder.

    The file is written elsewhere and moved when it agrees with torch on `check_NHWC`; EngineError saying by
    how much it does not. crops_from: the origin of the crops, for the receipt.
    """
    if engine not in EXPORTED_SUFFIX:
        raise EngineError(f"cannot export to {engine!r}{nearest(engine, EXPORTED_SUFFIX)}")
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out, prefix=".export-") as name:
        beside = Path(name) / model_path.name
        file = _exported_file(beside, engine)
        _write_network(model, engine, file, calibration_NHWC)
        receipt = {
            "kind": KIND,
            "engine": engine,
            "network_digest": model.network_digest,
            "model_digest": model.digest,
            "files": {file.name: _sha256_of(file)},
            "tolerance": dataclasses.asdict(TOLERANCES[engine]),
            "crops": crops_from,
            "num_calibration_crops": len(calibration_NHWC),
            "versions": {"mien": __version__}
            | {package: metadata.version(package) for package in ("torch", "onnx", "onnxruntime")},
        }
        receipt_path(beside, engine).write_text(json.dumps(receipt))
        agreement = measure_agreement(model, beside, engine, check_NHWC)
        shortfall = agreement.shortfall(TOLERANCES[engine])
        if shortfall:
            raise EngineError(f"{model_path} on {engine} differs from torch: {shortfall}; not kept")
        _keep(engine, beside, model_path, receipt | {"agreement": dataclasses.asdict(agreement)}, out=out)
    return agreement


def measure_agreement(model: AuModel, model_path: Path, engine: str, crops_NHWC: Images) -> Agreement:
    """An exported engine compared with torch on (N, S, S, 3) crops; ValueError without any."""
    if not len(crops_NHWC):
        raise ValueError("no crops to compare the engines on")
    runs = [open_engine(name, model, model_path=model_path) for name in ("torch", engine)]
    batches = [crops_NHWC[first : first + _BATCH] for first in range(0, len(crops_NHWC), _BATCH)]
    ours, theirs = (model.read(np.concatenate([run(batch) for batch in batches])) for run in runs)
    difference_NA = np.abs(ours.probability_NA - theirs.probability_NA)
    same_NA = model.present(ours.probability_NA) == model.present(theirs.probability_NA)
    intensity = None
    if ours.intensity_NA is not None and theirs.intensity_NA is not None:
        intensity = float(np.nanmax(np.abs(ours.intensity_NA - theirs.intensity_NA)))
    largest, mean = float(difference_NA.max()), float(difference_NA.mean())
    return Agreement(len(crops_NHWC), largest, mean, float(same_NA.mean()), intensity)


def _write_network(model: AuModel, engine: str, file: Path, calibration_NHWC: Images) -> None:
    """The network by torch's exporter, any number of pictures at a time; quantised for `onnx-int8`."""
    for module in ("onnx", "onnxscript", "onnxruntime"):
        _import_onnx(module)
    side_px = model.encoder.inputs.input_size_px
    whole = file.with_name("float32.onnx")
    torch.onnx.export(
        AuNetwork(model).eval().cpu(),
        (torch.zeros(2, side_px, side_px, 3, dtype=torch.uint8),),
        whole,
        input_names=["pixels"],
        output_names=["outputs"],
        dynamic_shapes={"pixels_NHWC": {0: torch.export.Dim("rows")}},
        external_data=False,
        verbose=False,
    )
    if engine == "onnx":
        whole.replace(file)
        return
    quantization = _import_onnx("onnxruntime.quantization")
    prepared = file.with_name("prepared.onnx")
    quantization.quant_pre_process(str(whole), str(prepared), skip_symbolic_shape=True)
    quantization.quantize_static(
        str(prepared),
        str(file),
        _CalibrationReader(input_pixels(calibration_NHWC, model.encoder.inputs)),
        activation_type=quantization.QuantType.QUInt8,
        weight_type=quantization.QuantType.QInt8,
        per_channel=True,
        reduce_range=True,  # AVX2 without VNNI adds products of 8 bits in 16, which overflow; 7 bits do not
    )


class _CalibrationReader:
    """One picture at a time, as ONNX Runtime asks for them."""

    def __init__(self, pixels_NHWC: Images) -> None:
        self._pictures: Iterator[Images] = iter(pixels_NHWC)

    def get_next(self) -> dict[str, Images] | None:
        """The next one, by the network's input; None at the end."""
        picture_HWC = next(self._pictures, None)
        return None if picture_HWC is None else {"pixels": picture_HWC[None]}


def _keep(engine: str, beside: Path, model_path: Path, receipt: dict[str, Any], *, out: Path) -> None:
    """Move the file into `out`. The old receipt is removed first and the new one written last, so a process
    killed in between leaves files that are refused, not an export of another model.
    """
    copy = out / model_path.name
    receipt_path(copy, engine).unlink(missing_ok=True)
    _exported_file(beside, engine).replace(_exported_file(copy, engine))
    if not copy.exists() or not copy.samefile(model_path):
        with replacing(copy, temporary_folder=beside.parent) as temporary:
            shutil.copyfile(model_path, temporary)
    content = json.dumps(receipt, indent=2).encode()
    write_bytes(receipt_path(copy, engine), content, temporary_folder=beside.parent)


def _import_onnx(name: str) -> ModuleType:
    """A module of the extra `onnx`; EngineError saying what to install."""
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise EngineError(
            f"the engines onnx and onnx-int8 need pip install 'mien[onnx]' ({error})"
        ) from error


def _exported_file(model_path: Path, engine: str) -> Path:
    """Where the exported file belongs."""
    return model_path.with_name(model_path.stem + EXPORTED_SUFFIX[engine])


def _sha256_of(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
