"""Points that lie beside a video take the place of detector and mesh."""

from __future__ import annotations

import csv

import numpy as np
import pytest

from mien.faces.align import TEMPLATE_POINTS_5X2, crop_contract
from mien.faces.landmarks_beside import (
    COLUMNS,
    FaceLandmarksBeside,
    LandmarksError,
    landmarks_path,
    read_landmarks,
)
from mien.faces.track import TrackSettings, track_faces
from mien.video import write_video


def points_at(x, y, side):
    return np.array(TEMPLATE_POINTS_5X2) * side + (x - side / 2, y - side / 2)


def write_landmarks(path, faces):
    """`faces`: (source frame, face, points)."""
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(COLUMNS)
        writer.writerows([index, face, *points.ravel()] for index, face, points in faces)


@pytest.fixture
def video(tmp_path, planted, paint_planted):
    path = tmp_path / "clip.mp4"
    frames = [paint_planted([planted(1, 200 + 2 * t), planted(2, 450)]) for t in range(6)]
    write_video(path, frames, frames_per_second=25)
    return path


def follow(video):
    return list(track_faces(video, finder=FaceLandmarksBeside(), settings=TrackSettings()))


def test_the_points_of_the_file_are_the_tracks(video):
    faces = [(t, 0, points_at(200 + 2 * t, 180, 100)) for t in range(6) if t != 3]
    faces += [(t, 7, points_at(450, 180, 100)) for t in range(2)]
    write_landmarks(landmarks_path(video), faces)
    looks = follow(video)
    assert [[face.track_number for face in look.faces] for look in looks] == [
        [0, 7],
        [0, 7],
        [0],
        [],
        [0],
        [0],
    ]
    assert [look.reason for look in looks] == ["", "", "", "no_face", "", ""]
    assert [look.slots for look in looks] == [(t,) for t in range(6)]
    face = looks[4].faces[0]
    assert face.box_xyxy_px == pytest.approx((158, 130, 258, 230), abs=0.1)
    assert face.points_5x2_px == pytest.approx(points_at(208, 180, 100))
    assert abs(face.roll_degrees) < 1
    assert abs(face.yaw_degrees) < 1
    assert face.crop_HWC.shape == (256, 256, 3)
    same = np.abs(face.crop_HWC.astype(int) - looks[0].faces[0].crop_HWC)
    assert same[40:216, 40:216].mean() < 6  # the face stands still in its crop


def test_the_contract_says_where_the_points_come_from():
    contract = crop_contract(FaceLandmarksBeside())
    assert contract.detector == contract.landmarker == "landmarks beside the video"


def test_a_file_that_is_not_there_is_named(video):
    with pytest.raises(LandmarksError, match=r"clip\.landmarks\.csv: not there"):
        follow(video)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("source_frame_index,face\n0,0\n", "column left_eye_x is missing"),
        (",".join(COLUMNS) + "\n0,0" + ",x" * 10 + "\n", "line 2: could not convert"),
        (",".join(COLUMNS) + "\n0,0,1,2\n", "line 2"),
        (",".join(COLUMNS) + "\n0,0" + ",5" * 10 + "\n", "line 2: five distinct points"),
        (
            ",".join(COLUMNS) + "\n-1,0" + ",5" * 9 + ",6\n",
            "line 2: source_frame_index and face count from 0",
        ),
        (",".join(COLUMNS) + ("\n0,0" + ",5" * 9 + ",6") * 2 + "\n", "line 3: face 0 twice in frame 0"),
    ],
)
def test_a_faulty_file_says_where(tmp_path, text, message):
    path = tmp_path / "some.landmarks.csv"
    path.write_text(text)
    with pytest.raises(LandmarksError, match=message):
        read_landmarks(path)
