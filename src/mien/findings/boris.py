"""Codings as BORIS projects (.boris, JSON), read and written, and as the events that BORIS exports, read.

Units are state events, faces are subjects, intensities a modifier A to E; times are seconds of the player.
BORIS pairs the odd and even occurrences of a behaviour as its starts and stops.
https://www.boris.unito.it/user_guide/
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from pathlib import Path, PureWindowsPath
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mien.findings.coding import (
    Coding,
    CodingError,
    Tier,
    coding_of_tool,
    in_milliseconds,
    intensity_of,
    label_of,
    tier_of,
    who_of,
)
from mien.io import write_bytes

_NOBODY = "No focal subject"

_WHOSE = ["input", "subject", "behaviour", "modifiers"]


def read_project(path: Path) -> Coding:
    """The state events of every observation. CodingError where it is no project, or an event has no end."""
    try:
        content = path.read_bytes()
        project = json.loads(gzip.decompress(content) if path.suffix == ".gz" else content)
        types = {each["code"]: each["type"] for each in project["behaviors_conf"].values()}
        videos, rows = [], []
        for name, observation in project["observations"].items():
            videos.append(
                _video(path, name, [media for played in observation["file"].values() for media in played])
            )
            before = float(observation.get("time offset") or 0)  # is in the times of the events
            for time, subject, behaviour, modifiers, *_ in observation["events"]:
                rows.append(
                    (name, videos[-1], str(subject), str(behaviour), str(modifiers), float(time) - before)
                )
    except CodingError:
        raise
    except (KeyError, TypeError, AttributeError, ValueError, EOFError) as error:
        raise CodingError(f"{path}: no BORIS project that can be read: {error!r}") from error
    events = pd.DataFrame(rows, columns=["observation", *_WHOSE, "onset"])
    is_point_N = np.array([types.get(code, "").startswith("Point") for code in events["behaviour"]], bool)
    return _coding(path, _paired(path, events, is_point_N), types, videos)


def read_export(path: Path) -> Coding:
    """Aggregated or tabular events (CSV, TSV). CodingError where a column or an event's end is missing."""
    table = pd.read_csv(path, sep="\t" if path.suffix == ".tsv" else ",", dtype=str, keep_default_na=False)
    times = ["Start (s)", "Stop (s)"] if "Start (s)" in table else ["Time"]
    missing = {"Observation id", "Subject", "Behavior", "Behavior type", *times} - set(table)
    if missing:
        raise CodingError(f"{path}: exported events of BORIS without the column {min(missing)}")
    videos = {
        name: _video(path, str(name), sorted(set(rows.get("Media file name", ())) - {"", "NA"}))
        for name, rows in table.groupby("Observation id")
    }
    modifiers = [name for name in table if str(name).startswith("Modifier")]
    seconds = table[times].apply(pd.to_numeric, errors="coerce").ffill(axis=1)  # a point has no stop
    events = pd.DataFrame(
        {
            "observation": table["Observation id"],
            "input": table["Observation id"].map(videos),
            "subject": table["Subject"],
            "behaviour": table["Behavior"],
            "modifiers": ["|".join(row) for row in table[modifiers].to_numpy()],
            "onset": seconds[times[0]],
            "offset": seconds[times[-1]],
        }
    )
    if len(times) == 1:
        is_point = table["Behavior type"].str.upper().str.startswith("POINT")
        events = _paired(path, events, is_point.to_numpy(bool))
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
    length = round(length_seconds, 3)
    about = {"length": length, "fps": frames_per_second, "hasVideo": True, "hasAudio": False}
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


def _paired(path: Path, events: pd.DataFrame, is_point_N: NDArray[np.bool_]) -> pd.DataFrame:
    """Starts and stops by turns, in the order of time. CodingError for a start without a stop."""
    states = events[~is_point_N].sort_values("onset", kind="stable")
    times = states.groupby(["observation", *_WHOSE])["onset"]
    states = states.assign(offset=times.shift(-1))[times.cumcount() % 2 == 0]
    for event in states[states["offset"].isna()].itertuples():
        raise CodingError(
            f"{path}, observation {event.observation!r}: {event.behaviour} {event.subject} starts at "
            f"{event.onset:.3f} s and never stops; pair the events in BORIS"
        )
    points = events[is_point_N]
    return pd.concat([states, points.assign(offset=points["onset"])])


def _coding(path: Path, events: pd.DataFrame, behaviours: Iterable[str], videos: Iterable[str]) -> Coding:
    """A tier per unit for everybody with an event, and for each video without any."""
    whose = set(zip(events["input"], events["subject"], strict=True))
    whose |= {(video, "") for video in set(videos) - set(events["input"])}
    behaviours = list(behaviours)
    tiers = [_tier(*who, code) for who in sorted(whose) for code in behaviours]
    found = []
    for event in events.itertuples():
        tier, about = _tier(event.input, event.subject, event.behaviour), f"behaviour {event.behaviour!r}"
        if tier is not None and event.offset <= event.onset:
            tier, about = None, f"point events {event.behaviour!r}"
        intensity = np.fmax.reduce([intensity_of(modifier) for modifier in event.modifiers.split("|")])
        found.append((tier, about, event.onset, event.offset, float(intensity)))
    return coding_of_tool(path, tiers, found)


def _tier(video: str, subject: str, behaviour: str) -> Tier | None:
    return tier_of(behaviour, video, "" if subject == _NOBODY else subject)
