"""Events of action units: when each begins, peaks and ends, from a table of detections.

Also what `mien detect` writes beside each table: its events, and in its account what is usable.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
from numpy.typing import NDArray

from mien.detect.quality import QualitySettings
from mien.detect.statistics import FaceRows, faces_of, unit_columns, units_left_blank, units_with_presence
from mien.detect.table import Detections
from mien.findings.quality import quality_in_words, quality_report, usable_rows
from mien.io import write_bytes, write_csv

if TYPE_CHECKING:
    from mien.detect.recording import Account

Floats = NDArray[np.float64]

COLUMNS = (
    *("input", "face", "unit", "side", "onset", "apex", "offset"),
    *("duration", "peak", "mean", "intensity"),
)
BLINK = "blink"
_FRAMES = ("input", "frame", "timestamp", "face_id", "success", "confidence", "reason", "usable")
_EYES_CLOSE = ("AU45", "AU43")  # the first of these that the table has


@dataclass(frozen=True)
class EventSettings:
    """What counts as one event. Times are in seconds, shares are of a unit's threshold or of a side."""

    leave_share: float = 0.8  # an event goes on while the probability is above this share of the threshold
    shortest_seconds: float = 0.1
    longest_gap_seconds: float = 0.1  # without a usable row of the face, within an event
    longest_blink_seconds: float = 0.5  # eyes closed for longer are no blink
    one_sided_below: float = 0.4  # of the stronger side's intensity: the weaker side is not part of the event

    def __post_init__(self) -> None:
        times = (self.shortest_seconds, self.longest_gap_seconds, self.longest_blink_seconds)
        if not (0 < self.leave_share <= 1 and 0 <= self.one_sided_below <= 1 and min(times) >= 0):
            raise ValueError(f"{self}: expected shares of at most 1, leave_share above 0, times of 0 or more")


@dataclass(frozen=True)
class FindingsSettings:
    """What counts as an event, and which faces are usable."""

    events: EventSettings = field(default_factory=EventSettings)
    quality: QualitySettings = field(default_factory=QualitySettings)


def with_findings(
    account: Account, table: Path, *, combinations: Sequence[str], settings: EventSettings
) -> Account:
    """Write a Parquet table's events beside it; return its account with the usable share. WriteError.

    Pictures have no events. Only the columns that are needed are read, for tables of long videos.
    """
    header = Detections.load_header(table)
    needed = (*_FRAMES, *header.columns)
    names = [name for name in header.table.column_names if name.startswith(needed)]  # also AU01_present, ...
    rows = pq.read_table(table, columns=names).to_pandas(split_blocks=True, self_destruct=True)
    if rows["input"].nunique() == 1 and rows["frame"].nunique() > 1:
        thresholds = header.metadata.get("thresholds", {})
        found = find_events(rows, thresholds, combinations=combinations, settings=settings)
        write_events(found, table.with_suffix(".events.csv"), rows, combinations, settings)
    seen = rows["success"] == 1
    share = float(np.mean(rows.loc[seen, "usable"] == 1)) if seen.any() else None
    return replace(account, usable_share=share, quality=quality_in_words(quality_report(rows)))


def write_events(
    events: pd.DataFrame,
    path: Path,
    table: pd.DataFrame,
    combinations: Sequence[str],
    settings: EventSettings,
) -> None:
    """`NAME.events.csv`, and `NAME.events.json` with how they were found in the table. WriteError."""
    write_csv(path, events, float_format="%.4f")
    blank = dict.fromkeys(units_left_blank(table), "presence is blank")
    record = {"settings": asdict(settings), "combinations": list(combinations), "units_left_out": blank}
    text = json.dumps({"events": record}, indent=2) + "\n"
    write_bytes(path.with_suffix(".json"), text.encode(), temporary_folder=path.parent)


def find_events(
    table: pd.DataFrame,
    thresholds: Mapping[str, float],
    *,
    combinations: Sequence[str] = (),
    settings: EventSettings | None = None,
) -> pd.DataFrame:
    """One row per event, with the columns `COLUMNS`; times in seconds of the file.

    An event of a unit spans the frames in which its probability is above its threshold (by column, as
    `AU12`); it goes on over frames in which the probability stays above `leave_share` of the threshold, and
    over short gaps without the face. Onset and offset are where the probability crosses the threshold,
    interpolated between two frames; where an event is cut by a gap or by an end of the file, they are the
    times of its first frame and of its last frame's end. `peak` and `mean` are of the probability; `apex` is
    the time of the highest intensity, or probability where there is none; `intensity` is the highest, NaN
    without. `side` is left, right, both, or empty where the model has no sides or none reaches intensity 1.

    A combination, `6+12`, is an event of its own while all its units are present; the weakest of them gives
    its values. Events of closed eyes that are short enough are listed again as unit `blink`.

    Rows that are not `usable`, where the table has that column, count as missing. Units whose presence is
    blank are left out, and so are combinations with them. Pictures have no events. ValueError for a unit
    without a threshold or a combination that is none.
    """
    settings = settings or EventSettings()
    wanted = followed(table, combinations)
    missing = [unit for unit in wanted if unit in unit_columns(table) and unit not in thresholds]
    if missing:
        raise ValueError(f"no threshold of {', '.join(missing)}: expected one per unit, as in the metadata")
    faces = [face for face in faces_of(table) if face.num_frames > 1]
    found = [
        event
        for face in faces
        for name, units in wanted.items()
        for event in _events_of(Series(face, units), name, thresholds, settings)
    ]
    events = pd.DataFrame(found, columns=list(COLUMNS)).astype({"face": np.int64})
    events = events[(events["unit"] != BLINK) | (events["duration"] <= settings.longest_blink_seconds)]
    return events.sort_values(["input", "face", "onset"], kind="stable", ignore_index=True)


