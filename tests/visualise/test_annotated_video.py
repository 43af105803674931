from __future__ import annotations

import weakref

import av
import cv2
import numpy as np
import pytest

from mien.video import VideoError, read_frames
from mien.visualise.annotated_video import (
    LEAST_HEIGHT_PX,
    Overlay,
    write_annotated_picture,
    write_annotated_video,
)
from mien.visualise.timed_video import page_video, write_timed_video
from tests.visualise.conftest import detections_of

UNEVEN = np.cumsum([0.0, *([0.02, 0.1, 0.04, 0.3] * 6)])
ORANGE = (240, 138, 93)


GREY, BLUE = (150, 162, 174), (96, 150, 196)


def records(table, frame):
    return table[table["frame"] == frame].to_dict("records")


def draw(rows, *, units=("AU01",), size=(480, 640), thresholds=None, warning=""):
    """A grey picture with these rows drawn in."""
    return Overlay(units, thresholds or {}, warning).draw(np.full((*size, 3), 90, np.uint8), rows)


def is_colour(picture, colour=ORANGE):
    return np.abs(picture.astype(int) - colour).max(axis=-1) < 40


def tone_starts_at(path):
    """Seconds after the first picture at which the sound gets loud."""
    with av.open(str(path)) as container:
        stream = container.streams.audio[0]
        video = container.streams.video[0]
        first = float(video.start_time * video.time_base)
        for frame in container.decode(stream):
            loud = np.flatnonzero(np.abs(frame.to_ndarray()[0]) > 0.2)
            if loud.size:
                return frame.time + loud[0] / frame.sample_rate - first
    raise AssertionError("it is silent")


def test_every_frame_keeps_its_own_time_and_a_silent_video_stays_silent(
    two_faces, write_grey_video, tmp_path
):
    video, out = write_grey_video(tmp_path / "two.mp4", seconds=list(UNEVEN)), tmp_path / "out.mp4"
    assert write_annotated_video(video, detections_of(two_faces(num_frames=len(UNEVEN))), out) == len(UNEVEN)
    seconds = [frame.seconds for frame in read_frames(out)]
    np.testing.assert_allclose(seconds, UNEVEN, atol=2e-5)
    with av.open(str(out)) as container:
        assert not container.streams.audio


@pytest.mark.parametrize("delay", [0.0, 0.6])
def test_the_sound_comes_along_at_its_own_time(two_faces, write_sounding_video, tmp_path, delay):
    video = write_sounding_video(tmp_path / "two.mkv", seconds=2, delay=delay)
    out = tmp_path / "out.mp4"
    write_annotated_video(video, detections_of(two_faces()), out)
    assert tone_starts_at(video) == pytest.approx(1.0, abs=0.03)
    assert tone_starts_at(out) == pytest.approx(tone_starts_at(video), abs=0.03)


@pytest.mark.parametrize(("size", "scale"), [((960, 1280), 1), ((120, 160), 4)])  # a small one is enlarged
def test_boxes_stand_where_the_table_says(two_faces, size, scale):
    rows = records(two_faces(), 30)
    drawn = draw(rows, units=("AU01", "AU04", "AU12"), size=size)
    assert drawn.shape[0] == max(LEAST_HEIGHT_PX, size[0])
    for row in rows:
        left, bottom = (round(scale * row[name]) for name in ("box_left", "box_bottom"))
        assert is_colour(drawn[bottom, left + 5 * scale : left + 10 * scale]).all()
        assert not is_colour(drawn[bottom - 10, left + 10])


def test_a_bar_is_as_long_as_the_probability(two_faces):
    (row,) = records(two_faces(), 0)

    def panel(probability, present):
        return draw([row | {"AU01": probability, "AU01_present": int(present)}])[:, 640:]

    half, whole = (is_colour(panel(p, False), BLUE).sum(axis=1).max() for p in (0.5, 1.0))
    assert half == pytest.approx(whole / 2, abs=2)
    assert is_colour(panel(1.0, True)).any()
    assert not is_colour(panel(1.0, False)).any()


def test_where_presence_is_left_blank_the_bar_is_grey_and_the_box_names_no_unit(two_faces):
    row = records(two_faces(), 0)[0] | {"AU01": 1.0, "AU01_present": None}
    panel = draw([row])[:, 640:]
    for colour, is_there in ((ORANGE, False), (BLUE, False), (GREY, True)):
        assert (np.abs(panel.astype(int) - colour).max(axis=-1) < 8).any() == is_there
    assert (draw([row])[:, :640] == draw([row | {"AU01_present": 0}])[:, :640]).all()
    assert (draw([row], thresholds={"AU01": 0.04})[:, 640:] == panel).all()  # no tick


