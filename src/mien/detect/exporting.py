"""A model for another engine: written, held against torch on real crops, and refused when it differs."""

from __future__ import annotations

import dataclasses
import json
import shutil
import tempfile
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mien import __version__
from mien.data.atomic import replacing, write_bytes
from mien.detect.au_model import AuModel
from mien.detect.engines import ENGINES, EngineError, ExportedEngine, Tolerance, open_engine
from mien.detect.engines._exported import KIND, exported_files, receipt_path, sha256_of

_BATCH = 32
_PACKAGES = ("torch", "onnx", "onnxruntime", "openvino", "nncf")


@dataclass(frozen=True)
class Agreement:
    """An engine against torch on the same crops: differences of probabilities, and of what is present."""

    num_crops: int
    max_difference: float
    mean_difference: float
    presence_agreement: float  # share of faces and units on the same side of the threshold
    max_intensity_difference: float | None

    def shortfall(self, allowed: Tolerance) -> str:
        """What lies beyond the tolerance, in words; empty when nothing does."""
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
    calibration_NHWC: NDArray[np.uint8],
    check_NHWC: NDArray[np.uint8],
    crops_from: str,
    out: Path,
) -> Agreement:
    """Write `engine`'s files and receipt into `out`, beside a copy of the model where that is another folder.

    The files are written elsewhere and moved when they agree with torch on `check_NHWC`; EngineError saying
    by how much they do not. crops_from: where the crops come from, for the receipt.
    """
    cls: type[ExportedEngine] = ENGINES.get(engine)
    if not hasattr(cls, "write"):
        raise EngineError(f"the engine {engine} runs the model file itself; there is nothing to export")
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out, prefix=".export-") as name:
        folder = Path(name)
        beside = folder / model_path.name
        cls.write(model, exported_files(cls, folder, beside.stem), calibration_NHWC)
        receipt = _receipt(cls, model, beside, crops_from, len(calibration_NHWC))
        _write(receipt, receipt_path(beside, engine), folder)
        agreement = measure_agreement(model, beside, engine, check_NHWC)
        shortfall = agreement.shortfall(cls.tolerance)
        if shortfall:
            raise EngineError(f"{model_path} on {engine} is not what it is on torch: {shortfall}; not kept")
        _keep(cls, folder, model_path, receipt | {"agreement": dataclasses.asdict(agreement)}, out=out)
    return agreement


def measure_agreement(
    model: AuModel, model_path: Path, engine: str, crops_NHWC: NDArray[np.uint8]
) -> Agreement:
    """An exported engine held against torch on (N, S, S, 3) crops; ValueError without any."""
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


def _keep(
    cls: type[ExportedEngine], folder: Path, model_path: Path, receipt: dict[str, Any], *, out: Path
) -> None:
    """Move the files into `out`. An earlier receipt goes first and this one comes last: what is there between
    the two, also if this process is killed, is not taken for an export.
    """
    copy = out / model_path.name
    receipt_path(copy, cls.name).unlink(missing_ok=True)
    for file in exported_files(cls, folder, model_path.stem):
        file.replace(out / file.name)
    if not copy.exists() or not copy.samefile(model_path):
        with replacing(copy, temporary_folder=folder) as temporary:
            shutil.copyfile(model_path, temporary)
    _write(receipt, receipt_path(copy, cls.name), folder)


def _outputs(
    model: AuModel, model_path: Path, engine: str, crops_NHWC: NDArray[np.uint8]
) -> NDArray[np.float32]:
    run = open_engine(engine, model, model_path=model_path)
    parts = [run(crops_NHWC[first : first + _BATCH]) for first in range(0, len(crops_NHWC), _BATCH)]
    return np.concatenate(parts)


def _receipt(
    cls: type[ExportedEngine], model: AuModel, beside: Path, crops_from: str, num_calibration_crops: int
) -> dict[str, Any]:
    files = exported_files(cls, beside.parent, beside.stem)
    return {
        "kind": KIND,
        "engine": cls.name,
        "network_digest": model.network_digest,
        "model_digest": model.digest,
        "files": {file.name: sha256_of(file) for file in files},
        "tolerance": dataclasses.asdict(cls.tolerance),
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
