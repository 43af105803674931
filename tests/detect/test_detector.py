"""The detector in Python: on files, in memory, and on frames that come one by one."""

from __future__ import annotations

import subprocess
import sys
import threading
import time

import cv2
import numpy as np
import pytest

import mien
from mien.detect.detector import Detector, in_background
from mien.detect.engines import open_engine
from mien.detect.signals import Baseline, Smoothing
from mien.faces.contract import ContractMismatchError
from mien.video import VideoError
from tests.detect.beside_video import write_beside, write_points
from tests.detect.planted_story import StoryTracking
from tests.faces.planted_people import Planted, paint
from tests.points_beside import PointsTracking

pytestmark = pytest.mark.usefixtures("points_beside")


@pytest.fixture(scope="module")
def video(tmp_path_factory):
    return write_beside(tmp_path_factory.mktemp("v") / "clip.mp4", [[0], [0, 1], []] * 20)


@pytest.fixture
def detector(beside_model):
    return Detector(beside_model, batch_size=7)


def test_a_video_s_rows_are_what_the_model_says_of_its_crops(detector, video):
    table = detector.detect(video).to_pandas()
    tracked = list(PointsTracking().every_frame(video))
    crops = np.stack([face.crop_HWC for frame in tracked for face in frame.faces])
    model = detector.model
    engine = open_engine("torch", model, model_path=model.source)
    readings = model.read(engine(crops))
    seen = table[table["success"] == 1]
    assert len(table) == 80
    names = list(model.columns)
    assert np.allclose(seen[names], readings.probability_NA, atol=1e-5)
    present = model.present(seen[names].to_numpy(np.float32)).astype(float)
    present[:, names.index("AU04")] = np.nan  # no better than chance
    found = seen[[f"{name}_present" for name in names]].to_numpy(float, na_value=np.nan)
    assert np.array_equal(found, present, equal_nan=True)
    intensity_NA = seen[[f"{name}_intensity" for name in names]].to_numpy()
    assert np.allclose(intensity_NA, readings.intensity_NA, atol=1e-4, equal_nan=True)


def test_mien_s_own_name_for_it_is_the_same_and_costs_nothing_to_import():
    assert mien.Detector is Detector
    code = "import sys, mien; print(sorted({'torch', 'numpy', 'cv2'} & set(sys.modules)))"
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "[]"
    with pytest.raises(AttributeError, match="no attribute 'Detectr'"):
        mien.Detectr  # noqa: B018


def test_rows_stream_and_several_files_are_one_table(detector, video, tmp_path):
    other = write_beside(tmp_path / "other.mp4", [[0]] * 5)
    rows = list(detector.rows(video))
    table = detector.detect([video, other])
    assert [row.frame for row in rows] == table.of_input("clip.mp4").table["frame"].to_pylist()
    assert table.inputs == ["clip.mp4", "other.mp4"]
    assert len(table.of_input("other.mp4")) == 5
    largest = Detector(detector.model.source, faces="largest").detect(video)
    assert largest.table["frame"].to_pylist() == list(range(60))


def test_live_times_that_fall_back_hold_no_row_back(beside_model):
    smoothed = live(beside_model, smoothing=Smoothing(0.2))
    given = []

    def frames():
        for t, people in enumerate(STORY):
            given.append(t)
            yield (100 + t / 25 if t < 30 else t / 25, paint(people))

    for at, row in enumerate(smoothed.stream(frames())):
        assert len(given) - at <= 5
        assert row.seconds == pytest.approx(100 + at / 25)


def test_what_cannot_be_read_is_an_error_in_memory(detector, video, tmp_path):
    (tmp_path / "x.mp4").write_text("text")
    write_points(tmp_path / "x.mp4", [[0]])
    for read in (detector.detect, lambda path: list(detector.rows(path))):
        with pytest.raises(VideoError, match=r"x\.mp4: not a video"):
            read(tmp_path / "x.mp4")
    (tmp_path / "alone.mp4").write_bytes(video.read_bytes())
    with pytest.raises(VideoError, match=r"alone.points.csv: not there"):
        detector.detect(tmp_path / "alone.mp4")