def followed(table: pd.DataFrame, combinations: Sequence[str] = ()) -> dict[str, tuple[str, ...]]:
    """What a table has events of, and the columns of its units: units, combinations, blinks."""
    found = {unit: (unit,) for unit in units_with_presence(table)}
    asked = {name: units_of(name, unit_columns(table)) for name in combinations}
    blinks = [{BLINK: (unit,)} for unit in _EYES_CLOSE if unit in found]
    shown = {name: units for name, units in asked.items() if found.keys() >= set(units)}
    return found | shown | (blinks[0] if blinks else {})


def combinations_of(text: str) -> tuple[str, ...]:
    """The combinations of `"6+12,1+2+4"`, each as in `("6+12", "1+2+4")`. ValueError for anything else."""
    return tuple("+".join(str(number) for number in _numbers(part)) for part in text.split(",") if part)


def units_of(combination: str, columns: Sequence[str]) -> tuple[str, ...]:
    """The columns of a combination's units; ValueError where one is not among a table's `columns`."""
    units = tuple(f"AU{number:02d}" for number in _numbers(combination))
    missing = [unit for unit in units if unit not in columns]
    if missing:
        raise ValueError(f"combination {combination!r}: there is no {missing[0]}, only {', '.join(columns)}")
    return units


class Series:
    """The usable rows of one face for one unit or combination: N of them, in time."""

    def __init__(self, face: FaceRows, units: tuple[str, ...]) -> None:
        usable_N = usable_rows(face.rows)
        columns = [name for name in face.rows if name.startswith(("timestamp", *units))]
        self.face, self.units = face, units
        self.rows = face.rows.loc[usable_N, columns]
        self.time_N = self.rows["timestamp"].to_numpy(np.float64)
        self.shown_N = face.seconds_N[usable_N]  # how long each frame is shown

    def weakest(self, ending: str = "") -> Floats:
        """(N,): the least of the units' probabilities, or of their columns with that ending; NaN without."""
        columns = [f"{unit}{ending}" for unit in self.units]
        if not set(columns) <= set(self.rows):
            return np.full(len(self.rows), np.nan)
        least_N: Floats = self.rows[columns].to_numpy(np.float64).min(axis=1)
        return least_N

    def breaks(self, longest_gap_seconds: float) -> NDArray[np.bool_]:
        """(N + 1,): whether too long a time without a row, or an end of the file, comes before each row."""
        missing_N = self.time_N[1:] - (self.time_N + self.shown_N)[:-1]
        inner = missing_N > longest_gap_seconds + 1e-6
        return np.concatenate([[True], inner, [True]])[-len(self.rows) - 1 :]


def _events_of(
    series: Series, name: str, thresholds: Mapping[str, float], settings: EventSettings
) -> Iterator[tuple[Any, ...]]:
    """Rows of `COLUMNS`."""
    scale_U = np.array([thresholds[unit] for unit in series.units])
    level_N = (series.rows[list(series.units)].to_numpy(np.float64) / scale_U).min(axis=1)
    time_N, shown_N = series.time_N, series.shown_N
    probability_N, intensity_N = series.weakest(), series.weakest("_intensity")
    sides = [series.weakest(f"_intensity_{side}") for side in ("left", "right")]
    breaks_N = series.breaks(settings.longest_gap_seconds)
    for first, last in _spans(level_N, breaks_N[:-1], settings.leave_share):
        span = slice(first, last + 1)
        onset = time_N[first] if breaks_N[first] else _crossing(time_N, level_N, first - 1)
        ends = breaks_N[last + 1]
        offset = time_N[last] + shown_N[last] if ends else _crossing(time_N, level_N, last)
        if offset - onset < settings.shortest_seconds - 1e-9:
            continue
        graded = np.isfinite(intensity_N[span]).any()
        apex = first + int(np.nanargmax((intensity_N if graded else probability_N)[span]))
        yield (
            *(series.face.input, series.face.face_id, name),
            _side([side_N[span] for side_N in sides], settings.one_sided_below),
            *(onset, time_N[apex], offset, offset - onset),
            *(probability_N[span].max(), np.average(probability_N[span], weights=shown_N[span])),
            np.nanmax(intensity_N[span]) if graded else np.nan,
        )


def _spans(level_N: Floats, breaks_N: NDArray[np.bool_], leave_share: float) -> list[tuple[int, int]]:
    """(first, last) row above 1 of each run without a break in which the level stays above `leave_share`."""
    run_N = np.cumsum(~(level_N > leave_share) | breaks_N)
    above = pd.Series(np.flatnonzero(level_N > 1))
    rows = above.groupby(run_N[above]).agg(["first", "last"])
    return list(rows.itertuples(index=False, name=None))


def _crossing(time_N: Floats, level_N: Floats, before: int) -> float:
    """When the level crosses 1 between this row and the next, by linear interpolation."""
    (level, next_level), (time, next_time) = level_N[before : before + 2], time_N[before : before + 2]
    return float(time + (1 - level) / (next_level - level) * (next_time - time))


def _side(side_2N: Sequence[Floats], one_sided_below: float) -> str:
    left, right = (float(np.nanmax(side_N, initial=-1)) for side_N in side_2N)
    if min(left, right) < 0 or max(left, right) < 1:
        return ""
    if min(left, right) >= one_sided_below * max(left, right):
        return "both"
    return "left" if left > right else "right"


def _numbers(text: str) -> list[int]:
    numbers = [part.strip() for part in text.split("+")]
    if len({*numbers}) < max(2, len(numbers)) or not all(map(str.isdecimal, numbers)):
        raise ValueError(f"combination {text!r}: expected different action units joined by +, as 6+12")
    return [int(number) for number in numbers]
