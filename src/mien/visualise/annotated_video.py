"""A copy of a video with the detections drawn in: boxes, ids, bars; times and sound are kept."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd
import pyarrow.parquet as pq

from mien.detect.statistics import unit_columns
from mien.io import write_bytes
from mien.video import Frame, read_frames, read_image
from mien.visualise.detection_data import BOX, Tabular, Unit, table_of, thresholds_of, units_of
from mien.visualise.page_parts import Picture, jpeg
from mien.visualise.timed_video import write_timed_video

Row = Mapping[str, Any]  # one row of the table: a frame and face

LEAST_HEIGHT_PX = 480  # smaller pictures are enlarged, so that the names can be read
_PANEL_SHARE = 0.68  # the panel's width as a share of the picture's height
_LEAST_ROW_PX, _MOST_ROW_PX = 13, 26
_PAPER, _INK, _QUIET, _LINE = (24, 29, 34), (232, 237, 242), (150, 162, 174), (58, 68, 78)
_PRESENT, _ABSENT, _DARK = (240, 138, 93), (96, 150, 196), (0, 0, 0)
_ROWS_AT_A_TIME = 1024


def write_annotated_video(
    video: Path,
    detections: pd.DataFrame | Tabular | Path,
    out: Path,
) -> int:
    """`out`, an mp4 with the frames and the sound of `video`; returns how many frames.

    Times count from the first frame, which is at 0 whatever its time in the file.
    The panel with the bars stands to the right of the picture; a picture under 480 px in height is enlarged.
    `detections` is a table of that one file, or the path of a Parquet file with it, which is then read piece
    by piece, so that memory does not grow with the video. Rows come in the order of frames; a frame without
    any is shown as "not looked at". Of a damaged video the frames that can be decoded are written, then
    VideoError is raised.
    """
    overlay, rows_by_frame = _overlay_and_rows(detections)
    broken: list[Exception] = []
    frames = _drawn(_until_broken(read_frames(video), broken), rows_by_frame, overlay)
    num_frames = write_timed_video(out, frames, audio_from=video)
    if broken:
        raise broken[0]
    return num_frames


def write_annotated_picture(
    picture: Path,
    detections: pd.DataFrame | Tabular | Path,
    out: Path,
) -> None:
    """`out`, a JPEG file of the picture with the detections drawn in."""
    overlay, rows_by_frame = _overlay_and_rows(detections)
    drawn = overlay.draw(read_image(picture), [row for _, rows in rows_by_frame for row in rows])
    write_bytes(out, jpeg(drawn, quality=92), temporary_folder=out.parent)


@dataclass(frozen=True)
class Overlay:
    """How the frames of one video are drawn; every frame of one size gives a picture of one size."""

    units: Sequence[Unit]

    def draw(self, picture_HWC: Picture, rows: Sequence[Row]) -> Picture:
        """The picture, enlarged if it is small, with boxes, and the panel to its right. Sides are even."""
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
        return canvas

    def _in_panel(self, faces: Sequence[Row], height: int) -> list[Row]:
        """The largest faces, as many as have room, by id."""
        room = max(1, height // (_LEAST_ROW_PX * (len(self.units) + 2)))
        largest = sorted(faces, key=lambda row: -(row[BOX[2]] - row[BOX[0]]) * (row[BOX[3]] - row[BOX[1]]))
        return sorted(largest[:room], key=lambda row: int(row["face_id"]))

    def _label(self, row: Row, in_panel: bool) -> str:
        """The face's id; with its action units where the panel has no room for them."""
        present = [u.column for u in self.units if row[f"{u.column}_present"] == 1]
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
                _draw_unit(panel, unit, row, top + (place + 1.6) * step, step)
            top += (len(self.units) + 2) * step


def _overlay_and_rows(
    detections: pd.DataFrame | Tabular | Path,
) -> tuple[Overlay, Iterator[tuple[int, list[Row]]]]:
    """How to draw, and the number and rows of each frame."""
    rows: Iterator[Row]
    if isinstance(detections, Path):
        table, rows = pd.DataFrame(columns=pq.read_schema(detections).names), _rows_of_file(detections)
    else:
        table = table_of(detections)
        rows = _rows_of(table)
    by_frame = itertools.groupby(rows, key=lambda row: int(row["frame"]))
    overlay = Overlay(units_of(unit_columns(table), thresholds_of(detections)))
    return overlay, ((frame, list(of_frame)) for frame, of_frame in by_frame)


def _drawn(
    frames: Iterable[Frame], rows_by_frame: Iterator[tuple[int, list[Row]]], overlay: Overlay
) -> Iterator[tuple[float, Picture]]:
    """Each frame with its rows; both come in the order of frames."""
    number, rows = next(rows_by_frame, (-1, []))
    for frame in frames:
        while rows and number < frame.source_frame_index:
            number, rows = next(rows_by_frame, (-1, []))
        of_frame = rows if number == frame.source_frame_index else []
        yield frame.seconds, overlay.draw(frame.image_HWC, of_frame)


def _rows_of_file(path: Path) -> Iterator[Row]:
    with pq.ParquetFile(path) as file:
        for batch in file.iter_batches(_ROWS_AT_A_TIME):
            yield from batch.to_pylist()


def _rows_of(table: pd.DataFrame) -> Iterator[Row]:
    for start in range(0, len(table), _ROWS_AT_A_TIME):
        yield from table.iloc[start : start + _ROWS_AT_A_TIME].to_dict("records")


def _until_broken(frames: Iterator[Frame], broken: list[Exception]) -> Iterator[Frame]:
    """The frames; what ends them early is told in `broken`, so that those before it are kept."""
    try:
        yield from frames
    except ValueError as error:
        broken.append(error)


def _draw_unit(panel: Picture, unit: Unit, row: Row, top: float, step: int) -> None:
    """One line: column and name, a bar of the probability, a tick at the threshold, the value."""
    value, present = row[unit.column], row[f"{unit.column}_present"] == 1
    width = panel.shape[1]
    left, right, middle = round(0.62 * width), width - round(0.17 * width), round(top + step / 2)
    size, baseline = step / 48, round(top + 0.72 * step)
    _write(panel, unit.column, (14, baseline), size, _INK if present else _QUIET, bold=present)
    _write(panel, unit.name, (14 + round(2.2 * step), baseline), size * 0.92, _INK if present else _QUIET)
    half = max(2, step // 5)
    cv2.rectangle(panel, (round(0.6 * width), round(top)), (width, round(top + step)), _PAPER, -1)
    cv2.rectangle(panel, (left, middle - half), (right, middle + half), _LINE, -1)
    if value is not None and np.isfinite(value):
        end = round(left + float(value) * (right - left))
        cv2.rectangle(
            panel, (left, middle - half), (end, middle + half), _PRESENT if present else _ABSENT, -1
        )
        _write(panel, f"{value:.2f}", (right + 8, baseline), size, _INK if present else _QUIET, bold=present)
    if np.isfinite(unit.threshold):
        tick = round(left + unit.threshold * (right - left))
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


def _write(
    picture: Picture,
    text: str,
    place: tuple[int, int],
    size: float,
    colour: tuple[int, int, int],
    *,
    bold: bool = False,
) -> None:
    plain = text.encode("ascii", "replace").decode()  # the font knows no other letters
    thickness = 2 if bold else 1
    cv2.putText(picture, plain, place, cv2.FONT_HERSHEY_SIMPLEX, size, colour, thickness, cv2.LINE_AA)
