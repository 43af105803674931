"""The encoder file: a backbone, how to build it and how its pictures must be cut, as one safetensors file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn

from mien import __version__
from mien.backbones import Backbone, build_backbone
from mien.faces.contract import CropContract
from mien.train.pretrained_people import require_readable_people
from mien.train.tensor_file import TensorFileError, read_tensors, write_tensors

KIND = "mien encoder"
FORMAT = 1


@dataclass(frozen=True)
class InputContract:
    """What the backbone saw in training: crops, resized, cut in the middle, normalised."""

    crop: CropContract
    frame_size_px: int  # a crop is resized to this side
    input_size_px: int  # then this side is cut from its centre
    mean: tuple[float, float, float]  # of colours in [0, 1]
    std: tuple[float, float, float]


@dataclass(frozen=True)
class Encoder:
    """A backbone in eval mode and everything needed to feed it."""

    backbone: Backbone
    backbone_name: str
    backbone_settings: Mapping[str, Any]
    inputs: InputContract
    training: Mapping[str, Any] = field(default_factory=dict)  # how it came about; JSON
    source: str = "an encoder"  # its file, for messages

    @property
    def contract(self) -> CropContract:
        """How its faces were cropped."""
        return self.inputs.crop

    @property
    def feature_dim(self) -> int:
        """Numbers a face."""
        return self.backbone.feature_dim

    @property
    def device(self) -> torch.device:
        """Where the weights lie."""
        return next(self.backbone.parameters()).device


def save_encoder(
    path: Path,
    backbone: nn.Module,
    *,
    backbone_name: str,
    backbone_settings: Mapping[str, Any],
    inputs: InputContract,
    training: Mapping[str, Any],
) -> None:
    """Write an encoder file, at once or not at all; WriteError when the disk is full or refuses.

    `training` is kept as it is (JSON types): settings, steps, store, versions.
    """
    record = {
        "format": FORMAT,
        "mien_version": __version__,
        "torch_version": torch.__version__,
        "backbone": {"name": backbone_name, **backbone_settings},
        "crop_contract": inputs.crop.to_dict(),
        "frame_size_px": inputs.frame_size_px,
        "input_size_px": inputs.input_size_px,
        "mean": inputs.mean,
        "std": inputs.std,
        "training": dict(training),
    }
    write_tensors(path, backbone.state_dict(), record, kind=KIND)


def load_encoder(path: Path | str, *, device: torch.device | str = "cpu") -> Encoder:
    """The encoder in a file, in eval mode; no code in the file is executed.

    TensorFileError if the file is no encoder (a pickle is never opened), OSError if it cannot be read.
    """
    tensors, record = read_tensors(Path(path), kind=KIND)
    if record.get("format") != FORMAT:
        raise TensorFileError(
            f"{path} has format {record.get('format')!r}; this mien reads {FORMAT} (it was written by mien "
            f"{record.get('mien_version', 'unknown')})"
        )
    require_readable_people(record["training"], where=str(path))
    settings = dict(record["backbone"])
    name = settings.pop("name")
    with torch.random.fork_rng(devices=[]):  # the first weights are drawn, and overwritten at once
        backbone = build_backbone(name, **settings)
    try:
        backbone.load_state_dict(tensors)
    except RuntimeError as error:
        raise TensorFileError(f"{path}: the weights do not fit backbone {name!r}: {error}") from error
    inputs = InputContract(
        CropContract.from_dict(record["crop_contract"]),
        record["frame_size_px"],
        record["input_size_px"],
        tuple(record["mean"]),
        tuple(record["std"]),
    )
    backbone.eval().requires_grad_(False).to(device)
    return Encoder(backbone, name, settings, inputs, record["training"], str(path))


def pick_device(name: str) -> torch.device:
    """`auto`: a GPU where there is one; ValueError for a device that is not there."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise ValueError(f"device {name!r}: expected auto, cpu or cuda") from error
    if device.type == "cuda" and not torch.cuda.is_available():
        raise ValueError(f"device {name!r}: torch {torch.__version__} sees no GPU here")
    return device
