"""A coding: which action units a coder or a model saw when, in one or more videos; one form for all files."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache, cached_property
from pathlib import Path, PurePath
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mien.detect.statistics import frame_seconds
from mien.facs import ACTION_UNITS, INTENSITY_LETTERS
from mien.video import read_frames

Floats = NDArray[np.float64]
Face = tuple[str, str]  # input, and a face id or a name; "" where the file names nobody
Tier = tuple[str, str, str, str]  # input, face, unit (AU12, as 6+12, or blink), side (left, right, "")
Spans = Mapping[Tier, Sequence[tuple[int, int, str]]]  # onset and offset in ms, intensity letter or ""

TIER = ["input", "face", "unit", "side"]
EVENT = [*TIER, "onset", "offset", "intensity"]
_LABEL = re.compile(
    r"(?:(?P<who>.*?\S)[\s:_/-]+)??"
    r"(?:(?P<mark>[LR]?(?:AU[\s_-]?)?)0*(?P<number>\d{1,2})(?P<end>[LR])?|(?P<other>\d+(?:\+\d+)+|blink))"
    r"(?:[\s_-]+(?P<side>left|right))?",
    re.IGNORECASE,
)
_HALF_MILLISECOND = 0.0005
_SLACK_SECONDS = 0.05  # players round


class CodingError(ValueError):
    """A file that holds no coding, or a coding that a tool cannot hold; names file and place."""


class Run(NamedTuple):
    """Rows with one value that follow one another: first and last row, onset and offset in seconds."""

    first: int
    last: int
    onset: float
    offset: float
    value: float


@dataclass(frozen=True, eq=False)
class Coding:
    """What one file says.

    `tiers`: everything that was coded. A unit without a tier was not coded; one with a tier and no event was
    coded and never seen. `events`: columns `TIER`, onset, offset (s), intensity (0 to 5, NaN not coded).
    `frames`, of a file with a row per frame, by face: frame (from 0, -1 unknown), seconds (NaN unknown), a
    column per unit (1, 0, NaN not coded) and `AU12_intensity` where there are intensities.
    """

    path: Path
    tiers: Sequence[Tier]
    events: pd.DataFrame
    frames: Mapping[Face, pd.DataFrame] = field(default_factory=dict)
    people: Mapping[Face, str] = field(default_factory=dict)  # who is behind a face, where it is known
    videos: Mapping[str, Path] = field(default_factory=dict)  # by input, where they are known
    limits: Mapping[str, tuple[float, float]] = field(default_factory=dict)  # a video's start, end, file time
    from_first_frame: bool = False  # the times, as players count; else file time
    left_out: tuple[str, ...] = ()  # what the file has that is no event of an action unit

    @cached_property
    def faces(self) -> dict[str, list[str]]:
        """Those of each video, the one with most frames first; videos in the order of the file."""
        found: dict[str, list[str]] = {name: [] for name, _ in self.units}
        for name, face in sorted(self.units, key=lambda face: -len(self.frames.get(face, ()))):
            found[name].append(face)
        return found

    @cached_property
    def units(self) -> dict[Face, list[str]]:
        """The units that were coded for each face."""
        found: dict[Face, list[str]] = {}
        for name, face, unit in dict.fromkeys(tier[:3] for tier in self.tiers):
            found.setdefault((name, face), []).append(unit)
        return found

    def spans(self, face: Face, unit: str) -> list[tuple[float, float, float]]:
        """Onset, offset and greatest intensity of a unit's events; sides that overlap are one event."""
        found: list[tuple[float, float, float]] = []
        for span in sorted(self._spans.get((*face, unit), ())):
            last = found.pop() if found and span[0] < found[-1][1] else span
            found.append((last[0], max(last[1], span[1]), float(np.fmax(last[2], span[2]))))
        return found

    @cached_property
    def _spans(self) -> dict[Any, list[tuple[float, ...]]]:
        groups = self.events.groupby(TIER[:3])[["onset", "offset", "intensity"]]
        return {key: list(rows.itertuples(index=False, name=None)) for key, rows in groups}

    def in_file_time(self, limits: Mapping[str, tuple[float, float]]) -> Coding:
        """With the times of a player moved to the video's first frame, where its time is known."""
        if not self.from_first_frame:
            return self
        starts = {name: start for name, (start, _) in limits.items()}
        by = self.events["input"].map(starts).fillna(0.0).astype(float)
        events = self.events.assign(onset=self.events["onset"] + by, offset=self.events["offset"] + by)
        return replace(self, events=events, from_first_frame=False)

    def outside(self) -> list[str]:
        """The events that begin before their video or end after it, in words."""
        unknown = (-np.inf, np.inf)
        return [
            f"{self.path}: {event.input}, {event.unit}: {event.onset:.3f} to {event.offset:.3f} s, outside "
            f"the video's {start:.3f} to {end:.3f} s"
            for event in self.in_file_time(self.limits).events.itertuples()
            for start, end in [self.limits.get(event.input, unknown)]
            if event.onset < start - _SLACK_SECONDS or event.offset > end + _SLACK_SECONDS
        ]

    def readings(self, face: Face, timeline: pd.DataFrame) -> dict[str, tuple[Floats, Floats]]:
        """Presence (1, 0) and intensity in each row of `timeline` (frame, seconds), by unit; NaN: none."""
        if face in self.frames:
            rows = _rows_at(self.frames[face], timeline)
            return {unit: _read(rows, unit) for unit in self.units[face]}
        time_N = _floats(timeline["seconds"]) + _HALF_MILLISECOND  # the tools round to 1 ms
        return {unit: _at(self.spans(face, unit), time_N) for unit in self.units[face]}


