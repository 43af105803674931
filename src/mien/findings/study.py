"""What a study consists of: its files and faces, who they are, and which condition holds when."""

from __future__ import annotations

import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path, PurePosixPath

import numpy as np
import pandas as pd

from mien.detect.statistics import faces_of, frame_seconds
from mien.detect.table import Detections
from mien.io import write_bytes

PEOPLE = ("file", "face", "person", "seconds")
_MOST_NAMED = 10
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
    taken: set[str] = set()
    for detections in tables:
        twice = taken & set(detections.inputs)
        if twice:
            raise StudyError(f"two tables have rows of {min(twice)}: give each file's table once")
        taken |= set(detections.inputs)
        table = detections.to_pandas()
        seen = {(face.input, face.face_id): float(face.seconds_N.sum()) for face in faces_of(table)}
        for name, times in table.groupby("input", sort=False)["timestamp"]:
            frames = np.unique(times)
            ends = float(frames[-1] + frame_seconds(frames)[-1])
            of_file = {face: seconds for (file, face), seconds in seen.items() if file == name} or {-1: 0.0}
            rows += [(str(name), face, seconds, float(frames[0]), ends) for face, seconds in of_file.items()]
    study = pd.DataFrame(rows, columns=["file", "face", "seconds", "begins", "ends"])
    study["person"] = [f"{file}:{face}" for file, face in zip(study["file"], study["face"], strict=True)]
    return study


def with_people(study: pd.DataFrame, people: Path | pd.DataFrame) -> pd.DataFrame:
    """The study with the names from a CSV with the columns file, face, person.

    Faces with an empty name are left out; faces that are not in the CSV keep their default. StudyError for
    files and faces that are not in the study, and for a face that is named twice.
    """
    named, where = _read(people, needed=("file", "face", "person"))
    problems: list[str] = []
    name_of: dict[tuple[str, int], str] = {}
    for row, (file, face, person) in enumerate(named[["file", "face", "person"]].to_numpy().tolist(), 2):
        found, problem = _faces(study, file, face)
        problem = problem or ("named twice" if name_of.keys() & {(found[0], found[1][0])} else "")
        if problem:
            problems.append(f"row {row}: {problem}")
        else:
            name_of[found[0], found[1][0]] = person
    _refuse(problems, where)
    keys = zip(study["file"], study["face"], study["person"], strict=True)
    renamed = study.assign(person=[name_of.get((file, face), default) for file, face, default in keys])
    return renamed[renamed["person"] != ""].reset_index(drop=True)


def people_csv(study: pd.DataFrame, path: Path) -> pd.DataFrame:
    """Write `path`, a CSV to name and merge people in; names that it already has are kept. WriteError."""
    if path.is_file():
        known, _ = _read(path, needed=("file", "face", "person"))
        names = dict(zip(zip(known["file"], known["face"], strict=True), known["person"], strict=True))
        keys = zip(study["file"], study["face"].astype(str), study["person"], strict=True)
        study = study.assign(person=[names.get((file, face), default) for file, face, default in keys])
    people = study.loc[study["face"] >= 0, list(PEOPLE)].round({"seconds": 1})
    write_bytes(path, people.to_csv(index=False).encode("utf-8", "backslashreplace"))
    return people


def spans_of(study: pd.DataFrame, conditions: Path | pd.DataFrame) -> list[Span]:
    """The conditions' rows, for every face that each is about.

    Columns: file, condition, and optionally face or person, stimulus, start and end in seconds of the file.
    Without a face and a person a row is about all faces of the file; without a start it begins with the
    file; without an end it lasts until the next start of that file, or to the file's end. StudyError that
    names every row with a file, face or person that is not there, a time outside the file or that is no
    number, and every row that overlaps another one of the same face.
    """
    rows, where = _read(conditions, needed=("file", "condition"))
    starts = _next_starts(study, rows)
    problems: list[str] = []
    spans: list[tuple[int, Span]] = []
    for at, row in enumerate(rows.to_dict("records")):
        found, problem = _faces(study, row["file"], row["face"], row["person"])
        if not problem:
            about = study[(study["file"] == found[0]) & study["face"].isin(found[1])]
            begins, ends = float(about["begins"].iloc[0]), float(about["ends"].iloc[0])
            start, end, problem = _times(row, begins, ends, starts[found[0]])
        if not problem and not row["condition"]:
            problem = "no condition"
        if problem:
            problems.append(f"row {at + 2}: {problem}")
            continue
        for face, person in zip(about["face"], about["person"], strict=True):
            span = Span(found[0], int(face), person, row["condition"], row["stimulus"], start, end)
            spans.append((at + 2, span))
    _refuse([*problems, *_overlaps(spans)], where)
    return [span for _, span in spans]


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


