"""From a video to tracked face crops, one decoded frame at a time; from a picture to its faces."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Iterator
from functools import cached_property, partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mien.faces.align import crop_contract
from mien.faces.contract import CropContract
from mien.faces.finder import FaceFinder
from mien.faces.follow import ANY_RATE, FaceFollower
from mien.faces.mediapipe_finder import MediaPipeFinder
from mien.faces.tracked import (
    BETWEEN_GRID_TIMES,
    FrameFaces,
    TrackSettings,
)
from mien.video import Frame, LostFrame, on_grid, read_all_frames, read_image

_DEFAULTS = TrackSettings()


class FaceTracking:
    """Settings and finder together. Pickled as its arguments; the models load at first use.

    `models` is the folder of the finder's weights, None for the installed ones. Whatever needs the finder
    raises MissingModelsError without them.
    """

    def __init__(self, settings: TrackSettings = _DEFAULTS, *, models: Path | None = None) -> None:
        self.settings = settings
        self.models = models

    @cached_property
    def finder(self) -> FaceFinder:
        """Detector and mesh."""
        return MediaPipeFinder(self.models)

    @property
    def contract(self) -> CropContract:
        """How the crops are made."""
        return crop_contract(self.finder)

    def __call__(self, path: Path, /) -> Iterator[FrameFaces]:
        """`track_faces` of a file."""
        return track_faces(path, finder=self.finder, settings=self.settings)

    def every_frame(self, path: Path) -> Iterator[FrameFaces]:
        """`track_frames` of a file."""
        return self.frames(read_all_frames(path))

    def frames(self, frames: Iterable[Frame | LostFrame]) -> Iterator[FrameFaces]:
        """`track_frames`."""
        return track_frames(frames, finder=self.finder, settings=self.settings)

    def look(self, _path: Path, /) -> Callable[[Frame], FrameFaces]:
        """Finds the faces in frames of one file that the caller chooses, given in order."""
        return FaceFollower(self.finder, self.settings).look

    def picture(self, path: Path, *, min_face_px: float | None = None) -> FrameFaces:
        """`faces_in_picture` of a file, with another limit if one is given. OSError, ImageError."""
        settings = self.settings
        if min_face_px is not None:
            settings = dataclasses.replace(settings, min_face_px=min_face_px)
        return faces_in_picture(read_image(path), finder=self.finder, settings=settings)

    def __reduce__(self) -> tuple[object, ...]:
        return partial(FaceTracking, models=self.models), (self.settings,)


def track_faces(path: Path, *, finder: FaceFinder, settings: TrackSettings) -> Iterator[FrameFaces]:
    """One FrameFaces for every frame, in order; memory does not grow with the video.

    A frame that cannot be decoded is `unreadable`. Frames between the times of the 25 fps grid are neither
    converted nor looked at. OSError and VideoError as from `read_frames`; VideoError for a damaged file comes
    after its last frame.
    """
    follower = FaceFollower(finder, settings)
    for slots, frame in on_grid(read_all_frames(path)):
        if slots or isinstance(frame, LostFrame):
            yield follower.look(frame, slots)
        else:
            yield FrameFaces(frame.source_frame_index, frame.seconds, (), BETWEEN_GRID_TIMES)


def track_frames(
    frames: Iterable[Frame | LostFrame], *, finder: FaceFinder, settings: TrackSettings
) -> Iterator[FrameFaces]:
    """One FrameFaces for every frame, each of them looked at: of a file, a camera or a program."""
    follower = FaceFollower(finder, settings, pace=ANY_RATE)
    for frame in frames:
        yield follower.look(frame)


def faces_in_picture(
    image_HWC: NDArray[np.uint8], *, finder: FaceFinder, settings: TrackSettings
) -> FrameFaces:
    """The faces of one uint8 RGB picture, cropped as in a video."""
    return FaceFollower(finder, settings).look(Frame(0.0, 0, lambda: image_HWC))
