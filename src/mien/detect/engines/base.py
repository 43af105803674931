"""What an engine is, and how one is opened by name."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Protocol

import numpy as np
from numpy.typing import NDArray

from mien.detect.au_model import AuModel
from mien.registry import Registry

Images = NDArray[np.uint8]


class EngineError(ValueError):
    """An engine that cannot run a model: not installed, nothing exported, or exported from another model."""


@dataclass(frozen=True)
class Tolerance:
    """How far an exported model may lie from torch: beyond this it is refused."""

    mean_difference: float  # of a probability
    presence_agreement: float  # share of faces and units on the same side of the threshold
    max_difference: float | None  # of a probability; None: told, not limited


class Engine(Protocol):
    """Runs one model's network on face crops. One thread calls it at a time; any thread may."""

    name: ClassVar[str]

    def __init__(self, model: AuModel, *, model_path: Path, threads: int | None) -> None:
        """Open for `model`, whose exported files lie beside `model_path`; EngineError when that cannot be."""

    def __call__(self, crops_NHWC: Images) -> NDArray[np.float32]:
        """(N, K) raw outputs, for `AuModel.read`, of (N, S, S, 3) RGB aligned crops, S = crop_size_px."""


class ExportedEngine(Engine, Protocol):
    """An engine that runs files which `mien export` wrote."""

    tolerance: ClassVar[Tolerance]
    suffixes: ClassVar[tuple[str, ...]]  # of its files; the first is the one to open

    @staticmethod
    def write(model: AuModel, files: tuple[Path, ...], calibration_NHWC: Images) -> None:
        """Write `files`, one a suffix; EngineError when what it takes is not installed.

        calibration_NHWC: crops to calibrate on.
        """


ENGINES: Registry[type[Any]] = Registry("mien.detect.engines", kind="engine")


def open_engine(name: str, model: AuModel, *, model_path: Path, threads: int | None = None) -> Engine:
    """The engine registered as `name`, ready to run; `threads` of the CPU, None leaves it to the engine.

    ValueError for an unknown name, EngineError when the engine cannot run this model.
    """
    engine: Engine = ENGINES.get(name)(model, model_path=Path(model_path), threads=threads)
    return engine


def engines_to_export() -> list[str]:
    """The names of the engines that run exported files."""
    return [name for name in ENGINES.names() if hasattr(ENGINES.get(name), "write")]
