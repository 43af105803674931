"""Codings out of any file that holds one, and into the files of coders' tools or labels for `mien fit`."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path, PurePosixPath

import numpy as np
import pandas as pd
import pyarrow.parquet as pq

from mien.datasets.base import BY_TIME, PICTURE
from mien.datasets.table import Table
from mien.detect.media import list_media
from mien.detect.statistics import frame_seconds, units_with_presence
from mien.detect.table import Detections
from mien.facs import ACTION_UNITS
from mien.findings.boris import read_export, read_project, write_project
from mien.findings.coding import (
    EVENT,
    TIER,
    Coding,
    CodingError,
    Face,
    events_of_frames,
    limits_of,
    paired_names,
)
from mien.findings.elan import read_eaf, read_textgrid, write_eaf, write_textgrid
from mien.findings.events import COLUMNS
from mien.findings.study import read_rows
from mien.io import write_csv
from mien.video import read_frames

_SLACK_SECONDS = 0.05  # players round


@dataclass(frozen=True)
class Video:
    """The video behind a coding. OSError or VideoError where it cannot be read."""

    path: Path

    @cached_property
    def timeline(self) -> pd.DataFrame:
        """`frame` and `seconds` (file time) of every frame."""
        frames = [(frame.source_frame_index, frame.seconds) for frame in read_frames(self.path)]
        return pd.DataFrame(frames, columns=["frame", "seconds"])

    @property
    def limits(self) -> tuple[float, float]:
        """File time of the first frame, and of the end of the last."""
        return limits_of(self.timeline)

    @property
    def frames_per_second(self) -> float:
        """By the usual distance of two frames."""
        return round(1 / float(frame_seconds(self.timeline["seconds"].to_numpy(np.float64))[-1]), 3)


def read_coding(path: Path, *, occurs_at: float | None = None) -> Coding:
    """A table of detections, events or labels, or an ELAN, BORIS or Praat file; by suffix and columns.

    `occurs_at`: the intensity from which on a unit of a table of labels is present. ValueError (CodingError,
    DatasetError, DetectionsError) where the file is none of these.
    """
    name = path.name.lower().removesuffix(".gz")
    readers = {".eaf": read_eaf, ".textgrid": read_textgrid, ".boris": read_project}
    suffix = f".{name.rpartition('.')[2]}"
    if suffix in readers:
        return readers[suffix](path)
    if suffix not in (".csv", ".tsv", ".parquet"):
        raise CodingError(f"{path}: expected a .csv, .tsv, .parquet, .eaf, .TextGrid or .boris file")
    columns = _columns(path)
    if "Observation id" in columns:
        return read_export(path)
    if {"onset", "offset"} <= columns:
        return _read_events(path)
    return _read_labels(path, occurs_at) if {"path", "subject"} <= columns else _read_detections(path)


def find_videos(coding: Coding, media: Path) -> dict[str, Video]:
    """The videos of a coding, by input: `media` is the file, or a folder with them. MediaError."""
    listed = (file for medium in list_media([media]).media if medium.kind == "video" for file in medium.files)
    paths = {file.shown: file.path for file in listed}
    return {name: Video(paths[found]) for name, found in paired_names(coding.inputs, list(paths)).items()}


def read_people(path: Path, coding: Coding) -> dict[Face, str]:
    """Who is behind each face, from a CSV with the columns file, face, person, as `mien people` writes it.

    A coding that names no face takes the one person of its file. ValueError where the CSV names nobody of it.
    """
    table, _ = read_rows(path, needed=("file", "face", "person"))
    found: dict[Face, str] = {}
    for name, face in coding.units:
        rows = table[(table["file"] == name) & ((table["face"] == face) | (face == ""))]
        people = set(rows["person"]) - {""}
        if len(people) == 1:
            found[name, face] = people.pop()
    if not found:
        raise CodingError(f"{path}: names nobody in {', '.join(coding.inputs[:3])} of {coding.path}")
    return found


def known_limits(coding: Coding, videos: Mapping[str, Video]) -> dict[str, tuple[float, float]]:
    """File time of the start and the end of each video, as far as it is known."""
    return {**coding.limits, **{name: video.limits for name, video in videos.items()}}


def beyond(coding: Coding, limits: Mapping[str, tuple[float, float]]) -> list[str]:
    """The events, of a coding in file time, that begin before their video or end after it, in words."""
    unknown = (-np.inf, np.inf)
    return [
        f"{event.input}, {event.unit}: {event.onset:.3f} to {event.offset:.3f} s, outside the video's "
        f"{start:.3f} to {end:.3f} s"
        for event in coding.events.itertuples()
        for start, end in [limits.get(event.input, unknown)]
        if event.onset < start - _SLACK_SECONDS or event.offset > end + _SLACK_SECONDS
    ]


def write_coding(
    coding: Coding,
    out: Path,
    kind: str,
    *,
    videos: Mapping[str, Video],
    subjects: Mapping[str, str] | None = None,
) -> list[Path]:
    """The files written to the folder `out`; one per video for ELAN and Praat.

    `kind`: elan, boris, praat, events or labels. The coding is in file time. `subjects`: who each input
    shows, for labels. CodingError where the coding does not fit the format.
    """
    stem = coding.path.name.removesuffix(".gz").rpartition(".")[0].removesuffix(".events")
    if kind in ("events", "labels"):
        path = out / f"{stem}.{kind}.csv"
        events = kind == "events"
        write_csv(
            path, _events_table(coding) if events else _labels_table(coding, out, videos, subjects or {})
        )
        return [path]
    limits, last = known_limits(coding, videos), coding.events.groupby("input")["offset"].max()
    known: dict[str, tuple[Path | None, float, float]] = {}
    for name in coding.inputs:
        start, end = limits.get(name, (0.0, last.get(name, 1.0)))
        video, rate = (videos[name].path, videos[name].frames_per_second) if name in videos else (None, 25.0)
        known[name] = (video, end - start, rate)
    coding = coding.in_player_time(limits)
    if kind == "boris":
        write_project(coding, out / f"{stem}.boris", known)
        return [out / f"{stem}.boris"]
    suffix = ".eaf" if kind == "elan" else ".TextGrid"
    written = {name: out / PurePosixPath(name).with_suffix(suffix).name for name in coding.inputs}
    if len(set(written.values())) < len(written):
        raise CodingError(f"{coding.path}: two of its videos have one file name; convert them one by one")
    for name, path in written.items():
        if kind == "elan":
            write_eaf(coding.of_input(name), path, video=known[name][0])
        else:
            write_textgrid(coding.of_input(name), path, end_seconds=known[name][1])
    return list(written.values())


def _read_detections(path: Path) -> Coding:
    """Presence as in the table; its events are the runs of frames in which a unit is present."""
    table = Detections.load(path).to_pandas()
    units = units_with_presence(table)
    columns = {"frame": "frame", "timestamp": "seconds"} | {f"{unit}_present": unit for unit in units}
    columns |= {name: name for name in table if str(name).endswith("_intensity")}
    seen = table[table["success"] == 1]
    frames = {
        (str(name), str(face)): rows[list(columns)].rename(columns=columns).reset_index(drop=True)
        for (name, face), rows in seen.groupby(["input", "face_id"], sort=False)
    }
    every_frame = table.drop_duplicates(["input", "frame"]).rename(columns=columns)
    limits = {str(name): limits_of(rows) for name, rows in every_frame.groupby("input")}
    return replace(_of_frames(path, frames, units), limits=limits)


def _read_labels(path: Path, occurs_at: float | None) -> Coding:
    """The table of `mien fit --dataset table`; a picture is frame 0 at 0 s."""
    labels = Table(path, occurs_at=occurs_at).frames()
    units = [ACTION_UNITS[number].column for number in labels.action_units]
    table = pd.DataFrame(labels.occurrence_NA, columns=units)
    if labels.intensity_NA is not None:
        table = table.join(pd.DataFrame(labels.intensity_NA, columns=[f"{unit}_intensity" for unit in units]))
    is_picture_N = labels.frame_N == PICTURE
    table["frame"] = np.select([is_picture_N, labels.frame_N == BY_TIME], [0, -1], labels.frame_N)
    table["seconds"] = np.where(is_picture_N, 0.0, labels.seconds_N)
    frames = {
        (str(name), ""): rows.sort_values(["frame", "seconds"]).reset_index(drop=True)
        for name, rows in table.groupby(labels.path_N, sort=False)
    }
    subjects = dict(zip(labels.path_N.tolist(), labels.subject_N.tolist(), strict=True))
    return replace(_of_frames(path, frames, units), subjects=subjects)


def _of_frames(path: Path, frames: Mapping[Face, pd.DataFrame], units: list[str]) -> Coding:
    tiers = [(*face, unit, "") for face in frames for unit in units]
    return Coding(path, tiers, events_of_frames(frames, units), frames)


def _read_events(path: Path) -> Coding:
    """`NAME.events.csv`, or any table with input, face, unit, onset and offset."""
    types = dict.fromkeys(TIER, str)
    events = pd.read_csv(path, dtype=types, keep_default_na=False, na_values={"intensity": ""})
    missing = {"input", "face", "unit", "onset", "offset"} - set(events)
    if missing:
        raise CodingError(f"{path}: a table of events without the column {min(missing)}")
    events = events.assign(
        side=events.get("side", pd.Series("", events.index)).replace("both", ""),
        intensity=events.get("intensity", pd.Series(np.nan, events.index)),
    )
    tiers = list(events[TIER].drop_duplicates().itertuples(index=False, name=None))
    return Coding(path, tiers, events[EVENT])


def _events_table(coding: Coding) -> pd.DataFrame:
    """The columns of `mien detect`'s events; apex, peak and mean, which coders do not record, are empty."""
    events = coding.events.assign(duration=coding.events["offset"] - coding.events["onset"])
    return events.reindex(columns=list(COLUMNS)).sort_values(["input", "face", "onset"]).round(4)


