from __future__ import annotations

import re

import cv2
import numpy as np
import pytest

from mien.data.parts import Fingerprint, assemble
from mien.data.sources import Source
from mien.data.store import TrackStore
from mien.data.store_layout import StoreHeader
from mien.data.store_writer import JpegSettings, skip_video, write_video
from mien.faces.contract import CropContract
from mien.faces.tracked import FrameFaces, TrackedFace
from mien.visualise.store_page import contact_sheet, mean_crop, spread, write_store_page

POINTS = ((0.3, 0.4), (0.7, 0.4), (0.5, 0.6), (0.35, 0.8), (0.65, 0.8))
FINGERPRINT = Fingerprint("/videos/a.mp4", 1, 1, "ab")


def source(name):
    return Source(None, name, name, name)


def looked_at(slot, brightness):
    if not brightness:
        return FrameFaces(slot, slot / 25, (), "no_face", slots=(slot,))
    face = TrackedFace(
        track_number=0,
        box_xyxy_px=(0.0, 0.0, 9.0, 9.0),
        points_5x2_px=np.array(POINTS),
        score=brightness / 255,
        yaw_degrees=float(slot),
        pitch_degrees=0.0,
        roll_degrees=0.0,
        sharpness=1.0,
        crop_HWC=np.full((64, 64, 3), brightness, np.uint8),
        mesh_468x3=np.zeros((468, 3), np.float32),
    )
    return FrameFaces(slot, slot / 25, (face,), "", slots=(slot,))


@pytest.fixture
def begin(tmp_path):
    """begin({name: brightness of each slot, 0 for no face}) makes a store; without slots: a skipped file."""

    def make(videos):
        store = tmp_path / "store"
        contract = CropContract("planted", "", "planted", "", POINTS, 0.2, 64)
        StoreHeader(contract, {"min_run_frames": 17}).write(store)
        for name, slots in videos.items():
            if slots:
                faces = [looked_at(slot, brightness) for slot, brightness in enumerate(slots)]
                write_video(
                    store,
                    source(name),
                    faces,
                    fingerprint=FINGERPRINT,
                    frames_per_second=25.0,
                    jpeg=JpegSettings(),
                )
            else:
                skip_video(store, source(name), "an empty file", fingerprint=FINGERPRINT)
        return assemble(store), TrackStore.open(store)

    return make


def test_the_page_stands_alone_and_tells_what_went_where(begin, tmp_path):
    accounts, store = begin(
        {"a.mp4": [200] * 20 + [0] * 3 + [200] * 5, "<odd>.mp4": [90] * 30, "bad.mp4": []}
    )
    page = write_store_page(store, accounts, tmp_path / "page").read_text()
    assert not re.findall(r"(?:src|href)=\"(?!data:|#)", page)
    assert "58 decoded = 55 written + 3 no face" in page
    assert 'bad.mp4</td><td class="text">skipped</td><td class="text">an empty file' in page
    assert "&lt;odd&gt;.mp4#0" in page
    assert "<odd>" not in page
    for title in ("yaw", "pitch", "roll", "length of a track", "tracks of a video"):
        assert f"<b>{title}</b>" in page
    strips = re.findall(r'<svg class="strip" viewBox="0 0 (\d+) 12".*?</svg>', page)
    assert sorted(strips) == ["28", "30"]
    assert re.findall(r'<rect x="(\d+)" width="(\d+)"', page).count(("23", "5")) == 1
    assert "degrees (median 13)" in page  # yaw: slots 0 to 19 and 23 to 27, and 0 to 29


def test_the_contact_sheet_shows_the_frames_of_each_track(begin, tmp_path):
    accounts, store = begin({"a.mp4": [200] * 20, "b.mp4": [90] * 30})
    write_store_page(store, accounts, tmp_path / "page")
    sheet = cv2.imread(str(tmp_path / "page/contact-sheet.png"))
    assert sheet.shape == (2 * 66, 230 + 10 * 66, 3)
    for row, brightness in ((30, 200), (66 + 30, 90)):
        assert sheet[row, 230 + 30 :: 66].tolist() == [[brightness] * 3] * 10


def test_a_sheet_of_some_tracks_says_of_how_many(begin, tmp_path):
    accounts, store = begin({f"{name}.mp4": [200] * 20 for name in "abcde"})
    page = write_store_page(store, accounts, tmp_path / "page", num_tracks_shown=2).read_text()
    assert "<h2>2 of 5 tracks, evenly spread, frames from first to last</h2>" in page
    assert "mien inspect --tracks 5" in page
    assert f"<h1>Face tracks in {tmp_path.name}/store</h1>" in page
    page = write_store_page(store, accounts, tmp_path / "page").read_text()
    assert "<h2>All 5 tracks, frames from first to last</h2>" in page


def test_a_long_name_is_on_the_sheet_from_end_to_end():
    """What differs in the middle shows: three lines of 32 letters each, the second the same or not."""
    blank = np.zeros((1, 96, 96, 3), np.uint8)
    one, same, other = (
        contact_sheet([(["a" * 32 + middle * 32 + "z" * 32], blank)], pictures_per_row=1)[:, :230]
        for middle in "mmn"
    )
    assert np.array_equal(one, same)
    rows = np.flatnonzero((one != other).any(axis=(1, 2)))
    assert 18 < rows.min() <= rows.max() < 18 * 2 + 8
    tall = contact_sheet([(["a" * 32 * 10], blank)], pictures_per_row=1)
    assert tall.shape[0] == 18 * 10 + 8


def test_a_store_without_a_face_has_a_page_too(begin, tmp_path):
    accounts, store = begin({"a.mp4": [0] * 5})
    page = write_store_page(store, accounts, tmp_path / "page").read_text()
    assert "no face in any of its 5 frames" in page
    assert not (tmp_path / "page/contact-sheet.png").exists()


def test_the_mean_crop_weighs_every_position_alike(begin):
    _, store = begin({"a.mp4": [200] * 30, "b.mp4": [100] * 10})
    assert mean_crop(store, num_crops=1000).mean() == pytest.approx(175, abs=1)


def test_spread_takes_the_middle_of_equal_stretches():
    assert spread(10, 2) == [2, 7]
    assert spread(3, 10) == [0, 1, 2]
    assert spread(0, 10) == []


def test_a_sheet_of_nothing_is_refused():
    with pytest.raises(ValueError, match="no pictures"):
        contact_sheet([], pictures_per_row=3)
