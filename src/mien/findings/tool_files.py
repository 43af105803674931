"""Codings as files of ELAN (.eaf) and Praat (.TextGrid), by pympi-ling, and of BORIS (.boris, exports).

Times are a player's. In BORIS units are state events, faces are subjects, intensities a modifier A to E; it
pairs the odd and even occurrences of a behaviour as its starts and stops.
https://www.mpi.nl/tools/elan/EAF_Annotation_Format_3.0_and_ELAN.pdf, https://www.boris.unito.it/user_guide/
"""

from __future__ import annotations

import gzip
import json
import mimetypes
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from pathlib import Path, PureWindowsPath
from typing import Any
from urllib.parse import unquote

import numpy as np
import pandas as pd

from mien.detect.statistics import frame_seconds
from mien.findings.coding import (
    Coding,
    CodingError,
    Spans,
    Tier,
    coding_of_tool,
    frames_of_video,
    label_of,
    who_of,
)
from mien.io import replacing, write_bytes

_NOBODY = "No focal subject"
_WHOSE = ["observation", "input", "subject", "behaviour", "modifiers"]


def read_eaf(path: Path) -> Coding:
    """Every tier of an action unit; the video is the first linked file, else named as the .eaf.

    CodingError where it is no such file.
    """
    eaf = _read(path, lambda pympi: pympi.Elan.Eaf(str(path), suppress_version_warning=True))
    media = eaf.media_descriptors[0] if eaf.media_descriptors else {"MEDIA_URL": path.stem}
    name = PureWindowsPath(unquote(media.get("RELATIVE_MEDIA_URL") or media["MEDIA_URL"])).name
    tiers = [(name, eaf.tiers[label][2].get("PARTICIPANT") or "", label) for label in eaf.get_tier_names()]
    events = []
    for tier in tiers:
        for *times, text in (each[:3] for each in eaf.get_annotation_data_for_tier(tier[2])):
            onset, offset = (np.nan if time is None else time / 1000 for time in times)
            events.append((*tier, onset, offset, text or ""))
    return coding_of_tool(path, tiers, events)


def write_eaf(tiers: Spans, path: Path, *, video: Path) -> None:
    """The tiers of one video (`in_milliseconds`), those without an event too."""
    eaf = _pympi().Elan.Eaf(author="mien")
    eaf.remove_tier("default")
    for tier, spans in tiers.items():
        eaf.add_tier(label_of(tier), part=who_of(tier) or None)
        for onset, offset, letter in spans:
            eaf.add_annotation(label_of(tier), onset, offset, letter or tier[2])
    media = video.absolute()
    relative = Path(os.path.relpath(media, path.parent.absolute())).as_posix()
    eaf.add_linked_file(media.as_uri(), f"./{relative}", mimetypes.guess_type(media.name)[0] or "video/mp4")
    with replacing(path) as temporary:
        eaf.to_file(str(temporary))


def read_textgrid(path: Path) -> Coding:
    """Every interval tier of an action unit; the video is named as the file. CodingError."""
    codec = "utf-16" if path.read_bytes()[:2] in (b"\xfe\xff", b"\xff\xfe") else "utf-8-sig"
    grid = _read(path, lambda pympi: pympi.Praat.TextGrid(str(path), codec=codec))
    tiers = [(path.stem, "", each.name) for each in grid.get_tiers() if each.tier_type == "IntervalTier"]
    events = []
    for each in grid.get_tiers():
        for row in each.get_intervals(sort=True):  # a point: its time and text
            if row[-1].strip():
                events.append((path.stem, "", each.name, row[0], *row[-2:]))
    return coding_of_tool(path, tiers, events)


def write_textgrid(tiers: Spans, path: Path, *, seconds: float) -> None:
    """The tiers of one video (`in_milliseconds`), as long as the video."""
    grid = _pympi().Praat.TextGrid(xmax=max(seconds, 0.001))
    for tier, spans in tiers.items():
        written = grid.add_tier(label_of(tier))
        for onset, offset, letter in spans:
            written.add_interval(onset / 1000, offset / 1000, letter or tier[2], check=False)
    with replacing(path) as temporary:
        grid.to_file(str(temporary))


def read_project(path: Path) -> Coding:
    """The state events of every observation. CodingError where it is no project, or an event has no end."""
    try:
        content = path.read_bytes()
        project = json.loads(gzip.decompress(content) if path.suffix == ".gz" else content)
        types = {each["code"]: each["type"] for each in project["behaviors_conf"].values()}
        videos, rows = [], []
        for name, observation in project["observations"].items():
            media = [media for played in observation["file"].values() for media in played]
            videos.append(_video(path, name, media))
            before = float(observation.get("time offset") or 0)  # is in the times of the events
            for time, *whose in observation["events"]:
                rows.append((name, videos[-1], *map(str, whose[:3]), float(time) - before))
        events = pd.DataFrame(rows, columns=[*_WHOSE, "onset"])
    except CodingError:
        raise
    except (KeyError, TypeError, AttributeError, ValueError, EOFError) as error:
        raise CodingError(f"{path}: no BORIS project that can be read: {error!r}") from error
    kinds = events["behaviour"].map(types).fillna("")
    return _coding(path, _paired(path, events, kinds), types, videos)


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
    events = table[["Observation id", "Observation id", "Subject", "Behavior"]].set_axis(_WHOSE[:4], axis=1)
    events["input"] = events["input"].map(videos)
    modifiers = [name for name in table if str(name).startswith("Modifier")]
    events["modifiers"] = ["|".join(row) for row in table[modifiers].to_numpy()]
    seconds = table[times].apply(pd.to_numeric, errors="coerce").ffill(axis=1)  # a point has no stop
    events["onset"], events["offset"] = seconds[times[0]], seconds[times[-1]]
    if len(times) == 1:
        events = _paired(path, events, table["Behavior type"])
    return _coding(path, events, table["Behavior"].unique(), ())


