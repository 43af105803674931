"""Codings out of any file that holds one, and into the files of coders' tools or labels for `mien fit`."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path, PurePosixPath

import numpy as np
import pandas as pd
import pyarrow.parquet as pq

from mien.datasets.base import BY_TIME, PICTURE
from mien.datasets.table import Table
from mien.detect.media import list_media
from mien.detect.statistics import units_with_presence
from mien.detect.table import Detections
from mien.facs import ACTION_UNITS
from mien.findings.coding import (
    EVENT,
    TIER,
    Coding,
    CodingError,
    Face,
    events_of_frames,
    frames_of_video,
    in_milliseconds,
    limits_of,
    paired_names,
)
from mien.findings.events import COLUMNS
from mien.findings.study import read_rows
from mien.findings.tool_files import (
    read_eaf,
    read_export,
    read_project,
    read_textgrid,
    write_eaf,
    write_project,
    write_textgrid,
)
from mien.io import write_csv


def read_coding(
    path: Path, *, occurs_at: float | None = None, media: Path | None = None, people: Path | None = None
) -> Coding:
    """A table of detections, events or labels, or an ELAN, BORIS or Praat file; by suffix and columns.

    `occurs_at`: the intensity from which on a unit of a table of labels is present. `media`: the video, or a
    folder with the videos; their frames are read. `people`: a CSV with the columns file, face, person, as
    `mien people` writes it. ValueError (CodingError, DatasetError, DetectionsError, MediaError) where the
    file is none of these, or where the CSV names nobody of it.
    """
    coding = _read(path, occurs_at)
    if media is not None:
        listed = (
            file for medium in list_media([media]).media if medium.kind == "video" for file in medium.files
        )
        paths = {file.shown: file.path for file in listed}
        names = paired_names(list(coding.faces), list(paths))
        videos = {name: paths[found] for name, found in names.items()}
        limits = {name: limits_of(frames_of_video(video)) for name, video in videos.items()}
        coding = replace(coding, videos=videos, limits={**coding.limits, **limits})
    return coding if people is None else _with_people(coding, people)


def write_coding(coding: Coding, out: Path, kind: str) -> list[Path]:
    """The files written to the folder `out`; one per video for ELAN and Praat.

    `kind`: elan, boris, praat, events or labels. CodingError where the coding does not fit the format.
    """
    coding = _with_times(coding).in_file_time(coding.limits)
    stem = coding.path.name.removesuffix(".gz").rpartition(".")[0].removesuffix(".events")
    if kind in ("events", "labels"):
        path = out / f"{stem}.{kind}.csv"
        write_csv(path, _events_table(coding) if kind == "events" else _labels_table(coding, out))
        return [path]
    tiers = in_milliseconds(coding)
    last = coding.events.groupby("input")["offset"].max()
    limits = {name: coding.limits.get(name, (0.0, last.get(name, 1.0))) for name in coding.faces}
    if kind == "boris":
        videos = {name: (coding.videos.get(name), end - start) for name, (start, end) in limits.items()}
        write_project(tiers, out / f"{stem}.boris", videos)
        return [out / f"{stem}.boris"]
    suffix = ".eaf" if kind == "elan" else ".TextGrid"
    written = {name: out / PurePosixPath(name).with_suffix(suffix).name for name in coding.faces}
    if len(set(written.values())) < len(written):
        raise CodingError(f"{coding.path}: two of its videos have one file name; convert them one by one")
    for name, path in written.items():
        own = {tier: spans for tier, spans in tiers.items() if tier[0] == name}
        if kind == "elan":
            write_eaf(own, path, video=coding.videos.get(name, path.with_name(PurePosixPath(name).name)))
        else:
            write_textgrid(own, path, seconds=max(limits[name][1], last.get(name, 0.0)) - limits[name][0])
    return list(written.values())


def _read(path: Path, occurs_at: float | None) -> Coding:
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


def _with_times(coding: Coding) -> Coding:
    """With the events of frames that are known by number, on the clock of the video."""
    frames = dict(coding.frames)
    for (name, face), rows in coding.frames.items():
        if rows["seconds"].isna().any():
            if name not in coding.videos:
                raise CodingError(
                    f"{coding.path}: no times of the frames of {name}; give its folder as --media"
                )
            seconds = frames_of_video(coding.videos[name]).set_index("frame")["seconds"]
            frames[name, face] = rows.assign(seconds=seconds.reindex(rows["frame"]).to_numpy())
    units = next(iter(coding.units.values()), [])
    return replace(coding, frames=frames, events=events_of_frames(frames, units)) if frames else coding


def _columns(path: Path) -> set[str]:
    if path.suffix.lower() == ".parquet":
        return set(pq.read_schema(path).names)
    separator = "\t" if path.suffix.lower() == ".tsv" else ","
    return set(pd.read_csv(path, sep=separator, nrows=0).columns.str.strip())


def _with_people(coding: Coding, csv: Path) -> Coding:
    """A face that the file does not name takes the one person of its video."""
    table, _ = read_rows(csv, needed=("file", "face", "person"))
    found: dict[Face, str] = {}
    for name, face in coding.units:
        rows = table[(table["file"] == name) & ((table["face"] == face) | (face == ""))]
        people = set(rows["person"]) - {""}
        if len(people) == 1:
            found[name, face] = people.pop()
    if not found:
        raise CodingError(f"{csv}: names nobody in {', '.join(list(coding.faces)[:3])} of {coding.path}")
    return replace(coding, people={**coding.people, **found})


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
    people = {
        (name, ""): who for name, who in zip(labels.path_N.tolist(), labels.subject_N.tolist(), strict=True)
    }
    return replace(_of_frames(path, frames, units), people=people)


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
    events = pd.DataFrame({"side": "", "intensity": np.nan}, events.index).assign(**events)[EVENT]
    events["side"] = events["side"].replace("both", "")
    tiers = list(events[TIER].drop_duplicates().itertuples(index=False, name=None))
    return Coding(path, tiers, events)


def _events_table(coding: Coding) -> pd.DataFrame:
    """The columns of `mien detect`'s events; apex, peak and mean, which coders do not record, are empty."""
    events = coding.events.assign(duration=coding.events["offset"] - coding.events["onset"])
    return events.reindex(columns=list(COLUMNS)).sort_values(["input", "face", "onset"]).round(4)


def _labels_table(coding: Coding, out: Path) -> pd.DataFrame:
    """A row per frame of each video; 0/1 per unit, or `AU12_c` and `AU12_r` where there are intensities."""
    tables = []
    for name, faces in coding.faces.items():
        if name not in coding.videos or len(faces) > 1:
            raise CodingError(
                f"{coding.path}, {name}: {len(faces)} faces, {coding.videos.get(name, 'no video')}; labels "
                "need the frames of a video of one face: give its folder as --media"
            )
        table = frames_of_video(coding.videos[name]).copy()
        table.insert(0, "path", Path(os.path.relpath(coding.videos[name], out)).as_posix())
        table.insert(1, "subject", coding.people.get((name, faces[0]), PurePosixPath(name).stem))
        for unit, (present_N, intensity_N) in coding.readings((name, faces[0]), table).items():
            if unit.startswith("AU") and np.isnan(intensity_N).all():
                table[unit] = present_N
            elif unit.startswith("AU"):
                table[f"{unit}_c"], table[f"{unit}_r"] = present_N, intensity_N
        tables.append(table)
    return pd.concat(tables, ignore_index=True)
