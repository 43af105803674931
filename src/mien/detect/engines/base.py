"""What an engine is, and how one is opened by name."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar, Protocol

import numpy as np
from numpy.typing import NDArray

from mien.detect.au_model import AuModel
from mien.registry import Registry


class EngineError(ValueError):
    """An engine that cannot run a model: not installed, nothing exported, or exported from another model."""


class Engine(Protocol):
    """Runs one model's network on face crops. One thread calls it at a time; any thread may."""

    name: ClassVar[str]

    def __init__(self, model: AuModel, *, model_path: Path, threads: int | None) -> None:
        """Open for `model`, whose exported files lie beside `model_path`; EngineError when that cannot be."""

    def __call__(self, crops_NHWC: NDArray[np.uint8]) -> NDArray[np.float32]:
        """(N, K) raw outputs, for `AuModel.read`, of (N, S, S, 3) RGB aligned crops, S = crop_size_px."""


ENGINES: Registry[type[Any]] = Registry("mien.detect.engines", kind="engine")


def open_engine(name: str, model: AuModel, *, model_path: Path, threads: int | None = None) -> Engine:
    """The engine registered as `name`, ready to run; `threads` of the CPU, None leaves it to the engine.

    ValueError for an unknown name, EngineError when the engine cannot run this model.
    """
    engine: Engine = ENGINES.get(name)(model, model_path=Path(model_path), threads=threads)
    return engine
