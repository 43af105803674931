"""The folder of the demo: what lies where, and how it is begun anew without touching anything else."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from mien.config import Settings


class DemoFolder:
    """faces/, stores, run/, feature tables and index.html below one folder."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.settings = path / "demo.json"
        self.drawn = path / "faces" / "pretraining"
        self.drawn_readout = path / "faces" / "read-out"
        self.store = path / "store"
        self.readout_store = path / "read-out-store"
        self.run = path / "run"
        self.encoder = self.run / "encoder.safetensors"
        self.features = path / "features.parquet"
        self.untrained_features = path / "untrained-features.parquet"

    def begin_anew(self, settings: Settings) -> None:
        """Remove what an earlier demo left here; ValueError when the folder holds anything but a demo."""
        if self.path.exists() and not self.settings.is_file() and any(self.path.iterdir()):
            raise ValueError(f"{self.path} holds other files than a demo's; name an empty or new --out")
        for folder in (self.path / "faces", self.store, self.readout_store, self.run):
            if folder.exists():
                shutil.rmtree(folder)
        self.path.mkdir(parents=True, exist_ok=True)
        self.settings.write_text(json.dumps(settings, indent=2) + "\n", encoding="utf-8")
