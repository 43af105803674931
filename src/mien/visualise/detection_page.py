"""The page of one file's detections: its video with the action units over time, in one HTML file."""

from __future__ import annotations

import base64
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mien.data.sources import PICTURE_SUFFIXES
from mien.detect.statistics import (
    FaceRows,
    faces_of,
    frame_seconds,
    presence,
    unit_columns,
    unit_statistics,
    units_with_presence,
)
from mien.detect.table import BOX, Detections
from mien.findings.events import find_events
from mien.findings.quality import quality_in_words, quality_report
from mien.io import write_bytes
from mien.video import VideoError, read_frames, read_image
from mien.visualise.page_parts import Picture, picture_url, printable, template, unit_name
from mien.visualise.timed_video import page_video

_LEVELS = 254  # a probability p is kept as round(254 p): within 0.002; an intensity p of 5 likewise
_MISSING = 255
_GREATEST_INTENSITY = 5.0
_MARGIN = 0.25  # of the box's longer side, on each side
_MOST_FACES = 48  # of which pictures are taken: those seen longest
_FACE_PX = 96
_PICTURE_QUALITY = 90


def write_detection_page(detections: Detections, media: Path, out: Path) -> Path:
    """Write `out`, the page of the detections of the one video or picture `media`; returns `out`.

    A video is linked by a relative path; where browsers do not play it, a copy NAME.playable.mp4 is written
    beside the page. A picture lies within the page. ValueError where the table is not about exactly one file.
    """
    names = detections.inputs
    if len(names) != 1:
        found = f"rows of {len(names)} files ({', '.join(names[:3])} ...)" if names else "no row"
        raise ValueError(f"expected the detections of one file, got {found}")
    table = detections.to_pandas()
    frames, faces = _frames_of(table), list(faces_of(table))
    size, pictures = face_pictures(media, frames["frame"].to_numpy(), faces)
    out.parent.mkdir(parents=True, exist_ok=True)
    still = media.suffix.lower() in PICTURE_SUFFIXES
    video = None if still else page_video(media, out)
    thresholds = detections.metadata.get("thresholds", {})
    data = page_data(table, thresholds, first_seconds=video.first_seconds if video else 0.0)
    html = template("detection.html").render(
        name=printable(names[0]),
        data=data | size,
        num_frames=len(frames),
        num_with_face=int((frames["success"] == 1).sum()),
        video=video,
        picture=picture_url(read_image(media), quality=_PICTURE_QUALITY) if still else "",
        faces=[
            {
                "face_id": face.face_id,
                "seconds_seen": float(face.seconds_N.sum()),
                "picture": picture_url(pictures[face.face_id]) if face.face_id in pictures else "",
            }
            for face in faces
        ],
        summary=unit_statistics(table).to_dict("records"),
        events=None if still else _events(table, detections.metadata),
        quality=_quality(table),
        blank=[unit["column"] for unit in data["units"] if unit["blank"]],
        warning=printable(detections.warning),
        facts=[(name.replace("_", " "), _in_words(value)) for name, value in detections.metadata.items()],
    )
    write_bytes(out, html.encode(), temporary_folder=out.parent)
    return out


def page_data(
    table: pd.DataFrame, thresholds: Mapping[str, float], *, first_seconds: float = 0.0
) -> dict[str, Any]:
    """What the page's script reads; `first_seconds` is where the page's video shows the first frame.

    Arrays are little-endian base64: `frame` uint32, `seconds` float64, `reason` uint8 (0: a face, else one
    more than the place in `reasons`); of each face `place` uint32, `probability` uint8 (A x N, of 254; 255
    for a missing one), `sides` uint8 (2 x N, left and right, for each unit that has them: 254 is intensity
    5), `present` bits (A rows of N bits, each begins a byte), `box` uint16 (N x 4). `threshold`: null where
    it is not known or presence is left blank. A unit's `sides`: its place among those that have them, else
    null.
    """
    frames, units, with_presence = _frames_of(table), unit_columns(table), units_with_presence(table)
    sided = [unit for unit in units if {*_side_columns(unit)} <= {*table}]
    seconds_F = frames["timestamp"].to_numpy(np.float64)
    reason_F = frames["reason"].replace("", "no_face").where(frames["success"] != 1, "")
    reasons = sorted(set(reason_F) - {""})
    return {
        "frame": _packed(frames["frame"], "<u4"),
        "seconds": _packed(seconds_F - seconds_F[0] + first_seconds, "<f8"),
        "offset": float(seconds_F[0]) - first_seconds,  # of the file's own clock from the page's video's
        "duration": float(frame_seconds(seconds_F).sum()) if len(frames) > 1 else 0.0,
        "reason": _packed(reason_F.map({"": 0} | {reason: k + 1 for k, reason in enumerate(reasons)}), "u1"),
        "reasons": [reason.replace("_", " ") for reason in reasons],
        "units": [
            {
                "column": unit,
                "name": unit_name(unit),
                "threshold": thresholds.get(unit) if unit in with_presence else None,
                "blank": unit not in with_presence,
                "sides": sided.index(unit) if unit in sided else None,
            }
            for unit in units
        ],
        "faces": [_face_data(face, units, sided) for face in faces_of(table)],
    }


