"""mien: what a face is doing, independently of whose face it is.

The names below are the public interface (docs/api.md); everything else may change. Each is imported when it
is first used, so `import mien` is quick.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mien.backbones.base import BACKBONES, build_backbone
    from mien.data.store import TrackStore
    from mien.datasets.base import DATASETS
    from mien.datasets.rendered import shipped_clips
    from mien.detect.au_model import load_au_model
    from mien.detect.detector import Detector
    from mien.detect.signals import Baseline, Smoothing
    from mien.detect.table import Detections
    from mien.evaluate.features import embed_frames
    from mien.train.encoder_file import load_encoder
    from mien.train.method import METHODS

__version__ = "0.1.0"
__all__ = [
    "BACKBONES",
    "DATASETS",
    "METHODS",
    "Baseline",
    "Detections",
    "Detector",
    "Smoothing",
    "TrackStore",
    "__version__",
    "build_backbone",
    "embed_frames",
    "load_au_model",
    "load_encoder",
    "shipped_clips",
]

_MODULES = {
    "BACKBONES": "mien.backbones.base",
    "DATASETS": "mien.datasets.base",
    "METHODS": "mien.train.method",
    "Baseline": "mien.detect.signals",
    "Detections": "mien.detect.table",
    "Detector": "mien.detect.detector",
    "Smoothing": "mien.detect.signals",
    "TrackStore": "mien.data.store",
    "build_backbone": "mien.backbones.base",
    "embed_frames": "mien.evaluate.features",
    "load_au_model": "mien.detect.au_model",
    "load_encoder": "mien.train.encoder_file",
    "shipped_clips": "mien.datasets.rendered",
}


def __getattr__(name: str) -> object:
    if name in _MODULES:
        return getattr(import_module(_MODULES[name]), name)
    raise AttributeError(f"module 'mien' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
