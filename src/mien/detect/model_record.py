"""The JSON record of an AU model's file, and the hash over record and tensors."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

from mien.backbones import Backbone, build_backbone
from mien.config import SettingsError, build
from mien.detect.calibration import Calibration, Curve
from mien.faces.contract import CropContract
from mien.train.encoder_file import Encoder, InputContract
from mien.train.tensor_file import TensorFileError

KIND = "mien AU model"
FORMAT = 1


@dataclass(frozen=True)
class ModelRecord:
    """What the tensors do not say; JSON types only."""

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

    def to_dict(self) -> dict[str, Any]:
        """As JSON gives it back, lists for tuples."""
        plain: dict[str, Any] = json.loads(json.dumps(asdict(self)))
        return plain

    @classmethod
    def from_dict(cls, plain: Mapping[str, Any], *, where: str) -> ModelRecord:
        """The record that `to_dict` wrote; TensorFileError naming the file and the field otherwise."""
        try:
            return build(cls, plain, where=f"{where}: record")
        except SettingsError as error:
            raise TensorFileError(str(error)) from error

    def encoder(self, state: dict[str, Tensor], *, source: str) -> Encoder:
        """The encoder with these weights, in eval mode, on the CPU; ValueError if they do not fit.

        Shapes are compared on torch's meta device first, so no record makes a network larger than its file.
        """
        inputs = InputContract(
            CropContract.from_dict(self.crop_contract),
            self.frame_size_px,
            self.input_size_px,
            self.mean,
            self.std,
        )
        if not 8 <= inputs.input_size_px <= inputs.frame_size_px <= 4096:
            raise ValueError(f"pictures of {inputs.input_size_px} px from {inputs.frame_size_px} px")
        settings = dict(self.backbone)
        name = str(settings.pop("name", ""))
        with torch.device("meta"):
            _require_same_shapes(build_backbone(name, **settings), state)
        with torch.random.fork_rng(devices=[]):
            backbone = build_backbone(name, **settings)
        backbone.load_state_dict(state)
        backbone.eval().requires_grad_(False)
        return Encoder(backbone, name, settings, inputs, self.encoder_training, source)


def content_sha256(tensors: Mapping[str, Tensor], record: Mapping[str, Any]) -> str:
    """Over names, types, shapes and bytes of the tensors and the record as sorted JSON."""
    digest = hashlib.sha256(json.dumps(record, sort_keys=True).encode())
    for name in sorted(tensors):
        tensor = tensors[name].detach().cpu().contiguous()
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def curve_tensors(calibration: Calibration, columns: tuple[str, ...]) -> dict[str, Tensor]:
    """One line tensor, (A, 2) of scale and bias, and the knots of the units that have some."""
    lines = [[curve.scale, curve.bias] for curve in calibration.curves]
    tensors = {"calibration/lines": torch.tensor(lines, dtype=torch.float64)}
    for column, curve in zip(columns, calibration.curves, strict=True):
        if len(curve.knots_K2):
            tensors[f"calibration/knots/{column}"] = torch.tensor(curve.knots_K2, dtype=torch.float64)
    return tensors


def curves_from(tensors: Mapping[str, Tensor], record: ModelRecord) -> tuple[Curve, ...]:
    """The curves that `curve_tensors` wrote; KeyError or ValueError where something is missing or odd."""
    lines_A2 = tensors["calibration/lines"].tolist()
    curves = []
    for number, kind, (scale, bias) in zip(record.units, record.calibration, lines_A2, strict=True):
        knots = tensors.get(f"calibration/knots/AU{number:02d}")
        curves.append(Curve(kind, scale, bias) if knots is None else Curve(kind, scale, bias, knots.numpy()))
    return tuple(curves)


def _require_same_shapes(backbone: Backbone, state: Mapping[str, Tensor]) -> None:
    wanted = {name: tuple(tensor.shape) for name, tensor in backbone.state_dict().items()}
    found = {name: tuple(tensor.shape) for name, tensor in state.items()}
    odd = sorted(name for name in wanted.keys() | found.keys() if wanted.get(name) != found.get(name))
    if odd:
        raise ValueError(
            f"{len(odd)} weights do not fit the backbone, {odd[0]} for one: expected {wanted.get(odd[0])}, "
            f"found {found.get(odd[0])}"
        )
