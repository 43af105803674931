"""A model for ONNX Runtime: written, compared with torch on real crops, and refused when it differs.

Eight bits are ONNX Runtime's static post-training quantisation: ranges of all layers are the least and the
largest values on the calibration crops, weights have a scale per channel.
"""

from __future__ import annotations

import dataclasses
import json
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from mien import __version__
from mien.detect.au_model import AuModel
from mien.detect.engines import (
    EXPORTED_SUFFIX,
    KIND,
    EngineError,
    Images,
    exported_file,
    import_onnx,
    open_engine,
    receipt_path,
    sha256_of,
)
from mien.detect.network import PixelNetwork, input_pixels
from mien.io import replacing, write_bytes
from mien.registry import nearest

_BATCH = 32
_PACKAGES = ("torch", "onnx", "onnxruntime")


@dataclass(frozen=True)
class Tolerance:
    """How far an exported model may lie from torch; beyond this it is refused."""

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
    how much it does not. crops_from: where the crops come from, for the receipt.
    """
    if engine not in EXPORTED_SUFFIX:
        raise EngineError(f"cannot export to {engine!r}{nearest(engine, EXPORTED_SUFFIX)}")
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out, prefix=".export-") as name:
        folder = Path(name)
        beside = folder / model_path.name
        _write_network(model, engine, exported_file(beside, engine), calibration_NHWC)
        receipt = _receipt(engine, model, beside, crops_from, len(calibration_NHWC))
        _write(receipt, receipt_path(beside, engine), folder)
        agreement = measure_agreement(model, beside, engine, check_NHWC)
        shortfall = agreement.shortfall(TOLERANCES[engine])
        if shortfall:
            raise EngineError(f"{model_path} on {engine} differs from torch: {shortfall}; not kept")
        _keep(engine, folder, model_path, receipt | {"agreement": dataclasses.asdict(agreement)}, out=out)
    return agreement


def measure_agreement(model: AuModel, model_path: Path, engine: str, crops_NHWC: Images) -> Agreement:
    """An exported engine compared with torch on (N, S, S, 3) crops; ValueError without any."""
    if not len(crops_NHWC):
        raise ValueError("no crops to compare the engines on")
    outputs = [_outputs(model, model_path, name, crops_NHWC) for name in ("torch", engine)]
    ours, theirs = (model.read(outputs_NK) for outputs_NK in outputs)
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
        import_onnx(module)
    side_px = model.encoder.inputs.input_size_px
    whole = file.with_name("float32.onnx")
    torch.onnx.export(
        PixelNetwork(model).eval().cpu(),
        (torch.zeros(2, side_px, side_px, 3, dtype=torch.uint8),),
        whole,
        input_names=["pixels"],
        output_names=["outputs"],
        dynamic_shapes={"pixels_NHWC": {0: torch.export.Dim("rows")}},
        external_data=False,
        verbose=False,
    )
    if engine == "onnx-int8":
        _quantise(whole, file, input_pixels(calibration_NHWC, model.encoder.inputs))
    else:
        whole.replace(file)


def _quantise(whole: Path, file: Path, pixels_NHWC: Images) -> None:
    quantization = import_onnx("onnxruntime.quantization")
    prepared = file.with_name("prepared.onnx")
    quantization.quant_pre_process(str(whole), str(prepared), skip_symbolic_shape=True)
    quantization.quantize_static(
        str(prepared),
        str(file),
        _CalibrationReader(pixels_NHWC),
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


def _keep(engine: str, folder: Path, model_path: Path, receipt: dict[str, Any], *, out: Path) -> None:
    """Move the file into `out`. The old receipt is removed first and the new one written last, so a process
    killed in between leaves files that are refused, not an export of another model.
    """
    copy = out / model_path.name
    receipt_path(copy, engine).unlink(missing_ok=True)
    exported_file(folder / model_path.name, engine).replace(exported_file(copy, engine))
    if not copy.exists() or not copy.samefile(model_path):
        with replacing(copy, temporary_folder=folder) as temporary:
            shutil.copyfile(model_path, temporary)
    _write(receipt, receipt_path(copy, engine), folder)


def _outputs(model: AuModel, model_path: Path, engine: str, crops_NHWC: Images) -> NDArray[np.float32]:
    run = open_engine(engine, model, model_path=model_path)
    parts = [run(crops_NHWC[first : first + _BATCH]) for first in range(0, len(crops_NHWC), _BATCH)]
    return np.concatenate(parts)


def _receipt(
    engine: str, model: AuModel, beside: Path, crops_from: str, num_calibration_crops: int
) -> dict[str, Any]:
    file = exported_file(beside, engine)
    return {
        "kind": KIND,
        "engine": engine,
        "network_digest": model.network_digest,
        "model_digest": model.digest,
        "files": {file.name: sha256_of(file)},
        "tolerance": dataclasses.asdict(TOLERANCES[engine]),
        "crops": crops_from,
        "num_calibration_crops": num_calibration_crops,
        "versions": {"mien": __version__} | {name: _version(name) for name in _PACKAGES if _version(name)},
    }


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return ""


def _write(receipt: dict[str, Any], path: Path, folder: Path) -> None:
    write_bytes(path, json.dumps(receipt, indent=2).encode(), temporary_folder=folder)
