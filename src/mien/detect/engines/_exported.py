"""Exported files beside a model, and the receipt that ties them to it.

`NAME.ENGINE.json` beside `NAME.safetensors` holds the digest of the model's network, the SHA-256 of every
file, and how the export agreed with torch. Files that differ are never handed to an engine's own parser.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from mien.detect.au_model import AuModel
from mien.detect.engines.base import EngineError, ExportedEngine

KIND = "mien exported model"


def receipt_path(model_path: Path, engine: str) -> Path:
    """Where the receipt lies."""
    return model_path.with_name(f"{model_path.stem}.{engine}.json")


def exported_files(engine: type[ExportedEngine], folder: Path, stem: str) -> tuple[Path, ...]:
    """Where an engine's files lie, whether they are there or not."""
    return tuple(folder / f"{stem}{suffix}" for suffix in engine.suffixes)


def checked_files(engine: type[ExportedEngine], model: AuModel, model_path: Path) -> tuple[Path, ...]:
    """The exported files of this very model, unchanged; EngineError saying what to do otherwise."""
    again = f"Write it with:\n  mien export {model_path} --engine {engine.name} --calibrate CROPS"
    path = receipt_path(model_path, engine.name)
    receipt = _read(path, again)
    if receipt.get("engine") != engine.name or receipt.get("network_digest") != model.network_digest:
        raise EngineError(
            f"{path} is of another model: its network is {receipt.get('network_digest')}, that of "
            f"{model_path} is {model.network_digest}. {again}"
        )
    files = exported_files(engine, model_path.parent, model_path.stem)
    for file in files:
        if not file.is_file():
            raise EngineError(f"{file} is missing, though {path.name} speaks of it. {again}")
        if sha256_of(file) != receipt.get("files", {}).get(file.name):
            raise EngineError(f"{file} is damaged or changed: its hash is not that in {path.name}. {again}")
    return files


def sha256_of(path: Path) -> str:
    """Of a file's content."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _read(path: Path, again: str) -> dict[str, Any]:
    if not path.is_file():
        raise EngineError(f"{path}: no such file; the model is not exported for this engine. {again}")
    try:
        receipt = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise EngineError(f"{path} is not JSON ({error}). {again}") from error
    if (
        not isinstance(receipt, dict)
        or receipt.get("kind") != KIND
        or not isinstance(receipt.get("files"), dict)
    ):
        raise EngineError(f"{path} is no receipt of `mien export`. {again}")
    return receipt
