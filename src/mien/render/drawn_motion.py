"""What a drawn face does over time: action units that rise, hold and fall; a head and a light that wobble."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mien.render.drawn_person import DRAWN_ACTION_UNITS

Floats = NDArray[np.floating[Any]]

EXPRESSIONS: tuple[tuple[int, ...], ...] = (
    (6, 12, 25),
    (6, 12),
    (12,),
    (1, 2, 5, 25, 26),
    (1, 2),
    (2,),
    (1,),
    (4, 7),
    (4,),
    (1, 4, 15),
    (15,),
    (4, 9, 7),
    (9,),
    (5,),
    (6,),
    (7,),
    (25,),
    (25, 26),
    (43,),
    (43,),
)
"""Action units that begin together: each alone, and the company FACS knows them in (smile, surprise, ...)."""

LEAST_PEAK, GREATEST_PEAK = 0.6, 1.0


@dataclass(frozen=True)
class Motion:
    """One video: T frames.

    intensity_TA: 0 (absent) to 1 (FACS level E), columns as DRAWN_ACTION_UNITS.
    yaw_T, pitch_T, roll_T: degrees. scale_T: 1 is as drawn.
    shift_T2: of the head, in half sides of the picture.
    light_T3: direction towards the light, x right, y down, z towards the viewer. exposure_T: 1 is neutral.
    gaze_T2: of the pupils, -1 to 1.
    """

    intensity_TA: Floats
    yaw_T: Floats
    pitch_T: Floats
    roll_T: Floats
    shift_T2: Floats
    scale_T: Floats
    light_T3: Floats
    exposure_T: Floats
    gaze_T2: Floats

    @property
    def num_frames(self) -> int:
        """T."""
        return int(self.intensity_TA.shape[0])


def random_motion(
    generator: np.random.Generator, *, num_frames: int, frames_per_second: float = 25.0
) -> Motion:
    """A video's worth of events; the same generator state gives the same numbers.

    Pose, light and exposure differ much from video to video. Within one they only wobble, at 1.5 to 4 Hz:
    slower drift would tell the order of a clip's frames without any action unit.
    """
    seconds_T = np.arange(num_frames) / frames_per_second

    def wobble(offset: float, sway: float, *, columns: int = 1) -> Floats:
        return _wobble(generator, seconds_T, offset=offset, sway=sway, columns=columns)

    light_3 = np.concatenate([generator.uniform((-1.0, -1.0), (1.0, 0.4)), [1.0]])
    return Motion(
        intensity_TA=random_intensities(generator, seconds_T),
        yaw_T=wobble(18.0, 1.0)[:, 0],
        pitch_T=wobble(8.0, 0.7)[:, 0],
        roll_T=wobble(8.0, 0.8)[:, 0],
        shift_T2=wobble(0.07, 0.006, columns=2),
        scale_T=1 + wobble(0.06, 0.004)[:, 0],
        light_T3=light_3 + wobble(0.0, 0.03, columns=3),
        exposure_T=np.exp(wobble(0.2, 0.015)[:, 0]),
        gaze_T2=np.clip(wobble(0.25, 0.06, columns=2), -1, 1),
    )


def random_intensities(generator: np.random.Generator, seconds_T: NDArray[np.float64]) -> Floats:
    """(T, A) intensities 0-1: overlapping expressions, about three in two seconds: little is still."""
    intensity_TA = np.zeros((len(seconds_T), len(DRAWN_ACTION_UNITS)), dtype=np.float32)
    start = generator.uniform(-1.2, 0.0)
    while start < seconds_T[-1]:
        expression = EXPRESSIONS[generator.integers(len(EXPRESSIONS))]
        onset, apex, offset = generator.uniform((0.4, 0.05, 0.4), (0.8, 0.3, 0.8))
        shape_T = envelope(seconds_T - start, onset=onset, apex=apex, offset=offset)
        for number in expression:
            column = DRAWN_ACTION_UNITS.index(number)
            peak = generator.uniform(LEAST_PEAK, GREATEST_PEAK)
            intensity_TA[:, column] = np.maximum(intensity_TA[:, column], np.float32(peak) * shape_T)
        start += (onset + apex + offset) * generator.uniform(0.35, 0.8)
    return np.round(intensity_TA, 4)


def envelope(seconds_T: NDArray[np.float64], *, onset: float, apex: float, offset: float) -> Floats:
    """0 before 0, a smooth rise over `onset` seconds, 1 for `apex`, a smooth fall over `offset`, then 0."""
    rise_T = np.clip(seconds_T / onset, 0, 1)
    fall_T = np.clip((onset + apex + offset - seconds_T) / offset, 0, 1)
    level_T = np.minimum(rise_T, fall_T)
    smooth_T: Floats = (level_T * level_T * (3 - 2 * level_T)).astype(np.float32)
    return smooth_T


def _wobble(
    generator: np.random.Generator,
    seconds_T: NDArray[np.float64],
    *,
    offset: float,
    sway: float,
    columns: int,
) -> Floats:
    """(T, columns): a constant within +-`offset` plus three waves of standard deviation `sway`."""
    constant = generator.uniform(-offset, offset, columns)
    hertz_3C = generator.uniform(1.5, 4.0, (3, columns))
    phase_3C = generator.uniform(0, 2 * np.pi, (3, columns))
    waves_TC = np.sin(2 * np.pi * hertz_3C * seconds_T[:, None, None] + phase_3C).sum(axis=1)
    moved_TC: Floats = (constant + sway * waves_TC / np.sqrt(1.5)).astype(np.float32)
    return moved_TC
