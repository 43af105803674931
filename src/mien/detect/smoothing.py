"""Averages a face's values over a short stretch of time; memory holds that stretch and no more."""

from __future__ import annotations

import math
from collections import defaultdict, deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from mien.detect.logit_space import from_logit_space, to_logit_space
from mien.detect.rows import FaceRow

_TOLERANCE_SECONDS = 1e-6


@dataclass(frozen=True)
class Smoothing:
    """A moving average of logits (and of intensities) over the frames of one face.

    `centred` averages from half of the time before a frame to half of it after, and delays nothing in time;
    `causal` averages over the time before a frame, as a live picture must, and lags by half of it.
    """

    seconds: float
    kind: Literal["centred", "causal"] = "centred"

    def __post_init__(self) -> None:
        if not 0 < self.seconds < math.inf:
            raise ValueError(f"smoothing over {self.seconds} s: expected a time above 0")

    def record(self) -> dict[str, Any]:
        """What the table's metadata says of it."""
        return {"seconds": self.seconds, "kind": self.kind, "mean of": "logits; intensities as they are"}


def smooth(rows: Iterable[FaceRow], smoothing: Smoothing, *, num_units: int) -> Iterator[FaceRow]:
    """The rows in their order, each held back until all that it averages over is there."""
    after_seconds = smoothing.seconds / 2 if smoothing.kind == "centred" else 0.0
    before_seconds = smoothing.seconds - after_seconds
    window = _Window(before_seconds, after_seconds, num_units)
    waiting: deque[FaceRow] = deque()
    for row in rows:
        waiting.append(row)
        window.add(row)
        while row.seconds > waiting[0].seconds + after_seconds + _TOLERANCE_SECONDS:
            yield window.averaged(waiting.popleft())
            if not waiting:
                break
        if not after_seconds:
            yield from (window.averaged(row) for row in waiting)
            waiting.clear()
        window.forget(before=waiting[0].seconds if waiting else row.seconds)
    yield from (window.averaged(row) for row in waiting)


class _Window:
    """The last values of each face; what lies too far back for any row still to come is forgotten."""

    def __init__(self, before_seconds: float, after_seconds: float, num_units: int) -> None:
        self._before, self._after = before_seconds, after_seconds
        self._num_units = num_units
        self._of_face: defaultdict[int, deque[tuple[float, NDArray[np.float64]]]] = defaultdict(deque)

    def add(self, row: FaceRow) -> None:
        if row.face_id is not None and row.values_V is not None:
            space_V = to_logit_space(row.values_V, self._num_units)
            self._of_face[row.face_id].append((row.seconds, space_V))

    def forget(self, *, before: float) -> None:
        """Faces that no row from `before` seconds on averages over."""
        oldest = before - self._before - 3 * _TOLERANCE_SECONDS
        for face_id in [face_id for face_id, values in self._of_face.items() if values[-1][0] < oldest]:
            del self._of_face[face_id]

    def averaged(self, row: FaceRow) -> FaceRow:
        if row.face_id is None:
            return row
        values = self._of_face[row.face_id]
        first, last = self._bounds(row.seconds)
        while values[0][0] < first and len(values) > 1:
            values.popleft()
        inside = [space_V for seconds, space_V in values if first <= seconds <= last]
        return row.with_values(from_logit_space(np.mean(inside, axis=0), self._num_units))

    def _bounds(self, seconds: float) -> tuple[float, float]:
        return seconds - self._before - _TOLERANCE_SECONDS, seconds + self._after + _TOLERANCE_SECONDS
