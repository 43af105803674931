"""How the faces of a video are found: by the models, or by landmarks that lie beside the video."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import cached_property
from pathlib import Path

from mien.faces.align import crop_contract
from mien.faces.contract import CropContract
from mien.faces.landmarks_beside import FaceLandmarksBeside, LandmarksFile
from mien.faces.mediapipe_finder import MediaPipeFinder
from mien.faces.models import find_models
from mien.faces.track import (
    FrameFaces,
    SlotFaces,
    TrackedFace,
    TrackSettings,
    faces_in_picture,
    track_every_frame,
    track_faces,
    track_frames,
)
from mien.video import Frame, read_image

_DEFAULTS = TrackSettings()


class FaceTracking:
    """Settings and finder together. Pickled it is its arguments; where it arrives, models load at first use.

    `models` is the folder of their weights, or None for the installed ones; MissingModelsError when it is
    used and they are not there.
    """

    def __init__(
        self, settings: TrackSettings = _DEFAULTS, *, landmarks: str = "detect", models: Path | None = None
    ) -> None:
        if landmarks not in ("detect", "beside"):
            raise ValueError(f"landmarks = {landmarks!r}: expected detect or beside")
        self.settings = settings
        self.landmarks = landmarks
        self.models = models

    @property
    def contract(self) -> CropContract:
        """How the crops are made."""
        return crop_contract(self._finder)

    def __call__(self, path: Path, /) -> Iterator[SlotFaces]:
        """What became of each decoded frame, as a stream."""
        return track_faces(path, finder=self._finder, settings=self.settings)

    def every_frame(self, path: Path) -> Iterator[FrameFaces]:
        """The same with every frame looked at, whatever the frame rate."""
        return track_every_frame(path, finder=self._finder, settings=self.settings)

    def frames(self, frames: Iterable[Frame]) -> Iterator[FrameFaces]:
        """The same for frames that come from elsewhere; ValueError where landmarks lie beside videos."""
        if isinstance(self._finder, FaceLandmarksBeside):
            raise ValueError("landmarks beside the video were asked for; only files have them")
        return track_frames(frames, finder=self._finder, settings=self.settings)

    def picture(self, path: Path) -> tuple[tuple[TrackedFace, ...], str]:
        """The faces of a picture and the reason if none. OSError, ImageError, LandmarksError."""
        image_HWC = read_image(path)
        if isinstance(self._finder, FaceLandmarksBeside):
            return LandmarksFile(path).look(Frame(0.0, 0, lambda: image_HWC))
        return faces_in_picture(image_HWC, finder=self._finder, settings=self.settings)

    def __reduce__(self) -> tuple[object, ...]:
        return _face_tracking, (self.settings, self.landmarks, self.models)

    @cached_property
    def _finder(self) -> MediaPipeFinder | FaceLandmarksBeside:
        if self.landmarks == "beside":
            return FaceLandmarksBeside()
        return MediaPipeFinder(find_models(self.models))


def _face_tracking(settings: TrackSettings, landmarks: str, models: Path | None) -> FaceTracking:
    return FaceTracking(settings, landmarks=landmarks, models=models)
