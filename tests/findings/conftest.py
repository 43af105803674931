from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from mien.detect.table import Detections, TableLayout
from mien.findings.coding import Coding, events_of
from tests.detect.rows_by_hand import face_row


@pytest.fixture
def by_hand_detections():
    """Four frames at 25 frames/s of one face: AU01 and AU04, thresholds .5."""
    layout = TableLayout((1, 4), np.full(2, 0.5, np.float32), None)
    values = [(0.0, 0.0), (1.0, 0.0), (1.0, 1.0), (0.0, 1.0)]
    rows = [face_row(frame / 25, value) for frame, value in enumerate(values)]
    return Detections(layout.table(rows), {"thresholds": {"AU01": 0.5, "AU04": 0.5}})


@pytest.fixture
def coding():
    """make({tier: [(onset, offset[, intensity]), ...]}, **fields) -> Coding."""

    def make(tiers, *, path="by-hand.csv", **fields):
        rows = [
            (tier, float(onset), float(offset), float(*graded or [np.nan]))
            for tier, spans in tiers.items()
            for onset, offset, *graded in spans
        ]
        return Coding(Path(path), list(tiers), events_of(rows), **fields)

    return make