def _labels_table(
    coding: Coding, out: Path, videos: Mapping[str, Video], subjects: Mapping[str, str]
) -> pd.DataFrame:
    """A row per frame of each video; 0/1 per unit, or `AU12_c` and `AU12_r` where there are intensities."""
    tables = []
    for name in coding.inputs:
        faces = coding.faces[name]
        if name not in videos:
            raise CodingError(f"{coding.path}: labels need the frames of {name}; give its folder as --media")
        if len(faces) > 1:
            raise CodingError(
                f"{coding.path}, {name}: {len(faces)} faces; a table of labels has one per video"
            )
        table = videos[name].timeline.copy()
        table.insert(0, "path", Path(os.path.relpath(videos[name].path, out)).as_posix())
        known = coding.subjects.get(name, PurePosixPath(name).stem)
        table.insert(1, "subject", (subjects or {}).get(name, known))
        for unit, (present_N, intensity_N) in coding.readings((name, faces[0]), table).items():
            if unit.startswith("AU") and np.isnan(intensity_N).all():
                table[unit] = present_N
            elif unit.startswith("AU"):
                table[f"{unit}_c"], table[f"{unit}_r"] = present_N, intensity_N
        tables.append(table)
    return pd.concat(tables, ignore_index=True)


def _columns(path: Path) -> set[str]:
    if path.suffix.lower() == ".parquet":
        return set(pq.read_schema(path).names)
    separator = "\t" if path.suffix.lower() == ".tsv" else ","
    return set(pd.read_csv(path, sep=separator, nrows=0).columns.str.strip())
