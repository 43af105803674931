"""What a study consists of: its files and faces, who they are, and which condition holds when."""

from __future__ import annotations

import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import pandas as pd

from mien.detect.statistics import faces_of, frame_seconds
from mien.detect.table import Detections
from mien.io import write_csv

PEOPLE = ("file", "face", "person", "seconds")
_MOST_NAMED = 10
_FIRST_ROW = 2  # of a CSV, after its header
_TOLERANCE_SECONDS = 0.001


class StudyError(ValueError):
    """Conditions or people that do not fit the tables; names every row that is wrong."""


@dataclass(frozen=True)
class Span:
    """A stretch of one face's time under one condition; `start` is where its stimulus begins."""

    input: str
    face: int
    person: str
    condition: str
    stimulus: str
    start: float
    end: float


def tables_in(given: Sequence[Path]) -> list[Path]:
    """Tables, and all Parquet tables below folders. StudyError where there is none."""
    found: list[Path] = []
    for path in given:
        found += sorted(path.rglob("*.parquet")) if path.is_dir() else [path]
    if not found:
        raise StudyError(f"no Parquet table in {', '.join(map(str, given))}: give what `mien detect` wrote")
    return list(dict.fromkeys(found))


def faces_of_study(tables: Iterable[Detections]) -> pd.DataFrame:
    """One row per file and face: file, face, seconds (seen), begins, ends (of the file), person (FILE:FACE).

    A file without faces has one row with face -1. StudyError where two tables hold a file of the same name.
    """
    rows: list[tuple[str, int, float, float, float]] = []
    for detections in tables:
        twice = {name for name, *_ in rows} & set(detections.inputs)
        if twice:
            raise StudyError(f"two tables have rows of {min(twice)}: give each file's table once")
        for name, of_file in detections.to_pandas().groupby("input", sort=False):
            frames = np.unique(of_file["timestamp"])
            ends = float(frames[-1] + frame_seconds(frames)[-1])
            seen = {face.face_id: float(face.seconds_N.sum()) for face in faces_of(of_file)} or {-1: 0.0}
            rows += [(str(name), face, seconds, float(frames[0]), ends) for face, seconds in seen.items()]
    study = pd.DataFrame(rows, columns=["file", "face", "seconds", "begins", "ends"])
    return study.assign(person=[f"{file}:{face}" for file, face, *_ in rows])


def with_people(study: pd.DataFrame, people: Path | pd.DataFrame) -> pd.DataFrame:
    """The study with the names from a CSV with the columns file, face, person.

    Faces with an empty name are left out; faces that are not in the CSV keep their default. StudyError for
    files and faces that are not in the study, and for a face that is named twice.
    """
    named, where = read_rows(people, needed=("file", "face", "person"))
    problems: list[str] = []
    name_of: dict[int, str] = {}
    for number, row in enumerate(named.itertuples(), _FIRST_ROW):
        try:
            face = _faces(study, row.file, row.face).index[0]
            if face in name_of:
                raise StudyError("named twice")
            name_of[face] = row.person
        except StudyError as error:
            problems.append(f"row {number}: {error}")
    _refuse(problems, where)
    persons = [name_of.get(face, default) for face, default in study["person"].items()]
    renamed = study.assign(person=persons)
    return renamed[renamed["person"] != ""].reset_index(drop=True)


def people_csv(study: pd.DataFrame, path: Path) -> pd.DataFrame:
    """Write `path`, a CSV to name and merge people in; names that it already has are kept. WriteError."""
    if path.is_file():
        known, _ = read_rows(path, needed=("file", "face", "person"))
        names = dict(zip(zip(known["file"], known["face"], strict=True), known["person"], strict=True))
        keys = zip(study["file"], study["face"].astype(str), study["person"], strict=True)
        study = study.assign(person=[names.get((file, face), default) for file, face, default in keys])
    people = study.loc[study["face"] >= 0, list(PEOPLE)].round({"seconds": 1})
    write_csv(path, people)
    return people


def spans_of(study: pd.DataFrame, conditions: Path | pd.DataFrame) -> list[Span]:
    """The conditions' rows, for every face that each is about.

    Columns: file, condition, and optionally face or person, stimulus, start and end in seconds of the file.
    Without a face and a person a row is about all faces of the file; without a start it begins with the
    file; without an end it lasts until the next start of that file, or to the file's end. StudyError that
    names every row with a file, face or person that is not there, a time outside the file or that is no
    number, and every row that overlaps another one of the same face.
    """
    rows, where = read_rows(conditions, needed=("file", "condition"))
    starts: dict[str, list[float]] = {}
    for file, start in zip(rows["file"], pd.to_numeric(rows["start"], errors="coerce"), strict=True):
        for name in _called(study, file):
            starts.setdefault(name, []).append(float(start))
    problems: list[str] = []
    spans: list[tuple[int, Span]] = []
    for number, row in enumerate(rows.itertuples(), _FIRST_ROW):
        try:
            faces = _faces(study, row.file, row.face, row.person)
            name, begins, ends = faces.iloc[0][["file", "begins", "ends"]]
            start, end = _times(row, begins, ends, starts[name])
            if not row.condition:
                raise StudyError("no condition")
        except StudyError as error:
            problems.append(f"row {number}: {error}")
            continue
        for face, person in zip(faces["face"], faces["person"], strict=True):
            spans.append((number, Span(name, int(face), person, row.condition, row.stimulus, start, end)))
    _refuse([*problems, *_overlaps(spans)], where)
    return [span for _, span in spans]


