from __future__ import annotations

import numpy as np
import pytest

from mien_render.clip import Clip, VideoSettings
from mien_render.motion import MotionSettings
from mien_render.nuisance import NuisanceSettings
from mien_render.sensor import Sensor, develop, draw_background
from mien_render.shading import HeadPicture

QUIET = NuisanceSettings(
    defocus_px=(0, 0), noise=(0, 0), exposure_stops=0, backgrounds=("plain",), shutter=(1.0, 1.0)
)


def _sensor(settings: NuisanceSettings) -> Sensor:
    video = VideoSettings(size_px=64, seconds=1.0)
    clip = Clip.draw((1, 2), motion=MotionSettings(), nuisance=settings, video=video)
    return Sensor(clip.nuisance, size_px=64)


def _head(coverage: float = 1.0) -> HeadPicture:
    colour = np.zeros((64, 64, 3), dtype=np.float32)
    colour[28:36, 28:36] = 0.5
    return HeadPicture(colour, np.full((64, 64), coverage, dtype=np.float32), np.zeros((5, 2), np.float32))


def test_tones_rise_with_light_and_end_at_white():
    tones = develop(np.linspace(0, 5, 100, dtype=np.float32)[:, None] * np.ones(3, dtype=np.float32))
    assert tones[0].max() == 0 and tones.max() == 255
    assert (np.diff(tones[:, 0]) >= 0).all()


def test_background_is_seen_where_the_head_is_not():
    behind = _sensor(QUIET).expose(_head(coverage=0.0), 0, motion_px=(0, 0))
    hidden = _sensor(QUIET).expose(_head(coverage=1.0), 0, motion_px=(0, 0))
    assert behind[0, 0].max() > 0
    assert hidden[0, 0].max() == 0


def test_motion_blurs_along_its_direction_only():
    still = _sensor(QUIET).expose(_head(), 0, motion_px=(0, 0)).astype(int)
    along = _sensor(QUIET).expose(_head(), 0, motion_px=(8, 0)).astype(int)
    assert along[32, 24:28].min() > still[32, 24:28].max() == 0
    assert along[22:26, 32].max() == 0


def test_noise_changes_from_frame_to_frame():
    sensor = _sensor(NuisanceSettings(noise=(0.03, 0.03)))
    first, second = (sensor.expose(_head(), frame, motion_px=(0, 0)) for frame in (0, 1))
    assert (first != second).mean() > 0.2


@pytest.mark.parametrize("kind", ["plain", "gradient", "noise", "shapes", "stripes"])
def test_every_background_is_light_of_finite_strength(kind: str):
    picture = draw_background(np.random.default_rng(1), kind, size_px=40)
    assert picture.shape == (40, 40, 3) and picture.dtype == np.float32
    assert np.isfinite(picture).all() and picture.min() >= -0.5


def test_unknown_background_is_refused():
    with pytest.raises(ValueError, match="fog"):
        draw_background(np.random.default_rng(1), "fog", size_px=8)
