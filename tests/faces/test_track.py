"""From a file to faces: every decoded frame is accounted for once."""

from __future__ import annotations

import numpy as np
import pytest

from mien.faces.track import faces_in_picture, track_faces, track_frames
from mien.faces.tracked import BETWEEN_GRID_TIMES, FACE_TOO_SMALL, NO_FACE, UNREADABLE, TrackSettings
from mien.video import VideoError, read_all_frames, write_video


def looks_of(video, finder):
    return list(track_faces(video, finder=finder, settings=TrackSettings()))


@pytest.mark.parametrize(("rate", "frames"), [(10, 12), (25, 25), (30, 30), (50, 40)])
def test_every_decoded_frame_is_told_once_and_slots_follow_time(
    tmp_path, planted, planted_finder, paint_planted, *, rate, frames
):
    planted_finder.people = [planted(1, 300)]
    image = paint_planted(planted_finder.people)
    write_video(tmp_path / "clip.mp4", [image] * frames, frames_per_second=rate)
    looks = looks_of(tmp_path / "clip.mp4", planted_finder)
    assert [look.source_frame_index for look in looks] == list(range(frames))
    assert all((look.reason == BETWEEN_GRID_TIMES) == (not look.slots) for look in looks)
    slots = [slot for look in looks for slot in look.slots]
    assert slots == list(range(len(slots)))
    assert abs(len(slots) - frames / rate * 25) <= 1.01
    assert all(abs(slot / 25 - look.seconds) <= 0.06 for look in looks for slot in look.slots)
    assert {face.track_number for look in looks for face in look.faces} == {0}


@pytest.mark.parametrize("rate", [10, 30, 60])
def test_without_a_grid_every_frame_is_looked_at(tmp_path, planted, planted_finder, paint_planted, rate):
    planted_finder.people = [planted(1, 300)]
    write_video(tmp_path / "clip.mp4", [paint_planted(planted_finder.people)] * 40, frames_per_second=rate)
    looks = list(
        track_frames(read_all_frames(tmp_path / "clip.mp4"), finder=planted_finder, settings=TrackSettings())
    )
    assert [look.source_frame_index for look in looks] == list(range(40))
    assert np.allclose([look.seconds for look in looks], np.arange(40) / rate, atol=1e-4)
    assert all([face.track_number for face in look.faces] == [0] for look in looks)


def test_frames_without_a_face_say_so(tmp_path, planted_finder, paint_planted):
    write_video(tmp_path / "empty.mp4", [paint_planted([])] * 5, frames_per_second=25)
    looks = looks_of(tmp_path / "empty.mp4", planted_finder)
    assert [(look.faces, look.reason) for look in looks] == [((), NO_FACE)] * 5


def test_a_broken_file_gives_its_faces_first(tmp_path, planted, planted_finder, paint_planted):
    planted_finder.people = [planted(1, 300)]
    whole = tmp_path / "whole.avi"
    generator = np.random.default_rng(0)
    grain = [generator.integers(0, 40, (360, 640, 3), dtype=np.uint8) for _ in range(12)]
    write_video(whole, [paint_planted(planted_finder.people) // 2 + g for g in grain], frames_per_second=25)
    content = bytearray(whole.read_bytes())
    middle = content.index(b"mdat") + len(content) // 2
    content[middle : middle + 4000] = bytes(4000)
    whole.write_bytes(content)
    looks = []
    with pytest.raises(VideoError, match="damaged"):
        for look in track_faces(whole, finder=planted_finder, settings=TrackSettings()):
            looks.append(look)
    assert len(looks) >= 3
    assert any(look.reason == UNREADABLE for look in looks)
    assert all(look.faces or look.reason == UNREADABLE for look in looks)


def test_a_picture_s_faces_come_the_largest_first(planted, planted_finder, paint_planted):
    planted_finder.people = [planted(1, 120, side=80.0), planted(2, 420, side=140.0)]
    looked = faces_in_picture(
        paint_planted(planted_finder.people), finder=planted_finder, settings=TrackSettings()
    )
    assert [face.box_xyxy_px[2] - face.box_xyxy_px[0] for face in looked.faces] == [140.0, 80.0]


def test_a_picture_whose_only_face_is_too_small_has_that_reason(planted, planted_finder, paint_planted):
    planted_finder.people = [planted(1, 120, side=47.0)]
    image = paint_planted(planted_finder.people)
    looked = faces_in_picture(image, finder=planted_finder, settings=TrackSettings())
    assert (looked.faces, looked.reason) == ((), FACE_TOO_SMALL)
