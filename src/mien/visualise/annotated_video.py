"""A copy of a video with the detections drawn in: boxes, ids, bars; times and sound are kept."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
from numpy.typing import NDArray

from mien.detect.statistics import unit_columns
from mien.io import write_bytes
from mien.video import Frame, read_frames, read_image
from mien.visualise.detection_data import Tabular, table_of, thresholds_of, units_of
from mien.visualise.face_overlay import Overlay, Row
from mien.visualise.page_parts import jpeg
from mien.visualise.timed_video import write_timed_video

_ROWS_AT_A_TIME = 1024


def write_annotated_video(
    video: Path,
    detections: pd.DataFrame | Tabular | Path,
    out: Path,
    *,
    thresholds: Mapping[str, float] | None = None,
) -> int:
    """`out`, an mp4 with the frames and the sound of `video`; returns how many frames.

    Times count from the first frame, which is at 0 whatever its time in the file.
    The panel with the bars stands to the right of the picture; a picture under 480 px in height is enlarged.
    `detections` is a table of that one file, or the path of a Parquet file with it, which is then read piece
    by piece, so that memory does not grow with the video. Rows come in the order of frames; a frame without
    any is shown as "not looked at". Of a damaged video the frames that can be decoded are written, then
    VideoError is raised.
    """
    overlay = _overlay(detections, thresholds)
    broken: list[Exception] = []
    frames = _drawn(_until_broken(read_frames(video), broken), _rows_by_frame(detections), overlay)
    num_frames = write_timed_video(out, frames, audio_from=video)
    if broken:
        raise broken[0]
    return num_frames


def write_annotated_picture(
    picture: Path,
    detections: pd.DataFrame | Tabular | Path,
    out: Path,
    *,
    thresholds: Mapping[str, float] | None = None,
) -> None:
    """`out`, a JPEG file of the picture with the detections drawn in."""
    rows = [row for _, of_frame in _rows_by_frame(detections) for row in of_frame]
    drawn = _overlay(detections, thresholds).draw(read_image(picture), rows)
    write_bytes(out, jpeg(drawn, quality=92), temporary_folder=out.parent)


def _overlay(detections: pd.DataFrame | Tabular | Path, thresholds: Mapping[str, float] | None) -> Overlay:
    if isinstance(detections, Path):
        columns = pd.DataFrame(columns=pq.read_schema(detections).names)
    else:
        columns = table_of(detections).head(0)
    return Overlay(units_of(unit_columns(columns), {**thresholds_of(detections), **(thresholds or {})}))


def _drawn(
    frames: Iterable[Frame], rows_by_frame: Iterator[tuple[int, list[Row]]], overlay: Overlay
) -> Iterator[tuple[float, NDArray[np.uint8]]]:
    """Each frame with its rows; both come in the order of frames."""
    number, rows = next(rows_by_frame, (-1, []))
    for frame in frames:
        while rows and number < frame.source_frame_index:
            number, rows = next(rows_by_frame, (-1, []))
        of_frame = rows if number == frame.source_frame_index else []
        yield frame.seconds, overlay.draw(frame.image_HWC, of_frame)


def _rows_by_frame(detections: pd.DataFrame | Tabular | Path) -> Iterator[tuple[int, list[Row]]]:
    for frame, rows in itertools.groupby(_rows(detections), key=lambda row: int(row["frame"])):
        yield frame, list(rows)


def _rows(detections: pd.DataFrame | Tabular | Path) -> Iterator[dict[str, Any]]:
    if isinstance(detections, Path):
        with pq.ParquetFile(detections) as file:
            for batch in file.iter_batches(_ROWS_AT_A_TIME):
                yield from batch.to_pylist()
        return
    table = table_of(detections)
    for start in range(0, len(table), _ROWS_AT_A_TIME):
        yield from table.iloc[start : start + _ROWS_AT_A_TIME].to_dict("records")


def _until_broken(frames: Iterator[Frame], broken: list[Exception]) -> Iterator[Frame]:
    """The frames; what ends them early is told in `broken`, so that those before it are kept."""
    try:
        yield from frames
    except ValueError as error:
        broken.append(error)
