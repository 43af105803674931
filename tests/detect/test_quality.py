"""Which faces are usable, by hand and in the tracker's own measures."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from mien.datasets.rendered import shipped_clips
from mien.detect.persons import PersonLinker
from mien.detect.quality import REASONS, QualitySettings, why_not_usable
from mien.detect.table import PLACE
from mien.faces.align import brightness
from mien.faces.mediapipe_finder import MediaPipeFinder
from mien.faces.track import faces_in_picture
from mien.faces.tracked import TrackSettings
from mien.video import read_frames
from tests.detect.planted_story import tracked
from tests.faces.planted_people import Planted

GOOD = {
    **{"box_right": 100, "box_bottom": 100, "sharpness": 50, "brightness": 120, "inside": 1},
    "joined": np.nan,
}
BAD = {
    **{"joined": {"joined": 0.1}, "cut_off": {"inside": 0.9}, "small": {"box_right": 40, "box_bottom": 47}},
    **{"turned": {"yaw": -46}, "dark": {"brightness": 39}, "bright": {"brightness": 221}},
    "blurred": {"sharpness": 2.5},
}


def reason(confidence=1.0, settings=None, **values):
    place = np.array([[{**GOOD, **values}.get(name, 0) for name in PLACE]], np.float32)
    (found,) = why_not_usable(place, np.array([confidence]), settings or QualitySettings())
    return found


def test_each_limit_has_its_reason_and_can_be_moved():
    assert reason() == ""
    assert reason(joined=0.3) == ""
    assert {name: reason(**values) for name, values in BAD.items()} == {name: name for name in BAD}
    assert reason(confidence=0.8) == "covered"
    assert reason(pitch=36) == "turned"
    assert {*BAD, "covered"} == set(REASONS)
    assert reason(yaw=-46, settings=QualitySettings(max_yaw_degrees=50)) == ""


def test_a_row_has_the_first_reason_that_applies():
    assert reason(brightness=10, sharpness=1, yaw=60) == "turned"


def test_brightness_is_the_mean_of_the_middle():
    grey = np.full((8, 8), 255, np.uint8)
    grey[2:6, 2:6] = np.arange(16).reshape(4, 4)
    assert brightness(grey) == pytest.approx(7.5)


def test_measures_follow_the_picture():
    """A shipped clip's first frame as it is, darker, blurred, and with its left part cut away."""
    frame = next(read_frames(next((shipped_clips() / "main").rglob("*.mp4"))))
    picture, finder = frame.image_HWC, MediaPipeFinder()

    def face_in(image_HWC):
        (face,) = faces_in_picture(image_HWC, finder=finder, settings=TrackSettings()).faces
        return face

    plain = face_in(picture)
    assert face_in((picture * 0.5).astype(np.uint8)).brightness == pytest.approx(
        plain.brightness / 2, rel=0.1
    )
    assert face_in(cv2.GaussianBlur(picture, (0, 0), 2)).sharpness < plain.sharpness
    left, _, right, _ = plain.box_xyxy_px
    cut = face_in(np.ascontiguousarray(picture[:, int(left + 0.15 * (right - left)) :]))
    assert plain.share_inside == 1.0
    assert cut.share_inside == pytest.approx(0.85, abs=0.05)


def test_a_face_is_joined_from_where_it_was_found_again():
    story = [[] if 20 <= at < 30 else [Planted(1, 100)] for at in range(60)]
    faces = [look.faces for look in PersonLinker().link(tracked(story))]
    assert {face.track_number for here in faces for face in here} == {0}
    assert all(np.isnan(face.joined_seconds) for here in faces[:20] for face in here)
    again = [at for at in range(30, 60) if faces[at]]
    (first,) = faces[again[0]]
    assert first.joined_seconds == 0.0
    assert faces[again[5]][0].joined_seconds == pytest.approx(0.2)