def read_rows(csv: Path | pd.DataFrame, *, needed: Sequence[str]) -> tuple[pd.DataFrame, str]:
    """The CSV as text, with every column that may be left out, and its name."""
    where = "the table given" if isinstance(csv, pd.DataFrame) else str(csv)
    # A data frame takes the same way as a file, so that both mean the same.
    source = io.StringIO(csv.to_csv(index=False)) if isinstance(csv, pd.DataFrame) else csv
    try:
        rows = pd.read_csv(source, dtype=str, keep_default_na=False, skipinitialspace=True)
    except (ValueError, pd.errors.ParserError) as error:
        raise StudyError(f"{where}: not a CSV that can be read: {error}") from error
    missing = [name for name in needed if name not in rows]
    if missing:
        raise StudyError(f"{where}: no column {missing[0]}; expected {', '.join(needed)}")
    optional = {name: "" for name in ("face", "person", "stimulus", "start", "end") if name not in rows}
    return rows.assign(**optional).apply(lambda column: column.str.strip()), where


def _overlaps(spans: Sequence[tuple[int, Span]]) -> list[str]:
    """Which rows overlap another one of the same face."""
    problems: dict[int, str] = {}
    ordered = sorted(spans, key=lambda span: (span[1].input, span[1].face, span[1].start))
    for (row, span), (next_row, later) in pairwise(ordered):
        same_face = (span.input, span.face) == (later.input, later.face)
        if same_face and span.end - later.start > _TOLERANCE_SECONDS:
            time = f"{span.condition}, {span.start:g} to {span.end:g} s"
            problems[next_row] = f"row {next_row}: overlaps row {row} ({time})"
    return [problems[row] for row in sorted(problems)]


def _called(study: pd.DataFrame, file: str) -> list[str]:
    """The files of that name; without one, those of that name without folders or suffix."""
    names = list(study["file"].unique())
    short = {name: (str(PurePosixPath(name).with_suffix("")), PurePosixPath(name).name) for name in names}
    return [file] if file in names else [name for name in names if file in short[name]]


def _faces(study: pd.DataFrame, file: str, face: str, person: str = "") -> pd.DataFrame:
    """The rows of the study that a row is about. StudyError, without the row's number."""
    called = _called(study, file)
    if len(called) != 1:
        wrong = f"{len(called)} files are called" if called else "no table has rows of"
        raise StudyError(f"{wrong} {file!r}; files: {_listed(study['file'].unique())}")
    of_file = study[study["file"] == called[0]]
    chosen = of_file[of_file["face"] >= 0]
    chosen = chosen[(chosen["face"].astype(str) == face) | (face == "")]
    chosen = chosen[(chosen["person"] == person) | (person == "")]
    if chosen.empty:
        asked = f"face {face} " * bool(face) + f"person {person!r} " * bool(person) or "face "
        there = of_file["face" if face else "person"]
        raise StudyError(f"no {asked}in {called[0]}; there are: {_listed(there)}")
    return chosen


def _times(row: Any, begins: float, ends: float, starts: Sequence[float]) -> tuple[float, float]:
    """Start and end in seconds. StudyError, without the row's number."""
    try:
        start = float(row.start or begins)
        end = float(row.end or min((later for later in starts if later > start), default=ends))
    except ValueError:
        raise StudyError(f"start {row.start!r}, end {row.end!r}: expected seconds") from None
    if not start < end:
        raise StudyError(f"start {start:g} is not before end {end:g}")
    if start < begins - _TOLERANCE_SECONDS or end > ends + _TOLERANCE_SECONDS:
        raise StudyError(f"{start:g} to {end:g} s is outside {row.file}, which has {begins:g} to {ends:g} s")
    return start, end


def _refuse(problems: Sequence[str], where: str) -> None:
    if problems:
        more = f"\n  and {len(problems) - _MOST_NAMED} more" if len(problems) > _MOST_NAMED else ""
        raise StudyError(f"{where}:\n  " + "\n  ".join(problems[:_MOST_NAMED]) + more)


def _listed(names: Iterable[object]) -> str:
    known = [str(name) for name in names]
    return ", ".join(known[:_MOST_NAMED]) + (" ..." if len(known) > _MOST_NAMED else "")