def write_project(tiers: Spans, path: Path, videos: Mapping[str, tuple[Path | None, float]]) -> None:
    """One observation per video. `tiers`: as `in_milliseconds`; `videos`: file and seconds, by input."""
    graded = any(letter for spans in tiers.values() for *_, letter in spans)
    modifiers = {"0": {"name": "intensity", "type": 0, "values": list("ABCDE")}} if graded else {}
    empty = dict.fromkeys(("key", "description", "color", "category", "excluded", "coding map"), "")
    subjects = sorted({who_of(tier) for tier in tiers} - {""})
    codes = sorted({_behaviour(tier) for tier in tiers})
    now = datetime.now().isoformat(timespec="seconds")
    project: dict[str, Any] = {
        "time_format": "s",
        "project_date": now,
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
        "observations": {},
        "behavioral_categories": [],
        "independent_variables": {},
        "coding_map": {},
        "behaviors_coding_map": [],
        "converters": {},
    }
    for name, (video, seconds) in videos.items():
        media, rate = name, 25.0
        if video is not None:
            media = str(video.absolute())
            rate = round(1 / float(frame_seconds(frames_of_video(video)["seconds"].to_numpy())[-1]), 3)
        events = [
            [time / 1000, who_of(tier), _behaviour(tier), letter, ""]
            for tier, spans in tiers.items()
            if tier[0] == name
            for *times, letter in spans
            for time in times
        ]
        about = {"offset": {"1": 0.0}, "length": {media: round(seconds, 3)}, "fps": {media: rate}}
        project["observations"][name] = {
            "file": {"1": [media], **{str(player): [] for player in range(2, 9)}},
            "type": "MEDIA",
            "date": now,
            "description": "",
            "time offset": 0.0,
            "events": sorted(events, key=lambda event: event[:3]),
            "observation time interval": [0, 0],
            "independent_variables": {},
            "media_info": {**about, "hasVideo": {media: True}, "hasAudio": {media: False}},
        }
    write_bytes(path, json.dumps(project, indent=1).encode(), temporary_folder=path.parent)


def _read(path: Path, read: Callable[[Any], Any]) -> Any:
    pympi = _pympi()
    try:
        return read(pympi)
    except OSError:
        raise
    except Exception as error:  # pympi raises bare Exception
        raise CodingError(f"{path}: cannot be read; open it in its own program and save it again") from error


def _pympi() -> Any:
    try:
        import pympi
    except ImportError as error:
        raise CodingError("ELAN and Praat files need pympi-ling: pip install 'mien[coders]'") from error
    return pympi


def _behaviour(tier: Tier) -> str:
    return label_of((tier[0], "", *tier[2:]))


def _video(path: Path, name: str, media: Sequence[str]) -> str:
    """The one video of an observation; the observation's own name where it has none."""
    if len(media) > 1:
        raise CodingError(
            f"{path}: observation {name!r} plays {len(media)} files; expected one per observation"
        )
    return PureWindowsPath(media[0]).name if media else name


def _paired(path: Path, events: pd.DataFrame, kinds: pd.Series) -> pd.DataFrame:
    """Starts and stops by turns, in the order of time. CodingError for a start without a stop."""
    is_point = kinds.str.upper().str.startswith("POINT").astype(bool)
    states = events[~is_point].sort_values("onset", kind="stable")
    times = states.groupby(_WHOSE)["onset"]
    states = states.assign(offset=times.shift(-1))[times.cumcount() % 2 == 0]
    for event in states[states["offset"].isna()].itertuples():
        raise CodingError(
            f"{path}, observation {event.observation!r}: {event.behaviour} {event.subject} starts at "
            f"{event.onset:.3f} s and never stops; pair the events in BORIS"
        )
    points = events[is_point]
    return pd.concat([states, points.assign(offset=points["onset"])])


def _coding(path: Path, events: pd.DataFrame, behaviours: Iterable[str], videos: Iterable[str]) -> Coding:
    """A tier per unit for everybody with an event, and for each video without any."""
    events["subject"] = events["subject"].replace(_NOBODY, "")
    whose = set(zip(events["input"], events["subject"], strict=True))
    whose |= {(video, "") for video in set(videos) - set(events["input"])}
    codes = list(behaviours)
    rows = events[["input", "subject", "behaviour", "onset", "offset", "modifiers"]]
    tiers = ((*who, code) for who in sorted(whose) for code in codes)
    return coding_of_tool(path, tiers, rows.itertuples(index=False, name=None))
