"""What runs a model's network, one file an engine; a file dropped in here is found."""

from mien.detect.engines.base import ENGINES, Engine, EngineError, open_engine

__all__ = ["ENGINES", "Engine", "EngineError", "open_engine"]
