"""Codings as BORIS projects (.boris, JSON), read and written, and as the events that BORIS exports, read.

Units are state events, faces are subjects, intensities a modifier A to E; times are seconds of the player.
BORIS pairs the odd and even occurrences of a behaviour as its starts and stops.
https://www.boris.unito.it/user_guide/
"""

from __future__ import annotations

import gzip
import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from pathlib import Path, PureWindowsPath
from typing import Any

import numpy as np
import pandas as pd

from mien.findings.coding import (
    Coding,
    CodingError,
    Tier,
    events_of,
    in_milliseconds,
    intensity_of,
    label_of,
    tier_of,
    who_of,
)
from mien.findings.elan import counted
from mien.io import write_bytes

_NOBODY = "No focal subject"

_Whose = tuple[str, str, str, str]  # video, subject, behaviour, modifiers
_Event = tuple[float, float, _Whose]  # start and stop, equal for a point event


def read_project(path: Path) -> Coding:
    """The state events of every observation. CodingError where it is no project, or an event has no end."""
    try:
        content = path.read_bytes()
        project = json.loads(gzip.decompress(content) if path.suffix == ".gz" else content)
        types = {each["code"]: each["type"] for each in project["behaviors_conf"].values()}
        events: list[_Event] = []
        videos = []
        for name, observation in project["observations"].items():
            videos.append(
                _video(path, name, [media for player in observation["file"].values() for media in player])
            )
            before = float(observation.get("time offset") or 0)  # is in the times of the events
            times = [
                (float(time) - before, (videos[-1], str(whose[0]), str(whose[1]), str(whose[2])))
                for time, *whose in observation["events"]
            ]
            events += _paired(path, name, times, types)
    except (KeyError, TypeError, AttributeError, json.JSONDecodeError, UnicodeDecodeError, EOFError) as error:
        raise CodingError(f"{path}: no BORIS project that can be read: {error!r}") from error
    return _coding(path, events, types, videos)


def read_export(path: Path) -> Coding:
    """Aggregated or tabular events (CSV, TSV). CodingError where a column or an event's end is missing."""
    table = pd.read_csv(path, sep="\t" if path.suffix == ".tsv" else ",", dtype=str, keep_default_na=False)
    times = ["Start (s)", "Stop (s)"] if "Start (s)" in table else ["Time"]
    missing = {"Observation id", "Subject", "Behavior", "Behavior type", *times} - set(table)
    if missing:
        raise CodingError(f"{path}: exported events of BORIS without the column {min(missing)}")
    modifiers = [name for name in table if str(name).startswith("Modifier")]
    is_point = table["Behavior type"].str.upper().str.startswith("POINT")
    types = dict.fromkeys(table.loc[is_point, "Behavior"], "Point event")
    events: list[_Event] = []
    for name, rows in table.groupby("Observation id", sort=False):
        video = _video(path, str(name), sorted(set(rows.get("Media file name", ())) - {"", "NA"}))
        whose = [
            (video, row["Subject"], row["Behavior"], "|".join(row[modifiers])) for _, row in rows.iterrows()
        ]
        seconds = (
            rows[times].apply(pd.to_numeric, errors="coerce").ffill(axis=1).to_numpy()
        )  # a point has no stop
        if len(times) == 1:
            events += _paired(path, str(name), list(zip(seconds[:, 0], whose, strict=True)), types)
        else:
            events += [(*row, who) for row, who in zip(seconds, whose, strict=True)]
    return _coding(path, events, table["Behavior"].unique(), ())