def _events(table: pd.DataFrame, metadata: Mapping[str, Any]) -> dict[int, list[dict[str, Any]]]:
    """Rows of the table of events, by face."""
    thresholds = metadata.get("thresholds", {})
    if set(units_with_presence(table)) - set(thresholds):
        return {}
    events = find_events(table, thresholds)
    return {int(face): rows.to_dict("records") for face, rows in events.groupby("face")}


def _quality(table: pd.DataFrame) -> dict[int, str]:
    """How much of each face is usable, in words."""
    report = quality_report(table)
    return {int(face): quality_in_words(rows) for face, rows in report.groupby("face")}


def _frames_of(table: pd.DataFrame) -> pd.DataFrame:
    """One row per frame, in order."""
    return table.drop_duplicates("frame").sort_values("frame")


def _face_data(face: FaceRows, units: list[str], sided: list[str]) -> dict[str, Any]:
    present_NA = presence(face.rows, units, blank=0.0) == 1
    sides = face.rows[[column for unit in sided for column in _side_columns(unit)]]
    return {
        "id": face.face_id,
        "place": _packed(face.place_N, "<u4"),
        "probability": _packed(_levels(face.rows[units], 1.0), "u1"),
        "sides": _packed(_levels(sides, _GREATEST_INTENSITY), "u1"),
        "present": _packed(np.packbits(present_NA.T, axis=1), "u1"),
        "box": _packed(np.clip(np.round(face.rows[list(BOX)]), 0, 65535), "<u2"),
    }


def _levels(columns: pd.DataFrame, greatest: float) -> NDArray[np.float64]:
    """Of N rows and A columns, (A, N): a unit's levels lie together."""
    values_NA = columns.to_numpy(np.float64)
    level_NA = np.round(values_NA / greatest * _LEVELS)
    return np.where(np.isfinite(values_NA), level_NA, _MISSING).T


def _side_columns(unit: str) -> tuple[str, str]:
    return f"{unit}_intensity_left", f"{unit}_intensity_right"


def _packed(values: Any, dtype: str) -> str:
    return base64.b64encode(np.ascontiguousarray(values, dtype=np.dtype(dtype)).tobytes()).decode()


def _in_words(value: Any) -> str:
    """A value of the table's metadata."""
    if isinstance(value, Mapping):
        return ", ".join(f"{name}: {_in_words(part)}" for name, part in value.items())
    if isinstance(value, (list, tuple)):
        return ", ".join(map(_in_words, value))
    return f"{value:.4g}" if isinstance(value, float) else printable(str(value))


def face_pictures(
    media: Path, frame_F: NDArray[np.int64], faces: Sequence[FaceRows]
) -> tuple[dict[str, int], dict[int, Picture]]:
    """Width and height of the file's pictures in px, and a square picture of each face, by its id.

    Reads the file once, as far as it must. OSError, VideoError or ImageError where it cannot.
    """
    wanted: dict[int, list[tuple[int, NDArray[np.float32]]]] = {}
    for face in sorted(faces, key=lambda face: -face.seconds_N.sum())[:_MOST_FACES]:
        box_N4 = face.rows[list(BOX)].to_numpy(np.float32)
        area_N = (box_N4[:, 2] - box_N4[:, 0]) * (box_N4[:, 3] - box_N4[:, 1])
        best = np.lexsort((area_N, face.rows["confidence"]))[-1]  # of equal confidences the largest box
        wanted.setdefault(int(frame_F[face.place_N[best]]), []).append((face.face_id, box_N4[best]))
    by_face: dict[int, Picture] = {}
    height = width = 0
    for frame, picture in _pictures(media, wanted):
        height, width = picture.shape[:2]
        by_face |= {face_id: _square_around(picture, box) for face_id, box in wanted.get(frame, [])}
    return {"width": width, "height": height}, by_face


def _pictures(media: Path, wanted: Mapping[int, Any]) -> Iterator[tuple[int, Picture]]:
    """The numbered frames that are wanted, or else the first one."""
    if media.suffix.lower() in PICTURE_SUFFIXES:
        yield next(iter(wanted), 0), read_image(media)
        return
    last = max(wanted, default=0)
    try:
        for frame in read_frames(media):
            if not wanted or frame.source_frame_index in wanted:
                yield frame.source_frame_index, frame.image_HWC
            if frame.source_frame_index >= last:
                return
    except VideoError:
        if not wanted:
            raise


def _square_around(picture_HWC: Picture, box_4: NDArray[np.float32]) -> Picture:
    """The box and a margin as a square; what lies outside the picture repeats its edge."""
    left, top, right, bottom = (float(value) for value in box_4)
    side_px = max(4, round(max(right - left, bottom - top) * (1 + 2 * _MARGIN)))
    cut = cv2.getRectSubPix(picture_HWC, (side_px, side_px), ((left + right) / 2, (top + bottom) / 2))
    interpolation = cv2.INTER_LINEAR if side_px < _FACE_PX else cv2.INTER_AREA
    return np.asarray(cv2.resize(cut, (_FACE_PX, _FACE_PX), interpolation=interpolation), np.uint8)
