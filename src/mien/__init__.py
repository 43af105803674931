"""mien: what a face is doing, independently of whose face it is."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mien.detect.detector import Detector
    from mien.detect.table import Detections

__version__ = "0.1.0"
__all__ = ["Detections", "Detector", "__version__"]

_HOMES = {"Detector": "mien.detect.detector", "Detections": "mien.detect.table"}  # imported when asked for


def __getattr__(name: str) -> object:
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'mien' has no attribute {name!r}")
