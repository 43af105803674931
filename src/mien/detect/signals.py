"""Post-processing of a face's values over time: its own neutral removed (baseline), and a moving average.

Both work on logits of probabilities and on intensities as they are, one row at a time, in bounded memory.
Blendshapes and gaze are averaged, and have no neutral removed.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from mien.detect.table import FaceRow, TableLayout

NEUTRAL_PROBABILITY = 0.05
NEUTRAL_LOGIT = math.log(NEUTRAL_PROBABILITY / (1 - NEUTRAL_PROBABILITY))

_LEAST_PROBABILITY = 1e-6  # probabilities are clipped to this distance from 0 and 1: logits within +-13.8
_BIN = 0.04  # histogram bin of a logit or intensity: a percentile over a file is exact to half of it
_NUM_BINS = 700  # from -14 to 14
_TOLERANCE_SECONDS = 1e-6
_HOW_TO = "expected first:SECONDS (as first:5), file, or file:PERCENTILE (as file:50)"

Values = NDArray[np.float64]  # (V,) logits, then the other values


@dataclass(frozen=True)
class Baseline:
    """How a face's neutral is estimated: the median of its first `seconds`, or a percentile of the file.

    Faces differ at rest: to a model one person's still brow is half a frown. Where the neutral probability is
    above 5 %, the face's logits are lowered by the difference, so that the neutral reads 5 %. A lower neutral
    is left alone: raising it would invent action units. Intensities have the neutral's subtracted.
    """

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
        """`first:5`, `file` (10th percentile), or `file:50` (median)."""
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
        """For the table's metadata."""
        time = {"seconds": self.seconds} if self.kind == "first" else {}
        neutral = {"percentile": self.percentile, "neutral_probability": NEUTRAL_PROBABILITY}
        return {"kind": self.kind, **time, **neutral}


@dataclass(frozen=True)
class Smoothing:
    """A moving average of logits (and of intensities) over the frames of one face.

    `centred` averages from half of the time before a frame to half of it after, and causes no lag; `causal`
    averages over the time before a frame, as live video must, and lags by half of it.
    """

    seconds: float
    kind: Literal["centred", "causal"] = "centred"

    def __post_init__(self) -> None:
        if not 0 < self.seconds < math.inf:
            raise ValueError(f"smoothing over {self.seconds} s: expected a time above 0")

    def record(self) -> dict[str, Any]:
        """For the table's metadata."""
        return {"seconds": self.seconds, "kind": self.kind, "mean of": "logits; intensities as they are"}


def without_first_seconds_neutral(
    rows: Iterable[FaceRow],
    baseline: Baseline,
    *,
    layout: TableLayout,
    cut_short: dict[int, float] | None = None,
) -> Iterator[FaceRow]:
    """Each face's rows less its neutral over `baseline.seconds` from its first row on.

    Rows are held back until the first one's neutral is known, so memory holds that many seconds. A face whose
    first seconds had not passed when the last frame ended (it lasts as long as the one before) gets the
    neutral of the rows there were; the seconds these covered are written to `cut_short`.
    """
    collected: dict[int, list[Values]] = {}
    ends_at: dict[int, float] = {}
    neutral: dict[int, Values] = {}
    waiting: deque[FaceRow] = deque()
    last_two: deque[float] = deque(maxlen=2)  # times of frames

    def settle(face_id: int) -> None:
        neutral[face_id] = np.percentile(collected.pop(face_id), baseline.percentile, axis=0)

    for row in rows:
        if not last_two or row.seconds > last_two[-1]:
            last_two.append(row.seconds)
        for face_id in [face_id for face_id in collected if row.seconds > ends_at[face_id]]:
            settle(face_id)
        if row.face_id is not None and row.face_id not in neutral:
            ends_at.setdefault(row.face_id, row.seconds + baseline.seconds)
            collected.setdefault(row.face_id, []).append(_logits(row, layout))
        waiting.append(row)
        while waiting and (waiting[0].face_id is None or waiting[0].face_id in neutral):
            yield without_neutral(waiting.popleft(), neutral, layout=layout)
    for face_id in list(collected):
        settle(face_id)
        missing_seconds = round(ends_at[face_id] - (2 * last_two[-1] - last_two[0]), 3)
        if cut_short is not None and missing_seconds > 0:
            cut_short[face_id] = round(baseline.seconds - missing_seconds, 3)
    yield from (without_neutral(row, neutral, layout=layout) for row in waiting)


