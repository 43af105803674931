"""A camera: its frames as they come, with the time since the first, and their tables."""

from __future__ import annotations

import json
import math
import sys
import time
from collections.abc import Generator, Iterator
from contextlib import closing
from itertools import chain
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from mien.detect.detector import Detector
from mien.detect.recording import what_was_cut_short
from mien.detect.writing import CsvTable, ParquetTable
from mien.io import naming_write_errors, write_bytes
from mien.train.stop import StopRequest
from mien.video import Frame


class CameraError(OSError):
    """No camera of that number, or one that gives no picture."""


def camera_frames(index: int, *, seconds: float = math.inf) -> Generator[Frame]:
    """Frames until so many seconds have passed, or nobody asks any more; the camera is let go then.

    CameraError where there is no such camera, it is not ours to open, or it stops.
    """
    capture = _opened(index)
    try:
        began = time.monotonic()
        number = 0
        while True:
            read, image_bgr = capture.read()
            passed = time.monotonic() - began
            if not read:
                raise CameraError(f"camera {index} gives no picture any more ({number} frames came)")
            if passed > seconds:
                return
            yield _frame(image_bgr, number, passed)
            number += 1
    finally:
        capture.release()


def record_camera(
    detector: Detector, index: int, stem: Path, *, seconds: float | None, csv_format: str = "mien"
) -> int:
    """`STEM.csv`, `.parquet` and `.json` until Ctrl-C or for so many seconds; returns the number of rows.

    However it ends, the rows that wait for a neutral or to be smoothed are written too, unless a second
    Ctrl-C comes. CameraError where the camera cannot be opened, or, behind the last row, where it failed.
    """
    frames = camera_frames(index, seconds=math.inf if seconds is None else seconds)
    first = next(frames)  # an error of the camera comes before any file
    stem.parent.mkdir(parents=True, exist_ok=True)
    paths = [stem.with_name(f"{stem.name}.{end}") for end in ("csv", "parquet", "json")]
    if any(path.exists() for path in paths):
        raise ValueError(f"{paths[0]} is there already; give another --out")
    table = CsvTable(paths[0], detector.layout, csv_format)
    parquet = ParquetTable(paths[1], detector.layout)
    problems: list[CameraError] = []
    cut_short: dict[int, float] = {}
    bar = tqdm(unit="row", file=sys.stderr)
    naming = naming_write_errors(stem.with_name(f"{stem.name}.*"))
    with naming, closing(table), closing(parquet), closing(frames), bar, StopRequest() as stop:
        until_end = _until_end(chain([first], frames), stop, problems)
        try:
            for row in detector.stream(until_end, cut_short=cut_short):
                table.write([row])
                parquet.write([row])
                bar.update()
        except KeyboardInterrupt:  # the second: rows that wait are given up
            pass
        finally:
            metadata = detector.metadata | what_was_cut_short(cut_short)
            parquet.finish(metadata)
    write_bytes(paths[2], (json.dumps({"table": metadata}, indent=2) + "\n").encode())
    for problem in problems:
        raise problem
    return int(bar.n)


def _until_end(frames: Iterator[Frame], stop: StopRequest, problems: list[CameraError]) -> Iterator[Frame]:
    """The frames until a signal, or until the camera fails, which is added to `problems`."""
    try:
        for frame in frames:
            if stop.requested():
                return
            yield frame
    except CameraError as error:
        problems.append(error)


def _opened(index: int) -> cv2.VideoCapture:
    capture = cv2.VideoCapture(index)
    if not capture.isOpened():
        raise CameraError(
            f"camera {index} cannot be opened. Is one connected, free and permitted to be used? "
            "Another one has another number: --camera 1"
        )
    return capture


def _frame(image_bgr: NDArray[np.uint8], number: int, passed: float) -> Frame:
    return Frame(passed, number, lambda: np.asarray(cv2.cvtColor(image_bgr, cv2.COLOR_BGR2RGB), np.uint8))
