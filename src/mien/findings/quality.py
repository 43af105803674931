"""How much of each face can be used, and why the rest cannot, by the rules of `mien.detect.quality`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mien.detect.quality import REASONS, QualitySettings, why_not_usable
from mien.detect.statistics import FaceRows, faces_of
from mien.detect.table import PLACE

REPORT = ("input", "face", "seconds_seen", "usable", "longest_gap_seconds", *REASONS)


def judged(table: pd.DataFrame, settings: QualitySettings) -> pd.DataFrame:
    """The table with `usable` and `reason` of its faces by other limits than it was made with."""
    seen = table["success"] == 1
    table = table.copy()
    faces = table[seen]
    place_NP = faces[list(PLACE)].to_numpy(np.float64)
    table.loc[seen, "reason"] = why_not_usable(place_NP, faces["confidence"].to_numpy(), settings)
    table["usable"] = (seen & ~table["reason"].astype(bool)).astype(np.int8)
    return table


def quality_report(table: pd.DataFrame) -> pd.DataFrame:
    """One row per file and face, with the columns REPORT.

    `usable` and each reason are shares of the time that the face was seen. `longest_gap_seconds` is the
    longest time without a usable row of the face, from the file's first frame to its last; NaN for pictures.
    """
    ends = table.groupby("input", sort=False)["timestamp"].agg(["min", "max"])
    rows = [_report_of(face, *ends.loc[face.input]) for face in faces_of(table)]
    return pd.DataFrame(rows, columns=list(REPORT))


def quality_in_words(report: pd.DataFrame) -> str:
    """One clause per face: `face 0: 93 % usable (4 % blurred, 3 % turned), longest gap 1.2 s`."""
    return "; ".join(map(_in_words, report.to_dict("records")))


def usable_rows(rows: pd.DataFrame) -> NDArray[np.bool_]:
    """(N,): which rows of faces are usable; all of a table without that column."""
    return rows["usable"].to_numpy() == 1 if "usable" in rows else np.ones(len(rows), bool)


def _report_of(face: FaceRows, first_seconds: float, last_seconds: float) -> tuple[Any, ...]:
    usable_N = usable_rows(face.rows)
    shown_N = face.seconds_N
    shares = [float(np.average(face.rows["reason"] == reason, weights=shown_N)) for reason in REASONS]
    gap = np.nan
    if face.num_frames > 1:
        time_N = face.rows["timestamp"].to_numpy(np.float64)[usable_N]
        begins = np.append(time_N, last_seconds + float(np.median(shown_N)))
        ends = np.append(first_seconds, time_N + shown_N[usable_N])
        gap = max(0.0, float((begins - ends).max()))
    seconds = float(shown_N.sum()) if face.num_frames > 1 else np.nan
    return face.input, face.face_id, seconds, float(np.average(usable_N, weights=shown_N)), gap, *shares


def _in_words(row: Mapping[str, Any]) -> str:
    shares = {reason: row[reason] for reason in REASONS if row[reason] >= 0.005}
    why = ", ".join(f"{share:.0%} {reason.replace('_', ' ')}" for reason, share in shares.items())
    words = f"face {row['face']}: {row['usable']:.0%} usable" + (f" ({why})" if why else "")
    gap = row["longest_gap_seconds"]
    return words if np.isnan(gap) else f"{words}, longest gap {gap:.1f} s"
