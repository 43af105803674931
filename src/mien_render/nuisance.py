"""Everything that changes a picture and is no action unit: pose, gaze, light, camera, background, sensor.

All of it is drawn from a generator of its own, so that it is independent of what the face does.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mien_render.arrays import Floats
from mien_render.light import Light
from mien_render.shading import Camera

Range = tuple[float, float]


@dataclass(frozen=True)
class NuisanceSettings:
    """Ranges; angles in degrees, lengths in cm, light relative to a well exposed face."""

    yaw_degrees: float = 22.0  # standing pose is uniform within +- this, drift comes on top
    pitch_degrees: float = 9.0
    roll_degrees: float = 7.0
    drift_degrees: float = 5.0
    nods_a_minute: float = 5.0
    gaze_degrees: float = 14.0
    fixation_seconds: Range = (0.3, 2.5)
    key_azimuth_degrees: Range = (-70.0, 70.0)
    key_elevation_degrees: Range = (-5.0, 60.0)
    key_strength: Range = (0.9, 2.6)
    fill_strength: Range = (0.05, 0.6)
    sky_strength: Range = (0.2, 0.75)
    warmth: Range = (-0.35, 0.35)  # negative: bluish, positive: yellowish
    light_drift: float = 0.15
    exposure_stops: float = 0.45
    half_height_cm: Range = (13.0, 20.0)  # of the picture at the head's distance
    off_centre: float = 0.12  # of the picture's half height
    distance_cm: Range = (70.0, 180.0)
    backgrounds: tuple[str, ...] = ("noise", "gradient", "shapes", "plain")
    defocus_px: Range = (0.0, 0.8)
    shutter: Range = (0.0, 0.7)  # share of a frame that the shutter is open
    noise: Range = (0.0, 0.03)  # standard deviation, of the full range
    quality: tuple[int, int] = (18, 32)  # the encoder's constant rate factor; larger is worse


@dataclass(frozen=True)
class Nuisance:
    """One clip's nuisance: T frames."""

    pose_T3: Floats  # yaw, pitch, roll in degrees
    gaze_T2: Floats  # yaw, pitch in degrees, relative to the head
    key_direction_T3: Floats
    key_strength_T: Floats
    fill_direction_3: Floats
    colours_43: Floats  # key, fill, sky, ground
    exposure_T: Floats
    centre_T2_cm: Floats
    half_height_T_cm: Floats
    distance_cm: float
    background: str
    defocus_px: float
    shutter: float
    noise: float
    quality: int
    picture_seed: int

    def light(self, frame: int) -> Light:
        """The lights of one frame."""
        key, fill, sky, ground = self.colours_43
        return Light(
            key_direction_3=self.key_direction_T3[frame],
            key_colour_3=key * self.key_strength_T[frame],
            fill_direction_3=self.fill_direction_3,
            fill_colour_3=fill,
            sky_colour_3=sky,
            ground_colour_3=ground,
        )

    def camera(self, frame: int) -> Camera:
        """The camera of one frame."""
        x, y = (float(value) for value in self.centre_T2_cm[frame])
        return Camera(
            distance_cm=self.distance_cm,
            half_height_cm=float(self.half_height_T_cm[frame]),
            centre_xy_cm=(x, y),
        )


def draw_nuisance(
    random: np.random.Generator, settings: NuisanceSettings, *, num_frames: int, frames_per_second: float
) -> Nuisance:
    """The nuisance of one clip, rounded so that it is the same everywhere."""
    seconds_T = np.arange(num_frames) / frames_per_second
    half_height = random.uniform(*settings.half_height_cm)
    spread = settings.off_centre * half_height
    return Nuisance(
        pose_T3=_pose(random, settings, seconds_T),
        gaze_T2=_gaze(random, settings, seconds_T),
        key_direction_T3=_key_directions(random, settings, seconds_T),
        key_strength_T=_rounded(
            random.uniform(*settings.key_strength) * (1 + settings.light_drift * _drift(random, seconds_T))
        ),
        fill_direction_3=_direction(random.uniform(-100, 100), random.uniform(-20, 40)),
        colours_43=_colours(random, settings),
        exposure_T=_rounded(
            2 ** (settings.exposure_stops * (random.normal() + 0.15 * _drift(random, seconds_T)))
        ),
        centre_T2_cm=_rounded(
            random.uniform(-spread, spread, 2)
            + 0.25 * np.stack([_drift(random, seconds_T) for _ in range(2)], axis=1)
        ),
        half_height_T_cm=_rounded(half_height * (1 + 0.03 * _drift(random, seconds_T))),
        distance_cm=round(float(random.uniform(*settings.distance_cm)), 2),
        background=str(random.choice(settings.backgrounds)),
        defocus_px=round(float(random.uniform(*settings.defocus_px)), 3),
        shutter=round(float(random.uniform(*settings.shutter)), 3),
        noise=round(float(random.uniform(*settings.noise)), 4),
        quality=int(random.integers(settings.quality[0], settings.quality[1] + 1)),
        picture_seed=int(random.integers(2**31)),
    )