def _read(csv: Path | pd.DataFrame, *, needed: Sequence[str]) -> tuple[pd.DataFrame, str]:
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
    for name in ("face", "person", "stimulus", "start", "end"):
        if name not in rows:
            rows[name] = ""
    return rows.apply(lambda column: column.str.strip()), where


def _faces(study: pd.DataFrame, file: str, face: str, person: str = "") -> tuple[tuple[str, list[int]], str]:
    """The file as the tables name it and the faces that a row is about; or what is wrong."""
    names = study["file"].unique()
    alike = [name for name in names if name == file] or [
        name for name in names if file in (str(PurePosixPath(name).with_suffix("")), PurePosixPath(name).name)
    ]
    if len(alike) != 1:
        wrong = f"{len(alike)} files are called" if alike else "no table has rows of"
        return ("", []), f"{wrong} {file!r}; files: {_listed(names)}"
    of_file = study[(study["file"] == alike[0]) & (study["face"] >= 0)]
    if face:
        of_file = of_file[of_file["face"].astype(str) == face]
    if person:
        of_file = of_file[of_file["person"] == person]
    if of_file.empty:
        asked = f"face {face} " * bool(face) + f"person {person!r} " * bool(person) or "face "
        there = study.loc[study["file"] == alike[0], "face" if face else "person"]
        return ("", []), f"no {asked}in {alike[0]}; there are: {_listed(there)}"
    return (alike[0], of_file["face"].tolist()), ""


def _next_starts(study: pd.DataFrame, rows: pd.DataFrame) -> dict[str, list[float]]:
    """The starts of each file's rows, ascending."""
    starts: dict[str, list[float]] = {name: [] for name in study["file"]}
    for file, start in zip(rows["file"], pd.to_numeric(rows["start"], errors="coerce"), strict=True):
        found, _ = _faces(study, file, "")
        starts.setdefault(found[0], []).append(float(start))
    return {name: sorted(of_file) for name, of_file in starts.items()}


def _times(
    row: dict[str, str], begins: float, ends: float, starts: Sequence[float]
) -> tuple[float, float, str]:
    """Start and end in seconds, or what is wrong with them."""
    try:
        start = float(row["start"]) if row["start"] else begins
        later = [other for other in starts if other > start]
        end = float(row["end"]) if row["end"] else (later[0] if later else ends)
    except ValueError:
        return 0, 0, f"start {row['start']!r}, end {row['end']!r}: expected seconds"
    if not start < end:
        return 0, 0, f"start {start:g} is not before end {end:g}"
    if start < begins - _TOLERANCE_SECONDS or end > ends + _TOLERANCE_SECONDS:
        return 0, 0, f"{start:g} to {end:g} s is outside {row['file']}, which has {begins:g} to {ends:g} s"
    return start, end, ""


def _refuse(problems: Sequence[str], where: str) -> None:
    if problems:
        more = f"\n  and {len(problems) - _MOST_NAMED} more" if len(problems) > _MOST_NAMED else ""
        raise StudyError(f"{where}:\n  " + "\n  ".join(problems[:_MOST_NAMED]) + more)


def _listed(names: Iterable[object]) -> str:
    known = [str(name) for name in names]
    return ", ".join(known[:_MOST_NAMED]) + (" ..." if len(known) > _MOST_NAMED else "")
