"""Tensors and a JSON record in one safetensors file: written atomically; reading executes no code.

As PyTorch's tensors or as NumPy's arrays: torch is imported by the functions that need it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import safetensors.numpy
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open

from mien.io import write_bytes

if TYPE_CHECKING:
    from torch import Tensor

_RECORD = "mien"
_WRITTEN_BY = {"mien encoder": "`mien pretrain`", "mien AU model": "`mien fit`"}


class TensorFileError(ValueError):
    """A file of the wrong kind or a damaged one; the message says what it is and what was expected."""


def write_tensors(path: Path, tensors: Mapping[str, Tensor], record: Mapping[str, Any], *, kind: str) -> None:
    """Write `tensors` and the JSON-able `record` to `path`, atomically.

    WriteError if the disk is full or not writable.
    """
    import safetensors.torch

    plain = {name: tensor.detach().to("cpu", copy=True).contiguous() for name, tensor in tensors.items()}
    write_bytes(path, safetensors.torch.save(plain, metadata=_metadata(record, kind)))


def write_arrays(
    path: Path, arrays: Mapping[str, NDArray[Any]], record: Mapping[str, Any], *, kind: str
) -> None:
    """`write_tensors` of arrays."""
    write_bytes(path, safetensors.numpy.save(dict(arrays), metadata=_metadata(record, kind)))


def read_tensors(path: Path, *, kind: str) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The tensors (on the CPU) and the record of a file that was written with the same `kind`.

    TensorFileError for anything else; a pickle is never opened. OSError if it cannot be read.
    """
    return _read(path, kind=kind, framework="pt")


def read_arrays(path: Path, *, kind: str) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
    """`read_tensors`, as arrays; TensorFileError too for a type that NumPy has not."""
    return _read(path, kind=kind, framework="np")


def _read(path: Path, *, kind: str, framework: str) -> tuple[dict[str, Any], dict[str, Any]]:
    _require_safetensors(path, kind=kind)
    try:
        with safe_open(path, framework=framework) as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, TypeError, AttributeError) as error:  # the last two: a type unknown to NumPy
        raise TensorFileError(f"{path} is damaged or cut short: {error}") from error
    record = _parsed(metadata.get(_RECORD, "{}"), path)
    found = record.pop("kind", None)
    if found != kind:
        holds = f"a {found}" if found else "tensors, but no record of mien"
        raise TensorFileError(f"{path} holds {holds}; expected {_expected(kind)}")
    return tensors, record


def _metadata(record: Mapping[str, Any], kind: str) -> dict[str, str]:
    return {_RECORD: json.dumps({"kind": kind, **record})}


def _parsed(text: str, path: Path) -> dict[str, Any]:
    try:
        record = json.loads(text)
    except (json.JSONDecodeError, RecursionError) as error:
        raise TensorFileError(f"{path} is damaged: its record is not JSON ({error})") from error
    if not isinstance(record, dict):
        raise TensorFileError(f"{path} is damaged: its record is a {type(record).__name__}, not an object")
    return record


def _require_safetensors(path: Path, *, kind: str) -> None:
    with path.open("rb") as file:
        head = file.read(9)
    if head[8:] == b"{":  # after the header's length
        return
    expected = f"expected {_expected(kind)}, a .safetensors file"
    if head.startswith((b"PK\x03\x04", b"\x80")):
        raise TensorFileError(
            f"{path} is a pickle, as torch.save and pickle.dump write. Opening one can run any code, so it "
            f"was not opened; {expected}"
        )
    raise TensorFileError(f"{path} is {'not a safetensors file' if head else 'empty'}; {expected}")


def _expected(kind: str) -> str:
    return f"a {kind}, as {_WRITTEN_BY.get(kind, 'mien')} writes it"
