"""What a study consists of: its files and faces, who they are, and which condition holds when."""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path, PurePosixPath

import numpy as np
import pandas as pd

from mien.detect.statistics import faces_of, frame_seconds
from mien.detect.table import Detections
from mien.io import write_csv

PEOPLE = ("file", "face", "person", "seconds")
_OPTIONAL = ("face", "person", "stimulus", "start", "end")
_MOST_NAMED = 10
_NOT_THERE = "no such file, face or person"
_TOLERANCE_SECONDS = 0.001


class StudyError(ValueError):
    """Conditions or people that do not fit the tables; names every row that is wrong."""


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
    rows, where = read_rows(people, needed=("file", "face", "person"))
    faces = _faces(study, rows.assign(name=rows["person"], person=""))
    again = faces.duplicated(["file", "face"])
    wrong = {_NOT_THERE: rows.index.difference(faces["row"]), "a face named twice": faces.loc[again, "row"]}
    _refuse(wrong, rows, study, where)
    names = faces.set_index(["file", "face"])["name"]
    names = names.reindex(pd.MultiIndex.from_frame(study[["file", "face"]])).set_axis(study.index)
    renamed = study.assign(person=names.fillna(study["person"]))
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


def spans_of(study: pd.DataFrame, conditions: Path | pd.DataFrame) -> pd.DataFrame:
    """The conditions' rows, for every face that each is about: file, face, person, condition, stimulus,
    start (where the stimulus begins) and end (s).

    Columns of `conditions`: file, condition, and optionally face or person, stimulus, start and end in
    seconds of the file. Without a face and a person a row is about all faces of the file; without a start it
    begins with the file; without an end it lasts until the next start of that file, or to the file's end.
    StudyError that names every row with a file, face or person that is not there, a time outside the file or
    that is no number, and every row that overlaps another one of the same face.
    """
    rows, where = read_rows(conditions, needed=("file", "condition"))
    texts = rows[["start", "end"]]
    times = texts.apply(pd.to_numeric, errors="coerce")
    spans = _faces(study, rows).drop(columns=["start", "end"]).join(times, on="row")
    starts = {file: sorted(of_file.dropna()) for file, of_file in spans.groupby("file")["start"]}
    spans["start"] = spans["start"].fillna(spans["begins"])
    spans["end"] = [
        min((later for later in starts[file] if later > start), default=ends) if np.isnan(end) else end
        for file, start, end, ends in spans[["file", "start", "end", "ends"]].itertuples(index=False)
    ]
    is_within = (spans["start"] < spans["end"]) & (spans["start"] >= spans["begins"] - _TOLERANCE_SECONDS)
    is_within &= spans["end"] <= spans["ends"] + _TOLERANCE_SECONDS
    is_word = (times.isna() & (texts != "")).any(axis=1)
    ordered = spans.sort_values(["file", "face", "start"], kind="stable")
    overlap_seconds = ordered.groupby(["file", "face"])["end"].shift() - ordered["start"]
    wrong = {
        _NOT_THERE: rows.index.difference(spans["row"]),
        "no condition": rows.index[rows["condition"] == ""],
        "start and end are not seconds within the file": rows.index[is_word].union(spans["row"][~is_within]),
        "overlaps an earlier row": ordered["row"][overlap_seconds > _TOLERANCE_SECONDS],
    }
    _refuse(wrong, rows, study, where)
    return spans


def read_rows(csv: Path | pd.DataFrame, *, needed: Sequence[str]) -> tuple[pd.DataFrame, str]:
    """The CSV as text, with every column that may be left out, by the number of its line; and its name."""
    where = "the table given" if isinstance(csv, pd.DataFrame) else str(csv)
    # A data frame takes the same way as a file, so that both mean the same.
    source = io.StringIO(csv.to_csv(index=False)) if isinstance(csv, pd.DataFrame) else csv
    try:
        rows = pd.read_csv(source, dtype=str, keep_default_na=False, skipinitialspace=True)
    except ValueError as error:
        raise StudyError(f"{where}: not a CSV that can be read: {error}") from error
    missing = [name for name in needed if name not in rows]
    if missing:
        raise StudyError(f"{where}: no column {missing[0]}; expected {', '.join(needed)}")
    rows = rows.assign(**{name: "" for name in _OPTIONAL if name not in rows})
    return rows.apply(lambda column: column.str.strip()).set_axis(range(2, len(rows) + 2)), where


def _faces(study: pd.DataFrame, rows: pd.DataFrame) -> pd.DataFrame:
    """Every row of a CSV (its number is `row`) beside each face of the study that it is about.

    Files are called by their name, or by one without folders or suffix that no other file has.
    """
    files = study["file"].unique()
    short = [(form, file) for file in files for form in _short_forms(PurePosixPath(file))]
    count = Counter(form for form, _ in short)
    file_of = {form: file for form, file in short if count[form] == 1} | {file: file for file in files}
    asked = rows.rename_axis("row").reset_index()
    asked["file"] = asked["file"].map(file_of)
    pairs = asked.merge(study[study["face"] >= 0], on="file", suffixes=("_asked", ""))
    for column in ("face", "person"):
        given = pairs[f"{column}_asked"]
        pairs = pairs[(given == "") | (given == pairs[column].astype(str))]
    return pairs


def _short_forms(file: PurePosixPath) -> set[str]:
    return {str(file.with_suffix("")), file.name}


def _refuse(wrong: dict[str, Iterable[int]], rows: pd.DataFrame, study: pd.DataFrame, where: str) -> None:
    """StudyError where a row is wrong; `wrong`: numbers of rows by what is wrong, the first counts."""
    what_of = {row: what for what, rows_of in reversed(wrong.items()) for row in rows_of}
    problems = sorted(what_of.items())
    if problems:
        lines = [f"\n  row {row}, {rows['file'][row]}: {what}" for row, what in problems[:_MOST_NAMED]]
        lines += [f"\n  and {len(problems) - _MOST_NAMED} more"] * (len(problems) > _MOST_NAMED)
        there = (study["file"] + " face " + study["face"].astype(str))[:_MOST_NAMED]
        raise StudyError(f"{where}: rows do not fit{''.join(lines)}\n  the tables have {', '.join(there)}")
