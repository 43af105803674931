"""Public weights from a file into a backbone; no code in the file is executed."""

from __future__ import annotations

import hashlib
import pickle
from pathlib import Path

import safetensors
import safetensors.torch
import torch
from torch import Tensor

from mien.backbones.base import Backbone
from mien.registry import nearest

CLASSIFIERS = ("fc.", "classifier.", "head.")  # layers of public files that a backbone does not have
BEGINNINGS = (b"PK\x03\x04", b"\x80\x02")  # of what torch.save writes, since and before version 1.6
# What PyTorch's restricted unpickler raises on forbidden content and on bytes that are no pickle.
NOT_WEIGHTS = (pickle.UnpicklingError, RuntimeError, EOFError, LookupError, ValueError, TypeError)
WRAPPERS = ("state_dict", "model")  # keys under which training scripts put the weights


class WeightsError(ValueError):
    """A weights file that cannot be used; the message names the file and what was expected."""


def load_public_weights(backbone: Backbone, path: Path) -> str:
    """Copy the weights at `path` into `backbone` and return the file's SHA-256 in hexadecimal.

    `.safetensors`, or a PyTorch file that `torch.load(weights_only=True)` accepts. A classifier in the file
    is left out; batch counters may be missing, as in old files. Every other name and shape must agree.
    Do this before a method is built around the backbone: its momentum encoder starts as a copy.
    WeightsError on a wrong file, OSError on one that cannot be read.
    """
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    weights = {name: value for name, value in _read(path).items() if not name.startswith(CLASSIFIERS)}
    try:
        missing, unknown = backbone.load_state_dict(weights, strict=False)
    except RuntimeError as error:  # a line for each weight of another shape, below a heading
        first = str(error).splitlines()[1].strip()
        raise WeightsError(f"{path} is of another network: {first}") from error
    missing = [name for name in missing if not name.endswith("num_batches_tracked")]
    if missing or unknown:
        first = f"{missing[0]!r} is missing" if missing else f"{unknown[0]!r} is unknown"
        hint = nearest(unknown[0], backbone.state_dict()) if unknown and not missing else ""
        raise WeightsError(
            f"{path}: {len(missing)} weights are missing, {len(unknown)} are unknown: {first}{hint}"
        )
    return sha256


def _read(path: Path) -> dict[str, Tensor]:
    if path.suffix == ".safetensors":
        try:
            return safetensors.torch.load_file(path)
        except safetensors.SafetensorError as error:
            raise WeightsError(f"{path} is not a safetensors file: {error}") from error
    return _read_torch_file(path)


def _read_torch_file(path: Path) -> dict[str, Tensor]:
    with path.open("rb") as file:
        beginning = file.read(4)
    try:
        if not beginning.startswith(BEGINNINGS):
            raise pickle.UnpicklingError(f"begins with {beginning!r}")
        content = torch.load(path, map_location="cpu", weights_only=True)
    except NOT_WEIGHTS as error:
        raise WeightsError(
            f"{path} holds something else than weights and was not loaded, since that could run code in it; "
            "expected .safetensors or a state dict of tensors written by torch.save"
        ) from error
    for wrapper in WRAPPERS:
        if isinstance(content, dict) and isinstance(content.get(wrapper), dict):
            content = content[wrapper]
    if not isinstance(content, dict) or not all(isinstance(value, Tensor) for value in content.values()):
        raise WeightsError(f"{path}: expected a dictionary of tensors, found {type(content).__name__}")
    return content
