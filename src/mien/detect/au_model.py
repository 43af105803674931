"""The AU model: encoder, head, calibration, thresholds and the facts of its card, as one safetensors file.

Reading one executes no code. The record carries a hash over everything in the file, so that a damaged file is
told from a whole one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mien import __version__
from mien.detect.calibration import Calibration
from mien.detect.model_record import FORMAT, KIND, ModelRecord, content_sha256, curve_tensors, curves_from
from mien.evaluate.head import ProbeHead
from mien.faces.contract import CropContract
from mien.facs import action_unit
from mien.train.encoder_file import Encoder
from mien.train.tensor_file import TensorFileError, read_tensors, write_tensors


@dataclass(frozen=True, eq=False)
class IntensityHead:
    """Intensities, 0 to 5, as an affine map of the features; a unit that was never coded has none.

    weight_AD, bias_A: zeros where coded_A is false.
    """

    weight_AD: Tensor
    bias_A: Tensor
    coded_A: NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Readings:
    """What a model says of N faces. intensity_NA: 0 to 5, NaN for units without; None: a model without."""

    probability_NA: NDArray[np.float32]
    intensity_NA: NDArray[np.float32] | None


@dataclass(frozen=True, eq=False)
class AuModel:
    """From aligned face crops to action units: present where the probability is above the threshold.

    units: FACS numbers, the order of every A axis. record: the card's facts, JSON. source: its file, for
    messages.
    """

    encoder: Encoder
    head: ProbeHead
    units: tuple[int, ...]
    calibration: Calibration
    threshold_A: NDArray[np.float32]
    intensity: IntensityHead | None
    record: Mapping[str, Any]
    source: str

    def __post_init__(self) -> None:
        A, D = len(self.units), self.encoder.feature_dim
        for number in self.units:
            action_unit(number)
        if not A or len(set(self.units)) < A:
            raise ValueError(f"{self.source}: action units {self.units}; expected one or more, each once")
        if self.head.linear.weight.shape != (A, D) or self.head.norm.num_features != D:
            raise ValueError(f"{self.source}: a head of another shape than {A} units of {D} features")
        if self.threshold_A.shape != (A,) or len(self.calibration.curves) != A:
            raise ValueError(
                f"{self.source}: expected one threshold and one calibration for each of {A} units"
            )
        if self.intensity is not None and self.intensity.weight_AD.shape != (A, D):
            raise ValueError(f"{self.source}: intensities of another shape than {A} units of {D} features")

    @property
    def contract(self) -> CropContract:
        """How its faces are cropped."""
        return self.encoder.contract

    @property
    def columns(self) -> tuple[str, ...]:
        """("AU01", ...), in the order of the units."""
        return tuple(action_unit(number).column for number in self.units)

    @cached_property
    def digest(self) -> str:
        """The first 16 hexadecimal digits of the SHA-256 over all that is in its file."""
        tensors, record = _content(self)
        return content_sha256(tensors, record.to_dict())[:16]

    @cached_property
    def network_digest(self) -> str:
        """The same over what an exported network holds; calibration, thresholds and card do not count."""
        tensors, record = _content(self)
        network = {
            name: t for name, t in tensors.items() if not name.startswith(("calibration/", "threshold"))
        }
        facts = {"backbone": record.backbone, "units": record.units, **_inputs(self.encoder)}
        return content_sha256(network, facts)[:16]

    def read(self, outputs_NK: NDArray[np.float32]) -> Readings:
        """Probabilities and intensities from an engine's raw outputs."""
        A = len(self.units)
        expected = A if self.intensity is None else 2 * A
        if outputs_NK.ndim != 2 or outputs_NK.shape[1] != expected:
            raise ValueError(f"{self.source}: outputs of shape {outputs_NK.shape}; expected (N, {expected})")
        intensity_NA = None
        if self.intensity is not None:
            intensity_NA = np.clip(outputs_NK[:, A:], 0.0, 5.0).astype(np.float32)
            intensity_NA[:, ~self.intensity.coded_A] = np.nan
        return Readings(self.calibration(outputs_NK[:, :A]), intensity_NA)

    def present(self, probability_NA: NDArray[np.float32]) -> NDArray[np.bool_]:
        """(N, A): above the unit's threshold."""
        above_NA: NDArray[np.bool_] = probability_NA > self.threshold_A
        return above_NA