def test_the_warning_is_above_the_picture_in_every_frame(two_faces):
    rows = records(two_faces(), 0)
    warned = draw(rows, warning="A long sentence about what it is not good for. " * 4)
    assert (warned[-480:] == draw(rows)).all()
    assert warned.shape[0] > 480 + 2 * 20
    assert is_colour(warned[:-480]).any()
    assert warned.shape[0] % 2 == draw([], warning="A long sentence").shape[0] % 2 == 0


def test_more_faces_than_the_panel_holds_carry_their_units_at_the_box(two_faces):
    units = tuple(f"AU{n:02d}" for n in range(1, 25))
    assert draw(records(two_faces(num_frames=25, units=units), 24), units=units).shape[0] == 480


def test_a_parquet_file_is_drawn_as_the_table_is(two_faces, write_grey_video, tmp_path, monkeypatch):
    monkeypatch.setattr(
        "mien.visualise.annotated_video.write_timed_video",
        lambda out, frames, **_: np.save(out, [picture for _, picture in frames]),
    )
    table = two_faces(num_frames=40)
    video = write_grey_video(tmp_path / "two.mp4", 40)
    detections = detections_of(table, model={"warning": "Not proven."}, thresholds={"AU01": 0.5})
    detections.save(tmp_path / "two.parquet")
    write_annotated_video(video, detections, tmp_path / "a.mp4")
    write_annotated_video(video, tmp_path / "two.parquet", tmp_path / "b.mp4")
    drawn = np.load(tmp_path / "a.mp4.npy")
    assert len(drawn) == 40
    assert np.array_equal(drawn, np.load(tmp_path / "b.mp4.npy"))


def test_of_a_damaged_video_the_good_frames_are_written_and_the_damage_is_told(
    two_faces, write_grey_video, tmp_path
):
    whole = write_grey_video(tmp_path / "two.mp4")
    content = bytearray(whole.read_bytes())
    middle = content.index(b"mdat") + (len(content) - content.index(b"mdat")) // 2
    content[middle : middle + 400] = bytes(400)
    whole.write_bytes(content)
    try:
        list(read_frames(whole))
    except VideoError:
        with pytest.raises(VideoError, match=r"two\.mp4"):
            write_annotated_video(whole, detections_of(two_faces()), tmp_path / "out.mp4")
    else:
        pytest.skip("this decoder conceals the damage")
    assert len(list(read_frames(tmp_path / "out.mp4"))) > 10


def test_frames_are_taken_one_at_a_time(tmp_path):
    alive, most = weakref.WeakSet(), 0

    class Picture(np.ndarray):
        __hash__ = object.__hash__

    def frames():
        nonlocal most
        for k in range(60):
            picture = np.full((64, 64, 3), k, np.uint8).view(Picture)
            alive.add(picture)
            most = max(most, len(alive))
            yield k / 25, picture
            del picture

    write_timed_video(tmp_path / "out.mp4", frames())
    assert most <= 3


def test_a_video_of_no_frame_is_refused_and_leaves_nothing(tmp_path):
    with pytest.raises(ValueError, match=r"out\.mp4: no frame"):
        write_timed_video(tmp_path / "out.mp4", [])
    assert list(tmp_path.iterdir()) == []


def test_a_picture_is_drawn_as_a_picture(two_faces, tmp_path):
    cv2.imwrite(str(tmp_path / "face.png"), np.full((480, 640, 3), 90, np.uint8))
    write_annotated_picture(
        tmp_path / "face.png", detections_of(two_faces("face.png", num_frames=1)), tmp_path / "out.jpg"
    )
    assert cv2.imread(str(tmp_path / "out.jpg")).shape[0] == 480


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])  # one that browsers play, one that is copied
def test_a_title_in_another_encoding_is_no_obstacle_to_page_or_copy(tmp_path, two_faces, suffix):
    video = tmp_path / f"clip{suffix}"
    with av.open(str(video), "w") as container:
        container.metadata["title"] = "AAAAAAAA"
        stream = container.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = 160, 120, "yuv420p"
        for _ in range(50):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(np.zeros((120, 160, 3), np.uint8))))
        container.mux(stream.encode(None))
    content = video.read_bytes()
    assert b"AAAAAAAA" in content
    video.write_bytes(content.replace(b"AAAAAAAA", "Fräulein".encode("latin-1")))
    assert write_annotated_video(video, detections_of(two_faces()), tmp_path / "copy.mp4") == 50
    shown = page_video(video, tmp_path / "page.html")
    assert shown.link == ("clip.mp4" if suffix == ".mp4" else "page.playable.mp4")
