"""The page of one file's detections: its video with the action units over time, in one file."""

from __future__ import annotations

import base64
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from mien.detect.statistics import unit_statistics
from mien.io import write_bytes
from mien.video import read_image
from mien.visualise.detection_data import (
    FileDetections,
    Tabular,
    file_detections,
    metadata_of,
    page_data,
    table_of,
)
from mien.visualise.face_pictures import face_pictures, is_picture
from mien.visualise.page_parts import hash_of, jpeg, part, picture_url, printable, template
from mien.visualise.playable import MOST_EMBEDDED_BYTES, PageVideo, page_video

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
    data = file_detections(detections, thresholds=thresholds)
    pictures = face_pictures(media, data)
    shown = is_picture(media)
    out.parent.mkdir(parents=True, exist_ok=True)
    video = None
    if not shown:
        video = page_video(
            media, out, embed=embed_video, most_bytes=most_embedded_bytes, times_rise=data.times_rise
        )
    payload = page_data(data, first_seconds=video.first_seconds if video else 0.0)
    html = template("detection.html").render(
        name=printable(data.input),
        data=payload | _media_data(pictures.width_px, pictures.height_px, video),
        detections=data,
        video=video,
        picture=_picture_url(media) if shown else "",
        faces=[(face, _thumbnail(pictures.by_face.get(face.face_id))) for face in data.faces],
        summary=_summary(table_of(detections), data),
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


def _media_data(width_px: int, height_px: int, video: PageVideo | None) -> dict[str, Any]:
    return {"width": width_px, "height": height_px, "mime": video.mime if video else ""}


def _picture_url(media: Path) -> str:
    content = jpeg(read_image(media), quality=_PICTURE_QUALITY)
    return "data:image/jpeg;base64," + base64.b64encode(content).decode()


def _thumbnail(picture: Any) -> str:
    return "" if picture is None else picture_url(picture)


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
