"""A table of detections of one file as a page's data: small typed arrays in base64, and who is in it."""

from __future__ import annotations

import base64
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from mien.detect.statistics import faces_of, frame_seconds, rising_times, unit_columns
from mien.detect.table import metadata_of as schema_metadata
from mien.facs import ACTION_UNITS

LEVELS = 254  # a probability p is kept as round(254 p): within 0.002
MISSING = 255
BOX = ("box_left", "box_top", "box_right", "box_bottom")


class Tabular(Protocol):
    """Anything that gives a pandas table: the detector's own, an Arrow table."""

    def to_pandas(self) -> pd.DataFrame:
        """One row a frame and face."""


@dataclass(frozen=True)
class Unit:
    """One action unit as a page names it; `threshold` is NaN where nobody said which it was."""

    column: str
    name: str
    threshold: float


@dataclass(frozen=True, eq=False)
class Face:
    """One face of the file: N frames in which it was seen."""

    face_id: int
    place_N: NDArray[np.int64]  # of the file's frames
    probability_NA: NDArray[np.float32]
    present_NA: NDArray[np.bool_]
    box_N4: NDArray[np.float32]  # left, top, right, bottom in px
    confidence_N: NDArray[np.float32]
    seconds_seen: float


@dataclass(frozen=True, eq=False)
class FileDetections:
    """One file's detections: F frames, each with its time and, where it has no face, the reason."""

    input: str
    frame_F: NDArray[np.int64]
    seconds_F: NDArray[np.float64]  # rising: the file's own times where these rise
    times_rise: bool  # whether the file's own do
    reason_F: tuple[str, ...]  # "" where there is a face
    units: tuple[Unit, ...]
    faces: tuple[Face, ...]

    @property
    def num_frames(self) -> int:
        """Frames with or without a face."""
        return len(self.frame_F)

    @property
    def num_frames_with_face(self) -> int:
        """Frames in which at least one face was found."""
        return sum(not reason for reason in self.reason_F)

    @property
    def duration_seconds(self) -> float:
        """From the first frame to the end of the last one."""
        return float(frame_seconds(self.seconds_F).sum()) if self.num_frames > 1 else 0.0


def table_of(detections: pd.DataFrame | Tabular) -> pd.DataFrame:
    """The pandas table of whatever holds one."""
    return detections if isinstance(detections, pd.DataFrame) else detections.to_pandas()


def metadata_of(detections: object) -> Mapping[str, Any]:
    """How the table came about, as the detector's own, an Arrow table or a Parquet file tells."""
    found = getattr(detections, "metadata", None)
    if isinstance(found, Mapping):
        return found
    if isinstance(detections, Path):
        return schema_metadata(pq.read_schema(detections))
    return schema_metadata(detections.schema) if isinstance(detections, pa.Table) else {}


def thresholds_of(detections: object) -> dict[str, float]:
    """The thresholds that a table's metadata tell, by column; empty where they tell none."""
    metadata = metadata_of(detections)
    found = metadata.get("thresholds")
    return {str(unit): float(value) for unit, value in found.items()} if isinstance(found, Mapping) else {}


def file_detections(
    detections: pd.DataFrame | Tabular, *, thresholds: Mapping[str, float] | None = None
) -> FileDetections:
    """The detections of the one file that the table is about.

    `thresholds` (by column, as `AU12`) come before those of the table's metadata. ValueError where the table
    holds no row, or rows of several files.
    """
    table = table_of(detections)
    names = list(dict.fromkeys(table["input"]))
    if len(names) != 1:
        found = f"rows of {len(names)} files ({', '.join(map(str, names[:3]))} ...)" if names else "no row"
        raise ValueError(f"expected the detections of one file, got {found}")
    known = {**thresholds_of(detections), **(thresholds or {})}
    units = unit_columns(table)
    frames = table.drop_duplicates("frame").sort_values("frame")
    return FileDetections(
        input=str(names[0]),
        frame_F=frames["frame"].to_numpy(np.int64),
        seconds_F=rising_times(frames["timestamp"].to_numpy(np.float64)),
        times_rise=bool((np.diff(frames["timestamp"].to_numpy(np.float64)) > 0).all()),
        reason_F=tuple(
            "" if success == 1 else (reason if isinstance(reason, str) and reason else "no_face")
            for success, reason in zip(frames["success"], frames["reason"], strict=True)
        ),
        units=units_of(units, known),
        faces=tuple(_faces(table, units)),
    )


def units_of(columns: Sequence[str], thresholds: Mapping[str, float]) -> tuple[Unit, ...]:
    """The action units of these columns by name, with what is known of their thresholds."""
    return tuple(Unit(column, _name(column), thresholds.get(column, math.nan)) for column in columns)


def page_data(data: FileDetections, *, first_seconds: float = 0.0) -> dict[str, Any]:
    """What the page's script reads; `first_seconds` is where the page's video shows the first frame.

    Arrays are little-endian base64: `frame` uint32, `seconds` float64, `reason` uint8 (0: a face, else one
    more than the place in `reasons`); of each face `place` uint32, `probability` uint8 (A x N, of 254; 255
    for a missing one), `present` bits (A rows of N bits, each begins a byte), `box` uint16 (N x 4).
    """
    reasons = sorted(set(data.reason_F) - {""})
    number = {"": 0} | {reason: place + 1 for place, reason in enumerate(reasons)}
    return {
        "frame": _packed(data.frame_F, "<u4"),
        "seconds": _packed(data.seconds_F - data.seconds_F[0] + first_seconds, "<f8"),
        "offset": float(data.seconds_F[0]) - first_seconds,  # of the file's own clock from the page's video's
        "duration": data.duration_seconds,
        "reason": _packed(np.array([number[reason] for reason in data.reason_F]), "u1"),
        "reasons": [reason.replace("_", " ") for reason in reasons],
        "units": [
            {
                "column": unit.column,
                "name": unit.name,
                "threshold": None if math.isnan(unit.threshold) else unit.threshold,
            }
            for unit in data.units
        ],
        "faces": [_face_data(face) for face in data.faces],
    }


def _face_data(face: Face) -> dict[str, Any]:
    level = np.where(
        np.isfinite(face.probability_NA), np.round(face.probability_NA * LEVELS), MISSING
    ).T  # a unit's row lies together
    return {
        "id": face.face_id,
        "place": _packed(face.place_N, "<u4"),
        "probability": _packed(level, "u1"),
        "present": _packed(np.packbits(face.present_NA.T, axis=1), "u1"),
        "box": _packed(np.clip(np.round(face.box_N4), 0, 65535), "<u2"),
    }


def _faces(table: pd.DataFrame, units: list[str]) -> list[Face]:
    return [
        Face(
            face_id=face.face_id,
            place_N=face.place_N,
            probability_NA=face.rows[units].to_numpy(np.float32),
            present_NA=face.rows[[f"{unit}_present" for unit in units]].to_numpy() == 1,
            box_N4=face.rows[list(BOX)].to_numpy(np.float32),
            confidence_N=face.rows["confidence"].to_numpy(np.float32),
            seconds_seen=float(face.seconds_N.sum()),
        )
        for face in faces_of(table)
    ]


def _name(column: str) -> str:
    unit = ACTION_UNITS.get(int(column[2:]))
    return unit.name if unit else ""


def _packed(values: NDArray[Any], dtype: str) -> str:
    return base64.b64encode(np.ascontiguousarray(values, dtype=np.dtype(dtype)).tobytes()).decode()
