"""The encoder file: weights of a backbone, its settings, its input contract and its people, as safetensors.

Of the people that it was pretrained on the file has digests of names: they are not readable, but a known name
can be looked up.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from mien import __version__
from mien.backbones import Backbone, build_backbone
from mien.faces.contract import CropContract, InputContract
from mien.train.tensor_file import TensorFileError, read_tensors, write_tensors

KIND = "mien encoder"
FORMAT = 1
MOST_LISTED = 10_000  # people


@dataclass(frozen=True)
class Encoder:
    """A backbone in eval mode and everything needed to feed it."""

    backbone: Backbone
    backbone_name: str
    backbone_settings: Mapping[str, Any]
    inputs: InputContract
    training: Mapping[str, Any] = field(default_factory=dict)  # settings and data of the pretraining; JSON
    source: str = "an encoder"  # its file, for messages

    @property
    def contract(self) -> CropContract:
        """How its faces were cropped."""
        return self.inputs.crop

    @property
    def feature_dim(self) -> int:
        """Length of a face's feature."""
        return self.backbone.feature_dim

    @property
    def device(self) -> torch.device:
        """Device of the weights."""
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
    """Write an encoder file atomically; WriteError if the disk is full or not writable.

    `training` is stored as given (JSON types): settings, steps, store, versions.
    """
    record = {
        "format": FORMAT,
        "mien_version": __version__,
        "torch_version": torch.__version__,
        "backbone": {"name": backbone_name, **backbone_settings},
        **inputs.to_record(),
        "training": dict(training),
    }
    write_tensors(path, backbone.state_dict(), record, kind=KIND)


def load_encoder(path: Path | str, *, device: torch.device | str = "cpu") -> Encoder:
    """The encoder in a file, in eval mode; no code in the file is executed.

    TensorFileError if the file is not an encoder (a pickle is never opened), OSError if it cannot be read.
    """
    tensors, record = read_tensors(Path(path), kind=KIND)
    if record.get("format") != FORMAT:
        raise TensorFileError(
            f"{path} has format {record.get('format')!r}; this mien reads {FORMAT} (it was written by mien "
            f"{record.get('mien_version', 'unknown')})"
        )
    try:
        _require_readable_people(record["training"])
        encoder = build_encoder(record, tensors, training=record["training"], source=str(path))
    except (KeyError, RuntimeError, TypeError, ValueError) as error:
        raise TensorFileError(f"{path}: its parts do not fit together: {error}") from error
    encoder.backbone.to(device)
    return encoder


def build_encoder(
    record: Mapping[str, Any], state: Mapping[str, Tensor], *, training: Mapping[str, Any], source: str
) -> Encoder:
    """The encoder of a file's record with these weights, in eval mode, on the CPU.

    ValueError if they do not fit. Shapes are compared on torch's meta device first, so no record
    creates a network larger than its file.
    """
    inputs = InputContract.from_record(record)
    settings = dict(record["backbone"])
    name = str(settings.pop("name", ""))
    with torch.device("meta"):
        wanted = {
            key: tuple(part.shape) for key, part in build_backbone(name, **settings).state_dict().items()
        }
    found = {key: tuple(part.shape) for key, part in state.items()}
    odd = sorted(key for key in wanted.keys() | found.keys() if wanted.get(key) != found.get(key))
    if odd:
        raise ValueError(
            f"{len(odd)} weights do not fit backbone {name!r}, {odd[0]} for one: expected "
            f"{wanted.get(odd[0])}, found {found.get(odd[0])}"
        )
    with torch.random.fork_rng(devices=[]):  # the initial weights are random, and overwritten at once
        backbone = build_backbone(name, **settings)
    backbone.load_state_dict(state)
    return Encoder(backbone.eval().requires_grad_(False), name, settings, inputs, training, source)


def pick_device(name: str) -> torch.device:
    """`auto`: a GPU if there is one; ValueError for a device that does not exist."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise ValueError(f"device {name!r}: expected auto, cpu or cuda") from error
    if device.type == "cuda" and not torch.cuda.is_available():
        raise ValueError(f"device {name!r}: torch {torch.__version__} sees no GPU here")
    return device


def record_of_people(identities: Iterable[str]) -> dict[str, Any]:
    """`count`, `sha256` over the sorted names and, for at most `MOST_LISTED`, 16 digits of each name's."""
    names = sorted(set(identities))
    record: dict[str, Any] = {"count": len(names), "sha256": _sha256("\n".join(names))}
    return record | (
        {"people": sorted(_sha256(name)[:16] for name in names)} if len(names) <= MOST_LISTED else {}
    )


def pretrained_among(training: Mapping[str, Any], subjects: Iterable[str]) -> int | None:
    """The number of these people whose names are in the encoder's record.

    None if the file has no list: made by hand, by an earlier version, or from too many people.
    """
    people = training.get("identities", {}).get("people")
    return None if people is None else len({_sha256(name)[:16] for name in subjects} & set(people))


def warning_of_people(training: Mapping[str, Any], subjects: Iterable[str]) -> str:
    """A warning about a test on people that the encoder was pretrained on; "" if none is known."""
    tested = set(subjects)
    shared = pretrained_among(training, tested)
    if not shared:
        return ""
    return (
        f"{shared:,} of {len(tested):,} people in the test have names of people that the encoder was "
        "pretrained on. If they are the same people, scores are better than on unseen people."
    )


def _require_readable_people(training: Mapping[str, Any]) -> None:
    record = training.get("identities", {})
    people = record.get("people", []) if isinstance(record, Mapping) else None
    if not isinstance(people, list) or not all(isinstance(digest, str) for digest in people):
        raise ValueError(f"training.identities is not a record of people: {record!r:.60}")


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