def neutral_of_file(rows: Iterable[FaceRow], baseline: Baseline, *, layout: TableLayout) -> dict[int, Values]:
    """Each face's percentile over all its rows, exact to 0.02 of a logit; memory grows with faces only."""
    counts: dict[int, NDArray[np.uint32]] = {}
    for row in rows:
        if row.face_id is None:
            continue
        values_V = np.nan_to_num(_logits(row, layout))  # NaN: an intensity that the model does not give
        counts_VB = counts.setdefault(row.face_id, np.zeros((len(values_V), _NUM_BINS), np.uint32))
        bins_V = np.clip(np.floor(values_V / _BIN).astype(int) + _NUM_BINS // 2, 0, _NUM_BINS - 1)
        counts_VB[np.arange(len(values_V)), bins_V] += 1
    return {face_id: _percentile(counts_VB, baseline.percentile) for face_id, counts_VB in counts.items()}


def without_neutral(row: FaceRow, neutral: Mapping[int, Values], *, layout: TableLayout) -> FaceRow:
    """The row less its face's neutral."""
    if row.face_id is None:
        return row
    neutral_V, values_V = neutral[row.face_id], _logits(row, layout)
    A, end = len(layout.units), layout.end_of_levels
    values_V[:A] -= np.maximum(0, neutral_V[:A] - NEUTRAL_LOGIT)
    values_V[A:end] -= neutral_V[A:end]
    return _with_logits(row, values_V, layout)


def smooth(rows: Iterable[FaceRow], smoothing: Smoothing, *, layout: TableLayout) -> Iterator[FaceRow]:
    """The rows in order, each held back until all that it averages over has arrived."""
    after_seconds = smoothing.seconds / 2 if smoothing.kind == "centred" else 0.0
    before_seconds = smoothing.seconds - after_seconds
    waiting: deque[FaceRow] = deque()
    near: deque[tuple[FaceRow, Values]] = deque()  # all that rows still to come average over

    def averaged(row: FaceRow) -> FaceRow:
        if row.face_id is None:
            return row
        first = row.seconds - before_seconds - _TOLERANCE_SECONDS
        last = row.seconds + after_seconds + _TOLERANCE_SECONDS
        of_face = ((other.seconds, values_V) for other, values_V in near if other.face_id == row.face_id)
        inside = [values_V for seconds, values_V in of_face if first <= seconds <= last]
        return _with_logits(row, np.mean(inside, axis=0), layout)

    for row in rows:
        waiting.append(row)
        if row.face_id is not None:
            near.append((row, _logits(row, layout)))
        while waiting and (
            not after_seconds or row.seconds > waiting[0].seconds + after_seconds + _TOLERANCE_SECONDS
        ):
            yield averaged(waiting.popleft())
        oldest = (waiting[0] if waiting else row).seconds - before_seconds - 2 * _TOLERANCE_SECONDS
        while near and near[0][0].seconds < oldest:
            near.popleft()
    yield from map(averaged, waiting)


def _logits(row: FaceRow, layout: TableLayout) -> Values:
    """The row's values with its probabilities as logits."""
    assert row.values_V is not None
    values_V = row.values_V.astype(np.float64)
    A = len(layout.units)
    probability_A = np.clip(values_V[:A], _LEAST_PROBABILITY, 1 - _LEAST_PROBABILITY)
    values_V[:A] = np.log(probability_A) - np.log1p(-probability_A)
    return values_V


def _with_logits(row: FaceRow, logits_V: Values, layout: TableLayout) -> FaceRow:
    """The row with these logits as its probabilities, and these intensities, kept within 0 to 5."""
    A, end = len(layout.units), layout.end_of_levels
    values_V = logits_V.copy()
    values_V[:A] = 1 / (1 + np.exp(-logits_V[:A]))
    values_V[A:end] = np.clip(logits_V[A:end], 0, 5)
    return replace(row, values_V=values_V.astype(np.float32))


def _percentile(counts_VB: NDArray[np.uint32], percentile: float) -> Values:
    wanted = max(1, math.ceil(percentile / 100 * int(counts_VB[0].sum())))
    bins_V = np.argmax(np.cumsum(counts_VB, axis=1) >= wanted, axis=1)
    middle_V: Values = (bins_V - _NUM_BINS // 2 + 0.5) * _BIN
    return middle_V