def coding_of_tool(
    path: Path,
    tiers: Iterable[tuple[str, str, str]],
    events: Iterable[tuple[str, str, str, float, float, str]],
) -> Coding:
    """From a tool's tiers (video, who, label), and its events: also onset, offset (s) and intensity as text.

    Events of no action unit, and events without a length, are left out and counted by their label.
    """
    coded = dict.fromkeys(tier_of(label, video, who) for video, who, label in tiers)
    found: list[tuple[Any, ...]] = []
    left_out: Counter[str] = Counter()
    for video, who, label, onset, offset, text in events:
        tier = tier_of(label, video, who)
        if tier is None or not onset < offset:
            left_out[label] += 1
        else:
            found.append((tier, onset, offset, intensity_of(text)))
    return Coding(
        path,
        [tier for tier in coded if tier is not None],
        events_of(found),
        from_first_frame=True,
        left_out=tuple(f"{label!r} ({count})" for label, count in left_out.items()),
    )


def tier_of(label: str, name: str, who: str = "") -> Tier | None:
    """The tier that a tool's label means, as `face 0 AU12 left`, `AU 12` or `L12`; None for another one.

    `name` is the video's; `who` is what the tool itself names, a participant or subject.
    """
    match = _LABEL.fullmatch(label.strip())
    if match is None or (match["number"] and int(match["number"]) not in ACTION_UNITS):
        return None
    if match["who"] and match["mark"] == "":  # `face 12` names no unit
        return None
    unit = (match["other"] or "").lower() or ACTION_UNITS[int(match["number"])].column
    letter = ((match["mark"] or "")[:1] + (match["end"] or "")).lower().strip("a")
    side = (match["side"] or {"l": "left", "r": "right"}.get(letter, "")).lower()
    who = re.sub(r"(?i)^face\s*(?=\d+$)", "", match["who"] or who)
    return name, who, unit, side


def who_of(tier: Tier) -> str:
    """`face 0`, or a name."""
    return f"face {tier[1]}" if tier[1].isdecimal() else tier[1]


def label_of(tier: Tier) -> str:
    """What `tier_of` reads."""
    return " ".join(filter(None, (who_of(tier), *tier[2:])))


def intensity_of(text: str) -> float:
    """0 to 5 from a FACS letter or a number, the greatest of several with | between; NaN for other text."""
    if "|" in text:
        return float(np.fmax.reduce([intensity_of(part) for part in text.split("|")]))
    text = text.strip().upper()
    if text in INTENSITY_LETTERS[1:]:
        return float(INTENSITY_LETTERS.index(text))
    return float(text) if re.fullmatch(r"[0-4](\.\d+)?|5(\.0+)?", text) else np.nan


def events_of(rows: Iterable[tuple[Any, ...]]) -> pd.DataFrame:
    """The table of (tier, onset, offset, intensity)."""
    return pd.DataFrame([(*tier, *values) for tier, *values in rows], columns=EVENT)


def in_milliseconds(coding: Coding) -> dict[Tier, list[tuple[int, int, str]]]:
    """Onset, offset and intensity letter of each event by tier, as tools keep them: from the first frame.

    The coding is in file time. CodingError where an event begins before 0, is shorter than 1 ms, or overlaps
    another one of its tier.
    """
    found: dict[Tier, list[tuple[int, int, str]]] = {tier: [] for tier in sorted(coding.tiers)}
    for *tier, onset, offset, intensity in coding.events.sort_values("onset").itertuples(index=False):
        spans, start = found[tuple(tier)], coding.limits.get(tier[0], (0.0, 0.0))[0]
        first, last = round(1000 * (onset - start)), round(1000 * (offset - start))
        earliest = spans[-1][1] if spans else 0
        if first < earliest or last <= first:
            raise CodingError(
                f"{coding.path}, {tier[0]}, {label_of(tuple(tier))}: an event from {onset - start:.3f} to "
                f"{offset - start:.3f} s; expected 1 ms or more, not before {earliest / 1000:.3f} s"
            )
        letter = "" if np.isnan(intensity) else INTENSITY_LETTERS[min(5, max(1, round(intensity)))]
        spans.append((first, last, letter))
    return found


