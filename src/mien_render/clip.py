"""One clip of one person: its labels, and its pictures frame by frame."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from mien.facs import ACTION_UNITS
from mien_render.actions import UNIT_NUMBERS, coded_intensity
from mien_render.arrays import Floats
from mien_render.body import Body, Moment
from mien_render.motion import MotionSettings, draw_motion
from mien_render.nuisance import Nuisance, NuisanceSettings, draw_nuisance
from mien_render.sensor import Sensor
from mien_render.shading import HeadPicture, draw_head

POINT_NAMES = ("left_eye", "right_eye", "nose_tip", "left_mouth", "right_mouth")
"""As seen in the picture; the eyes are midway between the lid corners."""


@dataclass(frozen=True)
class VideoSettings:
    """Size and time of every clip."""

    size_px: int = 224
    seconds: float = 6.0
    frames_per_second: float = 25.0
    supersampling: float = 1.5  # the head is drawn so many times finer, then averaged
    atlas_px: int = 768  # side of the texture
    key_frames_only: bool = False  # no frame is coded as a difference from another

    def __post_init__(self) -> None:
        if self.size_px < 32 or self.seconds <= 0 or not 1 <= self.supersampling <= 4:
            raise ValueError("video: size_px at least 32, seconds above 0, supersampling 1 to 4")

    @property
    def num_frames(self) -> int:
        """Frames of a clip."""
        return round(self.seconds * self.frames_per_second)


@dataclass(frozen=True)
class Clip:
    """What happens in one clip of T frames: driving intensities and nuisance, drawn independently."""

    driving_TA2: Floats
    nuisance: Nuisance

    @classmethod
    def draw(
        cls,
        seed: tuple[int, ...],
        *,
        motion: MotionSettings,
        nuisance: NuisanceSettings,
        video: VideoSettings,
    ) -> Clip:
        """The clip of that seed; motion and nuisance have generators of their own."""
        num_frames, rate = video.num_frames, video.frames_per_second
        random_motion, random_nuisance = (np.random.default_rng([*seed, stream]) for stream in (1, 2))
        return cls(
            draw_motion(random_motion, motion, num_frames=num_frames, frames_per_second=rate),
            draw_nuisance(random_nuisance, nuisance, num_frames=num_frames, frames_per_second=rate),
        )

    def moment(self, frame: int) -> Moment:
        """What the face does in that frame."""
        yaw, pitch, roll = (float(value) for value in self.nuisance.pose_T3[frame])
        gaze_yaw, gaze_pitch = (float(value) for value in self.nuisance.gaze_T2[frame])
        return Moment(self.driving_TA2[frame], yaw, pitch, roll, gaze_yaw, gaze_pitch)


def draw_frames(body: Body, clip: Clip, video: VideoSettings) -> Iterator[tuple[NDArray[np.uint8], Floats]]:
    """The pictures (S, S, 3), RGB, of a clip, each with its five points (5, 2) in px."""
    sensor = Sensor(clip.nuisance, size_px=video.size_px)
    before: HeadPicture | None = None
    for frame in range(video.num_frames):
        head = draw_head(
            body,
            clip.moment(frame),
            clip.nuisance.light(frame),
            clip.nuisance.camera(frame),
            size_px=video.size_px,
            supersampling=video.supersampling,
        )
        moved = np.zeros(2) if before is None else (head.points_5x2_px - before.points_5x2_px).mean(axis=0)
        picture = sensor.expose(head, frame, motion_px=(float(moved[0]), float(moved[1])))
        yield picture, np.round(head.points_5x2_px, 2)
        before = head


def label_table(clip: Clip, points_T5x2: Floats, *, frames_per_second: float, occurs_at: float) -> pa.Table:
    """One row a frame: intensities left and right, occurrence, pose, gaze, light, five points in px.

    Occurrence is 1 where the stronger side reaches `occurs_at`. Angles have a face finder's signs:
    yaw to the right of the picture, pitch up, roll clockwise as seen; gaze is relative to the head.
    """
    coded_TA2 = coded_intensity(clip.driving_TA2)
    nuisance, num_frames = clip.nuisance, len(coded_TA2)
    columns: dict[str, NDArray[np.generic]] = {
        "frame": np.arange(num_frames, dtype=np.int32),
        "seconds": np.round(np.arange(num_frames) / frames_per_second, 6),
    }
    for at, unit in enumerate(UNIT_NUMBERS):
        name = ACTION_UNITS[unit].column
        columns[f"{name}_left"], columns[f"{name}_right"] = coded_TA2[:, at, 0], coded_TA2[:, at, 1]
        columns[name] = (coded_TA2[:, at].max(axis=1) >= occurs_at).astype(np.int8)
    columns["yaw_degrees"], columns["roll_degrees"] = nuisance.pose_T3[:, 0], nuisance.pose_T3[:, 2]
    columns["pitch_degrees"] = -nuisance.pose_T3[:, 1]
    columns["gaze_yaw_degrees"] = nuisance.gaze_T2[:, 0]
    columns["gaze_pitch_degrees"] = -nuisance.gaze_T2[:, 1]
    for at, axis in enumerate("xyz"):
        columns[f"light_{axis}"] = nuisance.key_direction_T3[:, at]
    columns["light_strength"] = nuisance.key_strength_T
    columns["exposure"] = nuisance.exposure_T
    columns["half_height_cm"] = nuisance.half_height_T_cm
    for at, point in enumerate(POINT_NAMES):
        columns[f"{point}_x"], columns[f"{point}_y"] = points_T5x2[:, at, 0], points_T5x2[:, at, 1]
    return pa.table(columns)
