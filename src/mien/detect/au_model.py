"""The AU model: encoder, head, calibration, thresholds and the facts of its card, as one safetensors file.

Reading one executes no code. The record holds a hash of everything in the file, which detects damage.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from mien import __version__
from mien.config import SettingsError, build
from mien.detect.calibration import Calibration, Curve
from mien.evaluate.head import ProbeHead
from mien.faces.contract import CropContract
from mien.facs import action_unit
from mien.train.encoder_file import Encoder, InputContract, build_encoder
from mien.train.tensor_file import TensorFileError, read_tensors, write_tensors

Images = NDArray[np.uint8]

KIND = "mien AU model"
FORMAT = 1


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
    """The action units of N faces. intensity_NA: 0 to 5, NaN for units without; None: a model without."""

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
        return content_sha256(*_content(self))[:16]

    @cached_property
    def network_digest(self) -> str:
        """The same over what an exported network holds: without calibration, thresholds and card."""
        tensors, record = _content(self)
        network = {
            name: t for name, t in tensors.items() if not name.startswith(("calibration/", "threshold"))
        }
        facts = {name: record[name] for name in ("backbone", "units", *self.encoder.inputs.to_record())}
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


class AuNetwork(nn.Module):
    """(N, H, W, 3) uint8 pictures of the input size to (N, K): A logits, then A intensities if there are any.

    Normalisation, encoder and read-outs in one network, so that every engine runs the same thing. The head's
    batch-norm and linear layer, and the intensity read-out, are one affine map of the features.
    """

    mean_C11: Tensor
    inverse_std_C11: Tensor

    def __init__(self, model: AuModel) -> None:
        super().__init__()
        self.backbone = model.encoder.backbone
        with torch.inference_mode(False):
            weights, constants = (list(part) for part in zip(model.head.as_affine(), strict=True))
            if model.intensity is not None:
                weights.append(model.intensity.weight_AD.to(weights[0]))
                constants.append(model.intensity.bias_A.to(weights[0]))
            self.weight_KD = nn.Parameter(torch.cat(weights), requires_grad=False)
            self.constant_K = nn.Parameter(torch.cat(constants), requires_grad=False)
        inputs = model.encoder.inputs
        self.register_buffer("mean_C11", 255.0 * torch.tensor(inputs.mean)[:, None, None])
        self.register_buffer("inverse_std_C11", 1.0 / (255.0 * torch.tensor(inputs.std)[:, None, None]))

    def forward(self, pixels_NHWC: Tensor) -> Tensor:
        """(N, K) float32."""
        images_NCHW = pixels_NHWC.permute(0, 3, 1, 2).float()
        features_ND = self.backbone((images_NCHW - self.mean_C11) * self.inverse_std_C11).float()
        return nn.functional.linear(features_ND, self.weight_KD, self.constant_K)


def input_pixels(crops_NHWC: Images, inputs: InputContract) -> Images:
    """(N, input_size_px, input_size_px, 3): face crops resized as the store reads them, cut in the middle.

    ValueError unless the crops are (N, crop_size_px, crop_size_px, 3) uint8.
    """
    side_px = inputs.crop.crop_size_px
    if crops_NHWC.ndim != 4 or crops_NHWC.shape[1:] != (side_px, side_px, 3) or crops_NHWC.dtype != np.uint8:
        raise ValueError(
            f"expected uint8 face crops of N x {side_px} x {side_px} x 3, "
            f"got {crops_NHWC.dtype} {' x '.join(map(str, crops_NHWC.shape))}"
        )
    frame_px = inputs.frame_size_px
    if frame_px != side_px:
        resized_NHWC = np.empty((len(crops_NHWC), frame_px, frame_px, 3), np.uint8)
        for crop_HWC, resized_HWC in zip(crops_NHWC, resized_NHWC, strict=True):
            cv2.resize(crop_HWC, (frame_px, frame_px), dst=resized_HWC, interpolation=cv2.INTER_AREA)
        crops_NHWC = resized_NHWC
    first = (frame_px - inputs.input_size_px) // 2
    last = first + inputs.input_size_px
    return np.ascontiguousarray(crops_NHWC[:, first:last, first:last])


def save_au_model(path: Path | str, model: AuModel) -> None:
    """Write the file, at once or not at all; WriteError when the disk is full or refuses."""
    tensors, record = _content(model)
    sha256 = content_sha256(tensors, record)
    write_tensors(Path(path), tensors, record | {"content_sha256": sha256}, kind=KIND)


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
            f"{path} is damaged: its content does not match its hash; fetch or fit it again"
        )
    try:
        record = build(_Record, plain, where=f"{path}: record")
    except SettingsError as error:
        raise TensorFileError(str(error)) from error
    try:
        return _assembled(tensors, record, str(path), torch.device(device))
    except (KeyError, RuntimeError, ValueError) as error:
        raise TensorFileError(f"{path}: its parts do not fit together: {error}") from error


def content_sha256(tensors: Mapping[str, Tensor], record: Mapping[str, Any]) -> str:
    """Over names, types, shapes and bytes of the tensors and the record as sorted JSON."""
    digest = hashlib.sha256(json.dumps(record, sort_keys=True).encode())
    for name in sorted(tensors):
        tensor = tensors[name].detach().cpu().contiguous()
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


@dataclass(frozen=True)
class _Record:
    """The file's JSON record."""

    format: int
    mien_version: str
    backbone: dict[str, Any]  # name and settings
    encoder_training: dict[str, Any]
    crop_contract: dict[str, Any]
    frame_size_px: int
    input_size_px: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    units: tuple[int, ...]
    calibration: tuple[str, ...]  # kinds of the curves
    card: dict[str, Any]