def save_au_model(path: Path | str, model: AuModel) -> None:
    """Write the file, at once or not at all; WriteError when the disk is full or refuses."""
    tensors, record = _content(model)
    plain = record.to_dict()
    sha256 = content_sha256(tensors, plain)
    write_tensors(Path(path), tensors, plain | {"content_sha256": sha256}, kind=KIND)


def load_au_model(path: Path | str, *, device: torch.device | str = "cpu") -> AuModel:
    """The model in a file, in eval mode; no code in the file is executed.

    TensorFileError if the file is no AU model or is damaged, OSError if it cannot be read.
    """
    path = Path(path)
    tensors, plain = read_tensors(path, kind=KIND)
    if plain.get("format") != FORMAT:
        raise TensorFileError(
            f"{path} has format {plain.get('format')!r}; this mien reads {FORMAT} (it was written by mien "
            f"{plain.get('mien_version', 'unknown')})"
        )
    expected = plain.pop("content_sha256", None)
    if expected != content_sha256(tensors, plain):
        raise TensorFileError(
            f"{path} is damaged: its content is not what its hash says; fetch or fit it again"
        )
    record = ModelRecord.from_dict(plain, where=str(path))
    try:
        return _assembled(tensors, record, str(path), torch.device(device))
    except (KeyError, RuntimeError, ValueError) as error:
        raise TensorFileError(f"{path}: its parts do not fit together: {error}") from error


def _content(model: AuModel) -> tuple[dict[str, Tensor], ModelRecord]:
    encoder = model.encoder
    tensors = {f"backbone/{name}": t for name, t in encoder.backbone.state_dict().items()}
    tensors |= {f"head/{name}": t for name, t in model.head.state_dict().items()}
    tensors |= {"threshold": torch.from_numpy(model.threshold_A.astype(np.float32))}
    tensors |= curve_tensors(model.calibration, model.columns)
    if model.intensity is not None:
        tensors["intensity/weight"] = model.intensity.weight_AD.float()
        tensors["intensity/bias"] = model.intensity.bias_A.float()
        tensors["intensity/coded"] = torch.from_numpy(model.intensity.coded_A.astype(np.uint8))
    record = ModelRecord(
        format=FORMAT,
        mien_version=str(model.record.get("mien_version", __version__)),
        backbone={"name": encoder.backbone_name, **encoder.backbone_settings},
        encoder_training=dict(encoder.training),
        units=model.units,
        calibration=tuple(curve.kind for curve in model.calibration.curves),
        card=dict(model.record),
        **_inputs(encoder),
    )
    return tensors, record


def _inputs(encoder: Encoder) -> dict[str, Any]:
    inputs = encoder.inputs
    return {
        "crop_contract": inputs.crop.to_dict(),
        "frame_size_px": inputs.frame_size_px,
        "input_size_px": inputs.input_size_px,
        "mean": inputs.mean,
        "std": inputs.std,
    }


def _assembled(tensors: dict[str, Tensor], record: ModelRecord, source: str, device: torch.device) -> AuModel:
    encoder = record.encoder(_under(tensors, "backbone/"), source=source)
    head_state = _under(tensors, "head/")
    head = ProbeHead(encoder.feature_dim, len(record.units))
    head.load_state_dict(head_state)
    encoder.backbone.to(device)
    intensity = None
    if "intensity/weight" in tensors:
        weight_AD, bias_A = tensors["intensity/weight"].to(device), tensors["intensity/bias"].to(device)
        intensity = IntensityHead(weight_AD, bias_A, tensors["intensity/coded"].numpy().astype(bool))
    return AuModel(
        encoder=encoder,
        head=head.eval().requires_grad_(False).to(device),
        units=record.units,
        calibration=Calibration(curves_from(tensors, record)),
        threshold_A=tensors["threshold"].numpy().astype(np.float32),
        intensity=intensity,
        record=record.card,
        source=source,
    )


def _under(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): t for name, t in tensors.items() if name.startswith(prefix)}
