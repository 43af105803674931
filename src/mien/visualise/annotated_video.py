"""A copy of a video with the detections drawn in: boxes, ids, bars; times and sound are kept."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from textwrap import wrap
from typing import Any

import cv2
import numpy as np
import pyarrow.parquet as pq

from mien.detect.table import BOX, Detections
from mien.io import write_bytes
from mien.video import Frame, VideoError, read_frames, read_image
from mien.visualise.page_parts import Picture, jpeg, unit_name
from mien.visualise.redaction import Redaction, Redactor
from mien.visualise.timed_video import until_damage, write_timed_video

Row = Mapping[str, Any]  # one row of the table: a frame and face
Point = tuple[int, int]
Colour = tuple[int, int, int]

LEAST_HEIGHT_PX = 480  # smaller pictures are enlarged, so that the names can be read
_PANEL_SHARE = 0.68  # the panel's width as a share of the picture's height
_LEAST_ROW_PX, _MOST_ROW_PX = 13, 26
_PAPER, _INK, _QUIET, _LINE = (24, 29, 34), (232, 237, 242), (150, 162, 174), (58, 68, 78)
_PRESENT, _ABSENT, _DARK = (240, 138, 93), (96, 150, 196), (0, 0, 0)
_ROWS_AT_A_TIME = 1024
_BANNER_SIZE, _BANNER_LINE_PX = 0.5, 22


def write_annotated_video(
    video: Path, detections: Detections | Path, out: Path, *, redaction: Redaction | None = None
) -> int:
    """`out`, an mp4 with the frames and the sound of `video`; returns how many frames.

    Times count from the first frame, which is at 0 whatever its time in the file.
    The panel with the bars is to the right of the picture, the model's warning above both; a picture under
    480 px in height is enlarged. `detections` is of that one file, or the path of its Parquet file, which is
    read piece by piece, so that memory does not grow with the video. Rows come in the order of frames; a
    frame without any is shown as "not looked at". Of a damaged video the frames that can be decoded are
    written, then VideoError is raised. With `redaction` faces are blurred, and there is no sound: voices
    identify people.
    """
    overlay, rows_by_frame = _overlay_and_rows(detections)
    problems: list[VideoError] = []
    redactor = None if redaction is None else Redactor(redaction)
    frames = _drawn(until_damage(read_frames(video), problems), rows_by_frame, overlay, redactor)
    num_frames = write_timed_video(out, frames, audio_from=video if redaction is None else None)
    for problem in problems:
        raise problem
    return num_frames


def write_annotated_picture(
    picture: Path, detections: Detections, out: Path, *, redaction: Redaction | None = None
) -> None:
    """`out`, a JPEG file of the picture with the detections drawn in."""
    overlay, rows_by_frame = _overlay_and_rows(detections)
    rows, image_HWC = [row for _, rows in rows_by_frame for row in rows], read_image(picture)
    if redaction is not None:
        image_HWC = Redactor(redaction)(image_HWC, rows, 0.0)
    drawn = overlay.draw(image_HWC, rows)
    write_bytes(out, jpeg(drawn, quality=92), temporary_folder=out.parent)


@dataclass(frozen=True)
class Overlay:
    """How the frames of one video are drawn; every frame of one size gives a picture of one size."""

    units: Sequence[str]  # columns
    thresholds: Mapping[str, float]  # no tick for a unit that is not in it
    warning: str = ""

    def draw(self, picture_HWC: Picture, rows: Sequence[Row]) -> Picture:
        """The warning above the picture, enlarged if it is small, with boxes, and the panel to its right.

        Sides are even.
        """
        scale = max(1.0, LEAST_HEIGHT_PX / picture_HWC.shape[0])
        height, width = (round(side * scale / 2) * 2 for side in picture_HWC.shape[:2])
        panel_px = round(height * _PANEL_SHARE / 2) * 2
        canvas = np.empty((height, width + panel_px, 3), np.uint8)
        cv2.rectangle(canvas, (width, 0), (width + panel_px, height), _PAPER, -1)
        cv2.resize(picture_HWC, (width, height), dst=canvas[:, :width], interpolation=cv2.INTER_LINEAR)
        faces = [row for row in rows if row["success"] == 1]
        in_panel = self._in_panel(faces, height)
        for row in faces:
            _draw_box(canvas[:, :width], row, scale, label=self._label(row, row in in_panel))
        if faces:
            self._draw_panel(canvas[:, width:], in_panel, len(faces) - len(in_panel))
        else:
            reason = str(rows[0].get("reason") or "no face") if rows else "not looked at"
            _write(canvas[:, width:], reason.replace("_", " "), (14, 30), 0.6, _QUIET)
        return np.concatenate([_banner(self.warning, width + panel_px), canvas])

    def _in_panel(self, faces: Sequence[Row], height: int) -> list[Row]:
        """The largest faces, as many as have room, by id."""
        room = max(1, height // (_LEAST_ROW_PX * (len(self.units) + 2)))
        largest = sorted(faces, key=lambda row: -(row[BOX[2]] - row[BOX[0]]) * (row[BOX[3]] - row[BOX[1]]))
        return sorted(largest[:room], key=lambda row: int(row["face_id"]))

    def _label(self, row: Row, in_panel: bool) -> str:
        """The face's id; with its action units where the panel has no room for them."""
        present = [unit for unit in self.units if row[f"{unit}_present"] == 1]
        return " ".join([f"face {int(row['face_id'])}", *([] if in_panel else present)])

    def _draw_panel(self, panel: Picture, faces: Sequence[Row], num_left_out: int) -> None:
        lines = (len(self.units) + 2) * len(faces)
        step = min(_MOST_ROW_PX, max(_LEAST_ROW_PX, panel.shape[0] // max(1, lines)))
        top = 0
        for row in faces:
            more = f", and {num_left_out} more" if num_left_out and row is faces[-1] else ""
            title = f"face {int(row['face_id'])}{more}"
            _write(panel, title, (14, top + round(1.1 * step)), step / 40, _INK, bold=True)
            for place, unit in enumerate(self.units):
                at = top + (place + 1.6) * step
                _draw_unit(panel, unit, row, threshold=self.thresholds.get(unit), top=at, step=step)
            top += (len(self.units) + 2) * step


def _overlay_and_rows(
    detections: Detections | Path,
) -> tuple[Overlay, Iterator[tuple[int, list[Row]]]]:
    """How to draw, and the number and rows of each frame."""
    if isinstance(detections, Path):
        about = Detections.load_header(detections)
        batches = pq.ParquetFile(detections).iter_batches(_ROWS_AT_A_TIME)
    else:
        about, batches = detections, detections.table.to_batches(_ROWS_AT_A_TIME)
    overlay = Overlay(about.columns, about.metadata.get("thresholds", {}), about.warning)
    by_frame = groupby((row for batch in batches for row in batch.to_pylist()), key=itemgetter("frame"))
    return overlay, ((frame, list(of_frame)) for frame, of_frame in by_frame)


def _drawn(
    frames: Iterable[Frame],
    rows_by_frame: Iterator[tuple[int, list[Row]]],
    overlay: Overlay,
    redactor: Redactor | None,
) -> Iterator[tuple[float, Picture]]:
    """Each frame with its rows; both come in the order of frames."""
    number, rows = -1.0, list[Row]()
    for frame in frames:
        while number < frame.source_frame_index:
            number, rows = next(rows_by_frame, (math.inf, []))
        of_frame = rows if number == frame.source_frame_index else []
        picture_HWC = frame.image_HWC
        if redactor is not None:
            picture_HWC = redactor(picture_HWC, of_frame, frame.seconds)
        yield frame.seconds, overlay.draw(picture_HWC, of_frame)


@cache
def _banner(text: str, width: int) -> Picture:
    """The text in as many lines as it takes; no height without a text."""
    text_px = cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, _BANNER_SIZE, 1)[0][0]
    lines = wrap(text, max(20, round(0.95 * (width - 28) * len(text) / max(1, text_px))))
    banner = np.full((_BANNER_LINE_PX * len(lines) + 12 * bool(lines), width, 3), _PAPER, np.uint8)
    for number, line in enumerate(lines, start=1):
        _write(banner, line, (14, _BANNER_LINE_PX * number), _BANNER_SIZE, _PRESENT)
    return banner


def _draw_unit(
    panel: Picture, unit: str, row: Row, *, threshold: float | None, top: float, step: int
) -> None:
    """One line: column and name, a bar of the probability, a tick at the threshold, the value.

    Where presence is left blank the bar is grey and has no tick.
    """
    value, blank = row[unit], row[f"{unit}_present"] is None
    present = row[f"{unit}_present"] == 1
    colour, ink = (_PRESENT, _INK) if present else (_QUIET if blank else _ABSENT, _QUIET)
    width = panel.shape[1]
    left, right, middle = round(0.62 * width), width - round(0.17 * width), round(top + step / 2)
    size, baseline = step / 48, round(top + 0.72 * step)
    _write(panel, unit, (14, baseline), size, ink, bold=present)
    _write(panel, unit_name(unit), (14 + round(2.2 * step), baseline), size * 0.92, ink)
    half = max(2, step // 5)
    cv2.rectangle(panel, (round(0.6 * width), round(top)), (width, round(top + step)), _PAPER, -1)
    cv2.rectangle(panel, (left, middle - half), (right, middle + half), _LINE, -1)
    if value is not None and np.isfinite(value):
        end = round(left + float(value) * (right - left))
        cv2.rectangle(panel, (left, middle - half), (end, middle + half), colour, -1)
        _write(panel, f"{value:.2f}", (right + 8, baseline), size, ink, bold=present)
    if threshold is not None and not blank:
        tick = round(left + threshold * (right - left))
        cv2.line(panel, (tick, middle - half - 3), (tick, middle + half + 3), _INK, 2)


def _draw_box(picture: Picture, row: Row, scale: float, *, label: str) -> None:
    left, top, right, bottom = (round(float(row[name]) * scale) for name in BOX)
    for colour, thickness in ((_DARK, 4), (_PRESENT, 2)):
        cv2.rectangle(picture, (left, top), (right, bottom), colour, thickness, cv2.LINE_AA)
    (width, height), _ = cv2.getTextSize(label, cv2.FONT_HERSHEY_SIMPLEX, 0.55, 1)
    x = max(0, min(left, picture.shape[1] - width - 10))
    y = top if top > height + 12 else top + height + 12
    cv2.rectangle(picture, (x, y - height - 10), (x + width + 10, y), _PRESENT, -1)
    _write(picture, label, (x + 5, y - 6), 0.55, _DARK)


def _write(on: Picture, text: str, at: Point, size: float, colour: Colour, *, bold: bool = False) -> None:
    plain = text.encode("ascii", "replace").decode()  # the font knows no other letters
    cv2.putText(on, plain, at, cv2.FONT_HERSHEY_SIMPLEX, size, colour, 2 if bold else 1, cv2.LINE_AA)
