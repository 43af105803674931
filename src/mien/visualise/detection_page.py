"""The page of one file's detections: its video with the action units over time, in one file."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mien.data.sources import PICTURE_SUFFIXES
from mien.detect.statistics import unit_statistics
from mien.io import write_bytes
from mien.video import VideoError, read_frames, read_image
from mien.visualise.detection_data import (
    Face,
    FileDetections,
    Tabular,
    file_detections,
    metadata_of,
    page_data,
    table_of,
    thresholds_of,
)
from mien.visualise.page_parts import Picture, hash_of, part, picture_url, printable, template
from mien.visualise.timed_video import MOST_EMBEDDED_BYTES, page_video

_MARGIN = 0.25  # of the box's longer side, on each side
_MOST_FACES = 48  # of which pictures are taken: those seen longest
_PICTURE_QUALITY = 90


@dataclass(frozen=True)
class _Row:
    """One line of the summary."""

    unit: str
    name: str
    threshold: str
    share: str
    share_of_1: float
    episodes: int
    mean_episode: str
    probability: str


def write_detection_page(
    detections: pd.DataFrame | Tabular,
    media: Path,
    out: Path,
    *,
    embed_video: bool = False,
    most_embedded_bytes: int = MOST_EMBEDDED_BYTES,
    thresholds: Mapping[str, float] | None = None,
    facts: Sequence[tuple[str, str]] = (),
) -> Path:
    """Write `out`, the page of the detections of the one video or picture `media`; returns `out`.

    A video is linked by a relative path, or lies within the page where `embed_video` says so and it has no
    more than `most_embedded_bytes`; a picture always lies within. Where browsers do not play the video, a
    copy NAME.playable.mp4 is written beside the page. `thresholds` (by column) and `facts` (name and value)
    come before those of the table's metadata. ValueError where the table is not about exactly one file.
    """
    table = table_of(detections)
    data = file_detections(table, thresholds={**thresholds_of(detections), **(thresholds or {})})
    pictures = face_pictures(media, data)
    thumbnails = {face_id: picture_url(picture) for face_id, picture in pictures.by_face.items()}
    shown = is_picture(media)
    out.parent.mkdir(parents=True, exist_ok=True)
    video = None
    if not shown:
        video = page_video(
            media, out, embed=embed_video, most_bytes=most_embedded_bytes, times_rise=data.times_rise
        )
    payload = page_data(data, first_seconds=video.first_seconds if video else 0.0)
    size = {"width": pictures.width_px, "height": pictures.height_px}
    html = template("detection.html").render(
        name=printable(data.input),
        data=payload | size | {"mime": video.mime if video else ""},
        detections=data,
        video=video,
        picture=picture_url(read_image(media), quality=_PICTURE_QUALITY) if shown else "",
        faces=[(face, thumbnails.get(face.face_id, "")) for face in data.faces],
        summary=_summary(table, data),
        warning=printable(str(_of_model(detections, "warning") or "")),
        unproven=frozenset(map(str, _of_model(detections, "unproven_units") or ())),
        facts=[(printable(name), printable(value)) for name, value in (*facts, *_facts(detections))],
        script=part("detection.js"),
        style=part("detection.css"),
        policy=_policy(),
    )
    write_bytes(out, html.encode(), temporary_folder=out.parent)
    return out


def _policy() -> str:
    """What the page may do: run its own script, show its own pictures and the video; no other address."""
    script, style = (hash_of(part(name)) for name in ("detection.js", "detection.css"))
    return (
        f"default-src 'none'; script-src '{script}'; style-src '{style}'; img-src data:; "
        "media-src 'self' file: blob:; base-uri 'none'; form-action 'none'"
    )


def _of_model(detections: object, name: str) -> Any:
    """What the table's metadata tell of the model under that name; None where they do not."""
    model = metadata_of(detections).get("model")
    return model.get(name) if isinstance(model, Mapping) else None


def _facts(detections: object) -> list[tuple[str, str]]:
    return [
        (str(name).replace("_", " "), value if isinstance(value, str) else _told(value))
        for name, value in metadata_of(detections).items()
    ]