def write_project(coding: Coding, path: Path, videos: Mapping[str, tuple[Path | None, float, float]]) -> None:
    """One observation per video; `videos`: its file, length in seconds and frames per second, by input."""
    tiers = in_milliseconds(coding)
    graded = any(letter for spans in tiers.values() for *_, letter in spans)
    modifiers = {"0": {"name": "intensity", "type": 0, "values": list("ABCDE")}} if graded else {}
    empty = dict.fromkeys(("key", "description", "color", "category", "excluded", "coding map"), "")
    subjects = sorted({who_of(tier) for tier in tiers} - {""})
    codes = sorted({_behaviour(tier) for tier in tiers})
    project = {
        "time_format": "s",
        "project_date": datetime.now().isoformat(timespec="seconds"),
        "project_name": path.stem,
        "project_description": "Written by mien",
        "project_format_version": "7.0",
        "subjects_conf": {
            str(k): {"key": "", "name": subject, "description": ""} for k, subject in enumerate(subjects)
        },
        "behaviors_conf": {
            str(k): {**empty, "type": "State event", "code": code, "modifiers": modifiers}
            for k, code in enumerate(codes)
        },
        "observations": {name: _observation(name, tiers, *videos[name]) for name in coding.inputs},
        "behavioral_categories": [],
        "independent_variables": {},
        "coding_map": {},
        "behaviors_coding_map": [],
        "converters": {},
    }
    write_bytes(path, json.dumps(project, indent=1).encode(), temporary_folder=path.parent)


def _observation(
    name: str,
    tiers: Mapping[Tier, Sequence[tuple[int, int, str]]],
    video: Path | None,
    length_seconds: float,
    frames_per_second: float,
) -> dict[str, Any]:
    media = str(video.absolute()) if video else name
    events = [
        [time / 1000, who_of(tier), _behaviour(tier), letter, ""]
        for tier, spans in tiers.items()
        if tier[0] == name
        for *times, letter in spans
        for time in times
    ]
    about = {"length": length_seconds, "fps": frames_per_second, "hasVideo": True, "hasAudio": False}
    return {
        "file": {"1": [media], **{str(player): [] for player in range(2, 9)}},
        "type": "MEDIA",
        "date": datetime.now().isoformat(timespec="seconds"),
        "description": "",
        "time offset": 0.0,
        "events": sorted(events, key=lambda event: event[:3]),
        "observation time interval": [0, 0],
        "independent_variables": {},
        "media_info": {"offset": {"1": 0.0}} | {key: {media: value} for key, value in about.items()},
    }


def _behaviour(tier: Tier) -> str:
    return label_of((tier[0], "", *tier[2:]))


def _video(path: Path, name: str, media: Sequence[str]) -> str:
    """The one video of an observation; the observation's own name where it has none."""
    if len(media) > 1:
        raise CodingError(
            f"{path}: observation {name!r} plays {len(media)} files; expected one per observation"
        )
    return PureWindowsPath(media[0]).name if media else name


def _paired(
    path: Path, name: str, times: Sequence[tuple[float, _Whose]], types: Mapping[str, str]
) -> list[_Event]:
    """Starts and stops by turns, in the order of time. CodingError for a start without a stop."""
    begun: dict[_Whose, float] = {}
    events: list[_Event] = []
    for time, whose in sorted(times):
        if types.get(whose[2], "").startswith("Point"):
            events.append((time, time, whose))
        elif whose in begun:
            events.append((begun.pop(whose), time, whose))
        else:
            begun[whose] = time
    for (_, subject, behaviour, _), time in begun.items():
        raise CodingError(
            f"{path}, observation {name!r}: {behaviour} {subject} starts at {time:.3f} s and never stops; "
            "pair the events in BORIS"
        )
    return events


def _coding(path: Path, events: Sequence[_Event], behaviours: Iterable[str], videos: Iterable[str]) -> Coding:
    """A tier per unit for everybody with an event, and for each video without any."""
    behaviours = list(behaviours)
    whose = {who[:2] for _, _, who in events}
    whose |= {(video, "") for video in videos if video not in {video for video, _ in whose}}
    tiers = [_tier(video, who, code) for video, who in sorted(whose) for code in behaviours]
    rows, left_out = [], Counter[str]()
    for start, stop, (video, subject, behaviour, modifiers) in events:
        tier = _tier(video, subject, behaviour)
        if tier is None or stop <= start:
            left_out[f"behaviour {behaviour!r}" if tier is None else f"point events {behaviour!r}"] += 1
        else:
            intensity = np.fmax.reduce([intensity_of(modifier) for modifier in modifiers.split("|")])
            rows.append((tier, start, stop, float(intensity)))
    known = [tier for tier in dict.fromkeys(tiers) if tier is not None]
    return Coding(path, known, events_of(rows), from_first_frame=True, left_out=counted(left_out))


def _tier(video: str, subject: str, behaviour: str) -> Tier | None:
    return tier_of(behaviour, video, "" if subject == _NOBODY else subject)