def test_faces_cropped_otherwise_than_the_model_s_are_refused(model_path):
    with pytest.raises(ContractMismatchError, match="cropped differently"):
        Detector(model_path)


STORY = [[Planted(1, 200 + 2 * t)] if t % 10 else [] for t in range(60)]


def live(beside_model, story=STORY, **more):
    detector = Detector(beside_model, **more)
    detector._tracking = StoryTracking(story)
    return detector


def test_live_frames_give_their_rows_at_once(beside_model):
    given = []

    def frames():
        for t, people in enumerate(STORY):
            given.append(t)
            yield (t / 30, paint(people))

    rows = []
    for at, row in enumerate(live(beside_model).stream(frames())):
        assert len(given) == at + 1
        rows.append(row)
    assert [row.seconds for row in rows] == [t / 30 for t in range(60)]
    assert [row.face_id is None for row in rows] == [not people for people in STORY]


def test_live_frames_without_times_are_25_a_second_and_smoothed_by_the_past_alone(beside_model):
    plain = list(live(beside_model).stream(paint(people) for people in STORY))
    smoothed = list(
        live(beside_model, smoothing=Smoothing(0.2, "causal")).stream(paint(people) for people in STORY)
    )
    assert [row.seconds for row in smoothed] == [t / 25 for t in range(60)]
    assert np.allclose(smoothed[1].values_V, plain[1].values_V, equal_nan=True, atol=1e-6)
    assert not np.allclose(smoothed[9].values_V, plain[9].values_V, equal_nan=True, atol=1e-6)


def test_a_live_stream_has_no_baseline_over_a_file(beside_model):
    detector = live(beside_model, baseline=Baseline.parse("file"))
    with pytest.raises(ValueError, match="no whole file"):
        next(detector.stream([paint([])]))


def test_frames_that_are_no_pictures_are_refused(beside_model):
    for frame in (np.zeros((4, 4), np.uint8), np.zeros((4, 4, 3), np.float32)):
        with pytest.raises(ValueError, match=r"frame 0: expected a .* uint8 RGB picture"):
            next(live(beside_model).stream([frame]))


def test_a_picture_is_a_frame_at_0_seconds(detector, tmp_path):
    for name in ("b.png", "a.png"):
        cv2.imwrite(str(tmp_path / name), np.full((64, 128, 3), 90, np.uint8))
        write_points(tmp_path / name, [[0, 1] if name == "b.png" else []])
    table = detector.detect(tmp_path).to_pandas()
    assert table["input"].tolist() == ["a.png", "b.png", "b.png"]
    assert table["success"].tolist() == [0, 1, 1]
    assert set(table["frame"]) == {0}
    assert set(table["timestamp"]) == {0.0}


def test_a_picture_that_cannot_be_read_keeps_its_row(detector, tmp_path):
    (tmp_path / "no.png").write_text("no picture")
    with pytest.warns(UserWarning, match=r"no\.png: 10 bytes that are no picture"):
        table = detector.detect(tmp_path)
    assert table.table["reason"].to_pylist() == ["unreadable"]
    assert len(table.metadata["problems"]) == 1


def test_items_come_in_order_and_are_made_ahead():
    made = []

    def items():
        for number in range(20):
            made.append(number)
            yield number

    background = in_background(items(), ahead=4)
    assert next(background) == 0
    end = time.monotonic() + 120
    while len(made) < 5 and time.monotonic() < end:
        time.sleep(0.01)
    assert 5 <= len(made) <= 6
    assert list(background) == list(range(1, 20))


def test_an_error_comes_after_the_items_before_it():
    def items():
        yield 1
        raise ValueError("broken off")

    background = in_background(items(), ahead=4)
    assert next(background) == 1
    with pytest.raises(ValueError, match="broken off"):
        next(background)


def test_who_stops_asking_leaves_no_thread_behind():
    before, closed = set(threading.enumerate()), []

    def items():
        try:
            while True:
                yield 0
        finally:
            closed.append(True)

    background = in_background(items(), ahead=2)
    next(background)
    background.close()
    assert set(threading.enumerate()) <= before
    assert closed == [True]