def _told(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{name}: {_told(part)}" for name, part in value.items())
    if isinstance(value, (list, tuple)):
        return ", ".join(map(_told, value))
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _summary(table: pd.DataFrame, data: FileDetections) -> dict[int, list[_Row]]:
    """The lines of each face, in the order of the units."""
    units = {unit.column: unit for unit in data.units}
    rows: dict[int, list[_Row]] = {face.face_id: [] for face in data.faces}
    for found in unit_statistics(table).itertuples():
        unit = units[found.unit]
        rows[found.face_id].append(
            _Row(
                unit=unit.column,
                name=unit.name,
                threshold=_number(unit.threshold, ".2f"),
                share=_number(100 * found.share_present, ".1f"),
                share_of_1=found.share_present,
                episodes=found.episodes,
                mean_episode=_number(found.mean_episode_seconds, ".2f"),
                probability=_number(found.mean_probability, ".2f"),
            )
        )
    return rows


def _number(value: float, form: str) -> str:
    return format(value, form) if math.isfinite(value) else "–"


@dataclass(frozen=True, eq=False)
class FacePictures:
    """The size of the file's pictures, and a square picture a face by its id."""

    width_px: int
    height_px: int
    by_face: dict[int, Picture]


def is_picture(path: Path) -> bool:
    """Whether the name says that the file is a picture rather than a video."""
    return path.suffix.lower() in PICTURE_SUFFIXES


def face_pictures(media: Path, data: FileDetections, *, size_px: int = 96) -> FacePictures:
    """Reads the file once, as far as it must. OSError, VideoError or ImageError where it cannot."""
    wanted: dict[int, list[tuple[int, NDArray[np.float32]]]] = {}
    longest_first = sorted(data.faces, key=lambda face: -face.seconds_seen)
    for face in longest_first[:_MOST_FACES]:
        best = _best(face)
        frame = int(data.frame_F[face.place_N[best]])
        wanted.setdefault(frame, []).append((face.face_id, face.box_N4[best]))
    by_face: dict[int, Picture] = {}
    height = width = 0
    for picture, faces in _pictures(media, wanted):
        height, width = picture.shape[:2]
        by_face |= {face_id: square_around(picture, box, size_px=size_px) for face_id, box in faces}
    return FacePictures(width, height, by_face)


def square_around(picture_HWC: Picture, box_4: NDArray[np.float32], *, size_px: int) -> Picture:
    """The box and a margin as a square; what lies outside the picture repeats its edge."""
    left, top, right, bottom = (float(value) for value in box_4)
    half = max(2.0, max(right - left, bottom - top) * (0.5 + _MARGIN))
    scale = size_px / (2 * half)
    shift_x, shift_y = size_px / 2 - scale * (left + right) / 2, size_px / 2 - scale * (top + bottom) / 2
    matrix = np.array([[scale, 0, shift_x], [0, scale, shift_y]])
    interpolation = cv2.INTER_LINEAR if scale >= 1 else cv2.INTER_AREA
    cut = cv2.warpAffine(
        picture_HWC, matrix, (size_px, size_px), flags=interpolation, borderMode=cv2.BORDER_REPLICATE
    )
    return np.asarray(cut, dtype=np.uint8)


def _best(face: Face) -> int:
    """The row of the greatest confidence; of equal ones the largest box."""
    left, top, right, bottom = face.box_N4.T
    return int(np.lexsort(((right - left) * (bottom - top), face.confidence_N))[-1])


def _pictures(
    media: Path, wanted: dict[int, list[tuple[int, NDArray[np.float32]]]]
) -> Iterator[tuple[Picture, list[tuple[int, NDArray[np.float32]]]]]:
    """The frames that are wanted, or the first one; with the faces to cut out of each."""
    if is_picture(media):
        yield read_image(media), [face for faces in wanted.values() for face in faces]
        return
    last = max(wanted, default=0)
    try:
        for frame in read_frames(media):
            if not wanted or frame.source_frame_index in wanted:
                yield frame.image_HWC, wanted.get(frame.source_frame_index, [])
            if frame.source_frame_index >= last:
                return
    except VideoError:
        if not wanted:
            raise
