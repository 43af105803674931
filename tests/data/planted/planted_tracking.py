"""A tracking that needs no models: a picture's left half is a face when it is bright, its right half too.

Importable by name, so that it travels to worker processes.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from mien.data.prepare import prepare
from mien.data.sources import Shard, list_sources
from mien.data.store_writer import PrepareSettings
from mien.faces.contract import CropContract
from mien.faces.tracked import FrameFaces, TrackedFace
from mien.video import LostFrame, on_grid, read_all_frames

CROP_SIZE_PX = 64
POINTS = ((0.3, 0.4), (0.7, 0.4), (0.5, 0.6), (0.35, 0.8), (0.65, 0.8))


@dataclass(frozen=True)
class PlantedTracking:
    """Two tracks at most: 0 on the left, 1 on the right."""

    margin: float = 0.2  # of the contract; crops do not depend on it
    dies_at: str = ""  # a file name: the process that reads it is killed half-way
    dies_once: str = ""  # a path: the first process to find nothing there makes it and is killed
    fails_at: str = ""  # a file name: reading it raises what nobody expects
    seconds_a_frame: float = 0.0

    @property
    def contract(self) -> CropContract:
        return CropContract("planted", "", "planted", "", POINTS, self.margin, CROP_SIZE_PX)

    def __call__(self, path: Path) -> Iterator[FrameFaces]:
        for slots, frame in on_grid(read_all_frames(path)):
            time.sleep(self.seconds_a_frame)
            if path.name == self.dies_at and frame.source_frame_index == 10:
                os.kill(os.getpid(), signal.SIGKILL)
            if self.dies_once and not Path(self.dies_once).exists():
                Path(self.dies_once).touch()
                os.kill(os.getpid(), signal.SIGKILL)
            if path.name == self.fails_at:
                raise ArithmeticError("planted")
            yield _looked_at(slots, frame)


def _looked_at(slots, frame) -> FrameFaces:
    if isinstance(frame, LostFrame):
        return FrameFaces(frame.source_frame_index, frame.seconds, (), "unreadable")
    if not slots:
        return FrameFaces(frame.source_frame_index, frame.seconds, (), "between_grid_times")
    middle = frame.image_HWC.shape[1] // 2
    halves = (frame.image_HWC[:, :middle], frame.image_HWC[:, middle:])
    faces = tuple(_face(number, half) for number, half in enumerate(halves) if half.mean() > 60)
    return FrameFaces(frame.source_frame_index, frame.seconds, faces, "" if faces else "no_face", slots=slots)


def _face(number, half_HWC) -> TrackedFace:
    side = 40.0 - 10 * number  # the face on the right is the smaller one
    return TrackedFace(
        track_number=number,
        box_xyxy_px=(0.0, 0.0, side, side),
        points_5x2_px=np.array(POINTS) * side,
        score=0.9,
        yaw_degrees=float(half_HWC.mean() - 128),
        pitch_degrees=0.0,
        roll_degrees=0.0,
        sharpness=1.0,
        crop_HWC=cv2.resize(half_HWC, (CROP_SIZE_PX, CROP_SIZE_PX)),
        mesh_468x3=np.zeros((468, 3), np.float32),
    )


def prepare_planted(
    folder, store, *, workers=0, shard="1/1", strict=False, settings=None, cluster="", **tracking
):
    """Prepare every video in `folder` (or in a list of sources) into `store`; the accounts."""
    given = folder if isinstance(folder, list) else [folder]
    part = Shard.parse(shard)
    return prepare(
        part.of(list_sources([Path(path) for path in given]).sources),
        Path(store),
        PlantedTracking(**tracking),
        settings=settings or PrepareSettings(),
        workers=workers,
        shard=part,
        strict=strict,
        cluster=cluster,
    )


def sum_of_frame(store, position):
    return int(store.read_frames(0, [position]).sum())
