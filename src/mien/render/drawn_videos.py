"""A folder of drawn videos in VoxCeleb2's layout, with each frame's action units and five points beside.

FOLDER/mp4/id00007/video00/00001.mp4           25 frames a second
FOLDER/mp4/id00007/video00/00001.landmarks.csv source_frame_index, face, left_eye_x, ... in pixels
FOLDER/labels.csv                              path, frame, seconds, subject, AU01, AU02, ... 0 to 5
"""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mien.render.drawing_pool import drawing_pool
from mien.render.drawn import DrawnFrame, draw_video
from mien.render.drawn_face import DrawnFace
from mien.render.drawn_motion import Motion, random_motion
from mien.render.drawn_person import drawn_columns, random_person
from mien.video import write_video

FRAMES_PER_SECOND = 25
POINT_NAMES = ("left_eye", "right_eye", "nose_tip", "left_mouth", "right_mouth")


@dataclass(frozen=True)
class DrawnVideos:
    """How many people are drawn, how often and for how long."""

    num_people: int = 100
    first_person: int = 0  # people are numbered: other numbers are other people
    videos_per_person: int = 4
    frames_per_video: int = 50
    seed: int = 0
    side_px: int = 192

    def __post_init__(self) -> None:
        for name in ("num_people", "videos_per_person", "frames_per_video", "side_px"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}: at least 1, not {getattr(self, name)}")


def write_drawn_videos(
    folder: Path,
    settings: DrawnVideos,
    *,
    processes: int = 1,
    after_person: Callable[[int], None] = lambda frames: None,
) -> None:
    """Draw everybody into `folder`; `after_person` is told the frames just finished.

    The same settings give the same labels whatever the number of processes.
    """
    numbers = range(settings.first_person, settings.first_person + settings.num_people)
    rows: list[list[str]] = []
    for person_rows in _in_processes(folder, settings, numbers, processes):
        rows += person_rows
        after_person(len(person_rows))
    header = ["path", "frame", "seconds", "subject", *drawn_columns()]
    _write_csv(folder / "labels.csv", header, rows)


def _in_processes(
    folder: Path, settings: DrawnVideos, numbers: Iterable[int], processes: int
) -> Iterator[list[list[str]]]:
    if processes == 1:
        yield from (_write_person(folder, settings, number) for number in numbers)
        return
    with drawing_pool(processes) as pool:
        pending = [pool.submit(_write_person, folder, settings, number) for number in numbers]
        for future in pending:
            yield future.result()


def _write_person(folder: Path, settings: DrawnVideos, number: int) -> list[list[str]]:
    """Draw all videos of one person; the rows of labels.csv."""
    face = DrawnFace(random_person(np.random.default_rng([settings.seed, number])))
    subject, rows = f"id{number:05d}", []
    for video in range(settings.videos_per_person):
        generator = np.random.default_rng([settings.seed, number, video])
        motion = random_motion(
            generator, num_frames=settings.frames_per_video, frames_per_second=FRAMES_PER_SECOND
        )
        path = f"mp4/{subject}/video{video:02d}/00001.mp4"
        _write_video(folder / path, draw_video(face, motion, generator, side_px=settings.side_px))
        rows += _label_rows(path, subject, motion)
    return rows


def _write_video(path: Path, frames: Iterable[DrawnFrame]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    points: list[NDArray[np.floating[Any]]] = []

    def images() -> Iterator[NDArray[np.uint8]]:
        for frame in frames:
            points.append(frame.points_5x2_px)
            yield frame.image_HWC

    write_video(path, images(), frames_per_second=FRAMES_PER_SECOND)
    columns = [f"{name}_{axis}" for name in POINT_NAMES for axis in "xy"]
    rows = [[str(t), "0", *(f"{value:.2f}" for value in points[t].ravel())] for t in range(len(points))]
    _write_csv(path.with_suffix(".landmarks.csv"), ["source_frame_index", "face", *columns], rows)


def _label_rows(path: str, subject: str, motion: Motion) -> list[list[str]]:
    intensity_TA = 5 * motion.intensity_TA.astype(np.float64)
    return [
        [path, str(t), f"{t / FRAMES_PER_SECOND:.2f}", subject, *(f"{value:.4g}" for value in intensity_A)]
        for t, intensity_A in enumerate(intensity_TA)
    ]


def _write_csv(path: Path, header: list[str], rows: list[list[str]]) -> None:
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(rows)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text.getvalue(), encoding="utf-8")
