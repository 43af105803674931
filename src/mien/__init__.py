"""mien: what a face is doing, independently of whose face it is.

The names below are the public interface (docs/api.md); everything else may change. Each is imported when it
is first used, so `import mien` is quick.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mien.backbones.base import BACKBONES as BACKBONES
    from mien.backbones.base import build_backbone as build_backbone
    from mien.data.store import TrackStore as TrackStore
    from mien.datasets.base import DATASETS as DATASETS
    from mien.datasets.rendered import shipped_clips as shipped_clips
    from mien.detect.au_model import load_au_model as load_au_model
    from mien.detect.detector import Detector as Detector
    from mien.detect.signals import Baseline as Baseline
    from mien.detect.signals import Smoothing as Smoothing
    from mien.detect.table import Detections as Detections
    from mien.evaluate.features import embed_frames as embed_frames
    from mien.train.encoder_file import load_encoder as load_encoder
    from mien.train.method import METHODS as METHODS

__version__ = "0.1.0"
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
__all__ = ["__version__", *sorted(_MODULES)]  # noqa: PLE0604

_OF_EXTRA_TRAIN = {"lightning_fabric", "onnx", "onnxscript", "scipy", "sklearn", "tensorboard", "torch"}


def __getattr__(name: str) -> object:
    if name not in _MODULES:
        raise AttributeError(f"module 'mien' has no attribute {name!r}")
    try:
        return getattr(import_module(_MODULES[name]), name)
    except ModuleNotFoundError as error:
        if not is_of_extra_train(error):
            raise
        words = f"mien.{name} needs more packages: pip install 'mien[train]' ({error})"
        raise ModuleNotFoundError(words, name=error.name) from error


def is_of_extra_train(error: ModuleNotFoundError) -> bool:
    """Whether `pip install 'mien[train]'` brings the module."""
    return (error.name or "").partition(".")[0] in _OF_EXTRA_TRAIN


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
