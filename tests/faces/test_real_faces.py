"""Real clips, where there are some: MIEN_REAL_FACES names a folder of talking heads, one person a clip."""

from __future__ import annotations

import itertools
import os
from pathlib import Path

import cv2
import numpy as np
import pytest

from mien.video import on_grid, read_frames, write_video

FOLDER = os.environ.get("MIEN_REAL_FACES")
pytestmark = [
    pytest.mark.skipif(not FOLDER, reason="MIEN_REAL_FACES names no folder of clips"),
    pytest.mark.slow,
]


@pytest.fixture(scope="module")
def finder():
    from mien.faces.mediapipe_finder import MediaPipeFinder

    return MediaPipeFinder()


@pytest.fixture(scope="module")
def clips():
    paths = sorted(path for path in Path(FOLDER).rglob("*") if path.suffix in {".mp4", ".mpg"})
    by_person = {path.parent.parent: path for path in paths}
    return list(by_person.values())[:: max(1, len(by_person) // 6)][:6]


def heads(clip, count):
    """The first frames of a clip, 240 px."""
    looked_at = (frame.image_HWC for slots, frame in on_grid(read_frames(clip)) if slots)
    return [
        cv2.resize(image[:, : image.shape[0]], (240, 240), interpolation=cv2.INTER_AREA)
        for image in itertools.islice(looked_at, count)
    ]


def tracks_of(path, finder):
    from mien.faces.track import track_faces
    from mien.faces.tracked import TrackSettings

    looks = list(track_faces(path, finder=finder, settings=TrackSettings()))
    tracks = {}
    for look in looks:
        for face in look.faces:
            tracks.setdefault(face.track_number, []).append((look.slots[0], face))
    return looks, tracks


def test_nearly_every_frame_of_a_talking_head_has_its_face_in_few_tracks(clips, finder):
    for clip in clips:
        looks, tracks = tracks_of(clip, finder)
        looked_at = [look for look in looks if look.slots]
        assert sum(bool(look.faces) for look in looked_at) > 0.95 * len(looked_at), clip
        assert len(tracks) <= 1 + len(looked_at) // 25, clip


def test_eyes_lie_on_the_template_in_the_crop(clips, finder):
    from mien.faces.align import crop_contract, template_points_5x2_px

    template = template_points_5x2_px(crop_contract(finder))
    for clip in clips:
        _, tracks = tracks_of(clip, finder)
        _, face = tracks[0][len(tracks[0]) // 2]
        found = finder.detect(np.pad(face.crop_HWC, ((128, 128), (128, 128), (0, 0)), mode="edge"))
        assert found, clip
        mesh = finder.mesh(np.pad(face.crop_HWC, ((128, 128), (128, 128), (0, 0))), found[0].region)
        assert np.abs(mesh.points_5x2_px - 128 - template)[:2].max() < 16, clip


def test_numbers_do_not_swap_when_real_heads_cross(clips, finder, tmp_path):
    left, right = heads(clips[0], 60), heads(clips[1], 60)
    frames = []
    for t, (one, other) in enumerate(zip(left, right, strict=False)):
        canvas = np.full((300, 900, 3), 110, np.uint8)
        x0, x1 = 10 + 11 * t, 650 - 11 * t
        canvas[30:270, x1 : x1 + 240] = other
        canvas[30:270, x0 : x0 + 240] = one  # in front
        frames.append(canvas)
    write_video(tmp_path / "crossing.mp4", frames, frames_per_second=25)
    _, tracks = tracks_of(tmp_path / "crossing.mp4", finder)
    for track in tracks.values():
        sides = set()
        for slot, face in track:
            centre = (face.box_xyxy_px[0] + face.box_xyxy_px[2]) / 2
            to_one, to_other = abs(centre - (130 + 11 * slot)), abs(centre - (770 - 11 * slot))
            if max(to_one, to_other) > 150:  # apart enough to tell
                sides.add(to_one < to_other)
        assert len(sides) <= 1
    assert len(tracks) >= 3


def test_a_cut_from_one_person_to_another_ends_the_track(clips, finder, tmp_path):
    for number, (one, other) in enumerate(itertools.pairwise(clips)):
        path = tmp_path / f"cut{number}.mp4"
        write_video(path, heads(one, 20) + heads(other, 20), frames_per_second=25)
        _, tracks = tracks_of(path, finder)
        for track in tracks.values():
            slots = [slot for slot, _ in track]
            assert max(slots) < 20 or min(slots) >= 20, (one, other)