def _content(model: AuModel) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Tensors and record, as JSON returns it."""
    encoder, curves = model.encoder, model.calibration.curves
    tensors = {f"backbone/{name}": t for name, t in encoder.backbone.state_dict().items()}
    tensors |= {f"head/{name}": t for name, t in model.head.state_dict().items()}
    tensors["threshold"] = torch.from_numpy(model.threshold_A.astype(np.float32))
    lines_A2 = [[curve.scale, curve.bias] for curve in curves]
    tensors["calibration/lines"] = torch.tensor(lines_A2, dtype=torch.float64)
    for column, curve in zip(model.columns, curves, strict=True):
        if len(curve.knots_K2):
            tensors[f"calibration/knots/{column}"] = torch.tensor(curve.knots_K2, dtype=torch.float64)
    if model.intensity is not None:
        tensors["intensity/weight"] = model.intensity.weight_AD.float()
        tensors["intensity/bias"] = model.intensity.bias_A.float()
        tensors["intensity/coded"] = torch.from_numpy(model.intensity.coded_A.astype(np.uint8))
    record = _Record(
        format=FORMAT,
        mien_version=str(model.record.get("mien_version", __version__)),
        backbone={"name": encoder.backbone_name, **encoder.backbone_settings},
        encoder_training=dict(encoder.training),
        units=model.units,
        calibration=tuple(curve.kind for curve in curves),
        card=dict(model.record),
        **encoder.inputs.to_record(),
    )
    return tensors, json.loads(json.dumps(asdict(record)))


def _assembled(tensors: dict[str, Tensor], record: _Record, source: str, device: torch.device) -> AuModel:
    state, training = _under(tensors, "backbone/"), record.encoder_training
    encoder = build_encoder(vars(record), state, training=training, source=source)
    encoder.backbone.to(device)
    head = ProbeHead(encoder.feature_dim, len(record.units))
    head.load_state_dict(_under(tensors, "head/"))
    intensity = None
    if "intensity/weight" in tensors:
        weight_AD, bias_A = tensors["intensity/weight"].to(device), tensors["intensity/bias"].to(device)
        intensity = IntensityHead(weight_AD, bias_A, tensors["intensity/coded"].numpy().astype(bool))
    curves = []
    lines_A2 = tensors["calibration/lines"].tolist()
    for number, kind, (scale, bias) in zip(record.units, record.calibration, lines_A2, strict=True):
        knots = tensors.get(f"calibration/knots/AU{number:02d}")
        curves.append(Curve(kind, scale, bias) if knots is None else Curve(kind, scale, bias, knots.numpy()))
    return AuModel(
        encoder=encoder,
        head=head.eval().requires_grad_(False).to(device),
        units=record.units,
        calibration=Calibration(tuple(curves)),
        threshold_A=tensors["threshold"].numpy().astype(np.float32),
        intensity=intensity,
        record=record.card,
        source=source,
    )


def _under(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): t for name, t in tensors.items() if name.startswith(prefix)}
