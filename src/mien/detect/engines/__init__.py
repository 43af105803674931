"""What runs a model's network, one file an engine; a file dropped in here is found."""

from mien.detect.engines.base import (
    ENGINES,
    Engine,
    EngineError,
    ExportedEngine,
    Tolerance,
    engines_to_export,
    open_engine,
)

__all__ = [
    "ENGINES",
    "Engine",
    "EngineError",
    "ExportedEngine",
    "Tolerance",
    "engines_to_export",
    "open_engine",
]