def _pose(random: np.random.Generator, settings: NuisanceSettings, seconds_T: NDArray[np.floating]) -> Floats:
    reach = np.array([settings.yaw_degrees, settings.pitch_degrees, settings.roll_degrees])
    pose_T3 = random.uniform(-reach, reach) + np.zeros((len(seconds_T), 1))
    for axis, share in enumerate((1.0, 0.6, 0.5)):
        pose_T3[:, axis] += settings.drift_degrees * share * _drift(random, seconds_T)
    for _ in range(random.poisson(settings.nods_a_minute * seconds_T[-1] / 60)):
        start, times = random.uniform(0, seconds_T[-1]), random.integers(1, 4)
        phase = np.clip((seconds_T - start) / 0.45, 0, times)
        pose_T3[:, random.choice(2, p=(0.4, 0.6))] += random.uniform(2, 7) * np.sin(np.pi * phase) ** 2
    return _rounded(pose_T3)


def _gaze(random: np.random.Generator, settings: NuisanceSettings, seconds_T: NDArray[np.floating]) -> Floats:
    """Fixations with jumps between them that last two or three frames."""
    times, targets = [-1.0], [random.normal(0, 0.5, 2)]
    while times[-1] < seconds_T[-1]:
        hold = random.uniform(*settings.fixation_seconds)
        jump = random.normal(0, 0.5, 2) if random.uniform() < 0.6 else random.normal(0, 0.08, 2)
        times.extend([times[-1] + hold, times[-1] + hold + 0.06])
        targets.extend([targets[-1], jump])
    degrees = settings.gaze_degrees * np.clip(targets, -1.2, 1.2) * np.array([1.0, 0.6])
    return _rounded(np.stack([np.interp(seconds_T, times, degrees[:, axis]) for axis in range(2)], axis=1))


def _key_directions(
    random: np.random.Generator, settings: NuisanceSettings, seconds_T: NDArray[np.floating]
) -> Floats:
    sideways, up = 60 * settings.light_drift, 20 * settings.light_drift
    azimuth = random.uniform(*settings.key_azimuth_degrees) + sideways * _drift(random, seconds_T)
    elevation = random.uniform(*settings.key_elevation_degrees) + up * _drift(random, seconds_T)
    return np.stack([_direction(a, e) for a, e in zip(azimuth, elevation, strict=True)])


def _direction(azimuth_degrees: float, elevation_degrees: float) -> Floats:
    azimuth, elevation = np.radians([azimuth_degrees, elevation_degrees])
    flat = np.cos(elevation)
    return _rounded(np.array([np.sin(azimuth) * flat, np.sin(elevation), np.cos(azimuth) * flat]))


def _colours(random: np.random.Generator, settings: NuisanceSettings) -> Floats:
    key = _tint(random, settings)
    fill = _tint(random, settings) * random.uniform(*settings.fill_strength)
    sky = _tint(random, settings) * random.uniform(*settings.sky_strength)
    return _rounded(np.stack([key, fill, sky, sky * random.uniform(0.3, 0.8) * np.array([1.05, 1.0, 0.92])]))


def _tint(random: np.random.Generator, settings: NuisanceSettings) -> NDArray[np.floating]:
    warmth, green = random.uniform(*settings.warmth), random.normal(0, 0.03)
    return np.array([1 + 0.5 * warmth, 1 + green, 1 - 0.6 * warmth])


def _drift(random: np.random.Generator, seconds_T: NDArray[np.floating]) -> NDArray[np.floating]:
    """A slow wander of about unit size: three sines with periods of 1.5 to 9 s."""
    periods, phases = random.uniform(1.5, 9, 3), random.uniform(0, 2 * np.pi, 3)
    waves: NDArray[np.floating] = np.sin(2 * np.pi * seconds_T[:, None] / periods + phases).sum(axis=1)
    wander: NDArray[np.floating] = waves / np.sqrt(1.5)
    return wander


def _rounded(values: NDArray[np.floating]) -> Floats:
    return np.round(values, 4).astype(np.float32)
