"""A face's own neutral, taken off what is read from it.

Faces differ at rest: to a model one person's still brow is half a frown. The neutral is a face's values over
its first seconds, or a percentile of them over the whole file. Where neutral reads above 5 %, the face's
logits are lowered by the difference, so that it reads 5 %; a neutral below that is left: raising it would
make action units of nothing. Intensities have the neutral's subtracted.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from mien.detect.logit_space import from_logit_space, to_logit_space
from mien.detect.rows import FaceRow

NEUTRAL_PROBABILITY = 0.05
NEUTRAL_LOGIT = math.log(NEUTRAL_PROBABILITY / (1 - NEUTRAL_PROBABILITY))

_BIN = 0.04  # of a logit, and of an intensity: a percentile over a file is exact to half of it
_NUM_BINS = 700  # from -14 to 14
_HOW_TO = "expected first:SECONDS (as first:5), file, or file:PERCENTILE (as file:50)"

Neutral = NDArray[np.float64]  # (V,) logits, then intensities


@dataclass(frozen=True)
class Baseline:
    """How a face's neutral is found: the median of its first `seconds`, or a percentile of the whole file."""

    kind: Literal["first", "file"]
    seconds: float = math.nan
    percentile: float = 50.0

    def __post_init__(self) -> None:
        if self.kind == "first" and not 0 < self.seconds < math.inf:
            raise ValueError(f"a baseline from the first {self.seconds} seconds: expected a time above 0")
        if not 0 <= self.percentile <= 100:
            raise ValueError(f"a baseline at percentile {self.percentile}: expected 0 to 100")

    @classmethod
    def parse(cls, text: str) -> Baseline:
        """`first:5`, `file` (its 10th percentile), or `file:50` (its median)."""
        kind, _, number = text.partition(":")
        try:
            if kind == "first" and number:
                return cls("first", seconds=float(number))
            if kind == "file":
                return cls("file", percentile=float(number) if number else 10.0)
        except ValueError as error:
            raise ValueError(f"baseline {text!r}: {error}; {_HOW_TO}") from error
        raise ValueError(f"baseline {text!r}: {_HOW_TO}")

    def record(self) -> dict[str, Any]:
        """What the table's metadata says of it."""
        time = {"seconds": self.seconds} if self.kind == "first" else {}
        return {
            "kind": self.kind,
            **time,
            "percentile": self.percentile,
            "neutral_probability": NEUTRAL_PROBABILITY,
        }


def without_first_seconds_neutral(
    rows: Iterable[FaceRow],
    baseline: Baseline,
    *,
    num_units: int,
    cut_short: dict[int, float] | None = None,
) -> Iterator[FaceRow]:
    """Each face's rows less its neutral over `baseline.seconds` from its first row on.

    Rows are held back until the neutral of the foremost is known: memory holds that many seconds. A face
    whose first seconds were not over when the last frame was (it lasts as long as the one before) has the
    neutral of what there was of them; how many seconds that were is written into `cut_short`.
    """
    collected: dict[int, list[Neutral]] = {}
    ends_at: dict[int, float] = {}
    neutral: dict[int, Neutral] = {}
    waiting: deque[FaceRow] = deque()

    def settle(face_id: int) -> None:
        neutral[face_id] = np.percentile(collected.pop(face_id), baseline.percentile, axis=0)

    last_two: deque[float] = deque(maxlen=2)  # frames, in seconds
    for row in rows:
        if not last_two or row.seconds > last_two[-1]:
            last_two.append(row.seconds)
        for face_id in [face_id for face_id in collected if row.seconds > ends_at[face_id]]:
            settle(face_id)
        if row.face_id is not None and row.face_id not in neutral:
            ends_at.setdefault(row.face_id, row.seconds + baseline.seconds)
            collected.setdefault(row.face_id, []).append(_space(row, num_units))
        waiting.append(row)
        while waiting and (waiting[0].face_id is None or waiting[0].face_id in neutral):
            yield without_neutral(waiting.popleft(), neutral, num_units=num_units)
    for face_id in list(collected):
        settle(face_id)
        missing_seconds = round(ends_at[face_id] - (2 * last_two[-1] - last_two[0]), 3)
        if cut_short is not None and missing_seconds > 0:
            cut_short[face_id] = round(baseline.seconds - missing_seconds, 3)
    yield from (without_neutral(row, neutral, num_units=num_units) for row in waiting)


def neutral_of_file(rows: Iterable[FaceRow], baseline: Baseline, *, num_units: int) -> dict[int, Neutral]:
    """Each face's percentile over all its rows, to within 0.02 of a logit; memory grows with faces alone."""
    counts: dict[int, NDArray[np.uint32]] = {}
    for row in rows:
        if row.face_id is None:
            continue
        space_V = np.nan_to_num(_space(row, num_units))  # NaN: an intensity that the model does not give
        counts_VB = counts.setdefault(row.face_id, np.zeros((len(space_V), _NUM_BINS), np.uint32))
        bins_V = np.clip(np.floor(space_V / _BIN).astype(int) + _NUM_BINS // 2, 0, _NUM_BINS - 1)
        counts_VB[np.arange(len(space_V)), bins_V] += 1
    return {face_id: _percentile(counts_VB, baseline.percentile) for face_id, counts_VB in counts.items()}


def without_neutral(row: FaceRow, neutral: Mapping[int, Neutral], *, num_units: int) -> FaceRow:
    """The row less its face's neutral."""
    if row.face_id is None:
        return row
    neutral_V = neutral[row.face_id]
    space_V = _space(row, num_units)
    space_V[:num_units] -= np.maximum(0, neutral_V[:num_units] - NEUTRAL_LOGIT)
    space_V[num_units:] -= neutral_V[num_units:]
    return row.with_values(from_logit_space(space_V, num_units))


def _space(row: FaceRow, num_units: int) -> Neutral:
    assert row.values_V is not None
    return to_logit_space(row.values_V, num_units)


def _percentile(counts_VB: NDArray[np.uint32], percentile: float) -> Neutral:
    wanted = max(1, math.ceil(percentile / 100 * int(counts_VB[0].sum())))
    bins_V = np.argmax(np.cumsum(counts_VB, axis=1) >= wanted, axis=1)
    middle: Neutral = (bins_V - _NUM_BINS // 2 + 0.5) * _BIN
    return middle
