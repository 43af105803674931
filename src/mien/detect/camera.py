"""A camera: its frames as they come, with the time since the first, and their tables."""

from __future__ import annotations

import json
import math
import sys
import time
from collections.abc import Generator, Iterable, Iterator
from contextlib import closing
from itertools import chain, takewhile
from pathlib import Path
from typing import TypeVar

import cv2
import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from mien.detect.detector import Detector
from mien.detect.writing import TableWriter
from mien.io import naming_write_errors, write_bytes
from mien.train.stop import StopRequest

T = TypeVar("T")


class CameraError(OSError):
    """No camera of that number, or one that gives no picture."""


def camera_frames(index: int, *, seconds: float = math.inf) -> Generator[tuple[float, NDArray[np.uint8]]]:
    """(seconds since the first, RGB picture) until so much time has passed, or nobody asks any more.

    The camera is let go then. CameraError where there is no such camera, it is not ours to open, or it stops.
    """
    capture = cv2.VideoCapture(index)
    if not capture.isOpened():
        raise CameraError(
            f"camera {index} cannot be opened. Is one connected, free and permitted to be used? "
            "Another one has another number: --camera 1"
        )
    try:
        began = time.monotonic()
        passed = 0.0
        while passed <= seconds:
            read, image_bgr = capture.read()
            passed = time.monotonic() - began
            if not read:
                raise CameraError(f"camera {index} gives no picture any more")
            yield passed, np.asarray(cv2.cvtColor(image_bgr, cv2.COLOR_BGR2RGB), np.uint8)
    finally:
        capture.release()


def record_camera(
    detector: Detector, index: int, stem: Path, *, seconds: float = math.inf, csv_format: str = "mien"
) -> int:
    """`STEM.csv`, `.parquet` and `.json` until Ctrl-C or for so many seconds; returns the number of rows.

    However it ends, the rows that wait for a neutral or to be smoothed are written too, unless a second
    Ctrl-C comes. CameraError where the camera cannot be opened, or, behind the last row, where it failed.
    """
    frames = camera_frames(index, seconds=seconds)
    first = next(frames)  # an error of the camera comes before any file
    stem.parent.mkdir(parents=True, exist_ok=True)
    csv, parquet, about = (stem.with_name(f"{stem.name}.{end}") for end in ("csv", "parquet", "json"))
    if any(path.exists() for path in (csv, parquet, about)):
        raise ValueError(f"{csv} is there already; give another --out")
    problems: list[CameraError] = []
    cut_short: dict[int, float] = {}
    with (
        naming_write_errors(stem.with_name(f"{stem.name}.*")),
        closing(TableWriter(csv, parquet, detector.layout, csv_format)) as table,
        closing(frames),
        tqdm(unit="row", file=sys.stderr) as bar,
        StopRequest() as stop,
    ):
        until_end = _until_end(chain([first], frames), stop, problems)
        try:
            for row in detector.stream(until_end, cut_short=cut_short):
                table.write([row])
                bar.update()
        except KeyboardInterrupt:  # the second: rows that wait are given up
            pass
        finally:
            metadata = detector.metadata | ({"baseline_cut_short": cut_short} if cut_short else {})
            table.finish(metadata)
    write_bytes(about, (json.dumps({"table": metadata}, indent=2) + "\n").encode())
    for problem in problems:
        raise problem
    return int(bar.n)


def _until_end(frames: Iterable[T], stop: StopRequest, problems: list[CameraError]) -> Iterator[T]:
    """The frames until a signal, or until the camera fails, which is added to `problems`."""
    try:
        yield from takewhile(lambda _frame: not stop.requested(), frames)
    except CameraError as error:
        problems.append(error)