def runs_of(values_N: Floats, seconds_N: Floats) -> list[Run]:
    """The runs of one value; rows that are NaN belong to none.

    A frame lasts until the next; before a gap of more than 1.5 usual steps, which ends a run, and at the end
    it lasts one usual step.
    """
    if not len(values_N):
        return []
    steps_N = np.diff(seconds_N)
    usual = float(np.median(steps_N)) if len(steps_N) else 1.0
    next_to_N = steps_N <= 1.5 * usual
    end_N = seconds_N + np.append(np.where(next_to_N, steps_N, usual), usual)
    firsts = np.flatnonzero(np.append(True, (values_N[1:] != values_N[:-1]) | ~next_to_N))
    lasts = np.append(firsts[1:], len(values_N)) - 1
    runs = zip(firsts, lasts, seconds_N[firsts], end_N[lasts], values_N[firsts], strict=True)
    return [Run(int(run[0]), int(run[1]), *map(float, run[2:])) for run in runs if not np.isnan(run[4])]


def events_of_frames(frames: Mapping[Face, pd.DataFrame], units: Sequence[str]) -> pd.DataFrame:
    """The runs of frames in which a unit is present; the intensity is the greatest.

    Empty for a face whose frames have no times.
    """
    rows = []
    for face, of_face in frames.items():
        seconds_N = _floats(of_face["seconds"])
        for unit in units if not np.isnan(seconds_N).any() else ():
            present_N, graded_N = _read(of_face, unit)
            for first, last, *span, value in runs_of(present_N, seconds_N):
                if value == 1:
                    rows.append(((*face, unit, ""), *span, float(np.fmax.reduce(graded_N[first : last + 1]))))
    return events_of(rows)


def limits_of(timeline: pd.DataFrame) -> tuple[float, float]:
    """File time of a video's first frame, and of the end of its last one."""
    seconds_F = timeline["seconds"].to_numpy(np.float64)
    return float(seconds_F[0]), float(seconds_F[-1] + frame_seconds(seconds_F)[-1])


@cache
def frames_of_video(path: Path) -> pd.DataFrame:
    """`frame` and `seconds` (file time) of every frame. OSError or VideoError where it cannot be read."""
    frames = [(frame.source_frame_index, frame.seconds) for frame in read_frames(path)]
    return pd.DataFrame(frames, columns=["frame", "seconds"])


def paired_names(ours: Sequence[str], theirs: Sequence[str]) -> dict[str, str]:
    """Which video of the one is which of the other: by path, else by file name, else without its suffix.

    Where both have one, these are the same, whatever their names.
    """
    if len(ours) == 1 == len(theirs):
        return {ours[0]: theirs[0]}
    pairs: dict[str, str] = {}
    for key in (str, lambda name: PurePath(name).name, lambda name: PurePath(name).stem):
        for name in (name for name in ours if name not in pairs):
            same = [other for other in theirs if key(other) == key(name) and other not in pairs.values()]
            if len(same) == 1:
                pairs[name] = same[0]
    return pairs


def _read(rows: pd.DataFrame, unit: str) -> tuple[Floats, Floats]:
    """Presence and intensity, NaN without."""
    lacking = pd.Series(np.nan, rows.index)
    return _floats(rows[unit]), _floats(rows.get(f"{unit}_intensity", lacking))


def _at(spans: Sequence[tuple[float, float, float]], time_N: Floats) -> tuple[Floats, Floats]:
    """Presence and intensity of a unit at these times; 0 outside events, NaN where no event has one."""
    onset_M, offset_M, graded_M = np.array([(-np.inf, -np.inf, np.nan), *spans]).T
    at_N = np.searchsorted(onset_M, time_N, side="right") - 1
    present_N = (time_N < offset_M[at_N]).astype(np.float64)
    rest = np.nan if np.isnan(graded_M).all() else 0.0
    return present_N, np.where(present_N == 1, graded_M[at_N], rest)


def _floats(values: pd.Series) -> Floats:
    found: Floats = values.to_numpy(np.float64, na_value=np.nan)
    return found


def _rows_at(rows: pd.DataFrame, timeline: pd.DataFrame) -> pd.DataFrame:
    """The coded row of each frame, by time where times are known, else by number; NaN without one."""
    rows = rows.reset_index(drop=True)
    if rows["seconds"].isna().any() or timeline["seconds"].isna().any():
        return rows.set_index("frame").reindex(timeline["frame"])
    usual = float(np.median(np.diff(timeline["seconds"]))) if len(timeline) > 1 else 1.0
    at_N = pd.Index(rows["seconds"]).get_indexer(timeline["seconds"], method="nearest", tolerance=usual / 2)
    return rows.reindex(np.where(at_N >= 0, at_N, len(rows)))
