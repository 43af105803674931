"""In a redacted copy the real finder finds no face but those that stay."""

from __future__ import annotations

import av
import cv2
import numpy as np
import pytest

from mien.detect.media import list_media
from mien.detect.table import BOX
from mien.faces.mediapipe_finder import MediaPipeFinder
from mien.visualise.annotated_video import write_annotated_video
from mien.visualise.beside_tables import show_medium
from mien.visualise.redaction import Redaction, Redactor
from tests.shipped import face_frames, faces_side_by_side
from tests.visualise.conftest import detections_of


@pytest.fixture(scope="module")
def finder():
    return MediaPipeFinder()


def row(face_id, box):
    return {"face_id": face_id, "success": 1, **dict(zip(BOX, box, strict=True))}


def boxes_of(finder, picture):
    return sorted(face.box_xyxy_px for face in finder.detect(picture))


def test_of_a_shipped_clip_no_face_is_found_any_more(finder):
    redactor = Redactor(Redaction())
    for at, picture in enumerate(face_frames(0)[:5]):
        (box,) = boxes_of(finder, picture)
        rows = [row(0, box)] if at != 2 else []  # nor where the table has no row
        hidden = redactor(picture, rows, at / 25)
        for side in (160, 320, 640):
            assert boxes_of(finder, cv2.resize(hidden, (side, side))) == []
        assert np.abs(hidden.astype(int) - picture).max() > 50


def test_only_a_face_that_stays_and_has_a_row_is_left(finder):
    picture = faces_side_by_side((0, 2), 0)
    first, second = boxes_of(finder, picture)
    redactor = Redactor(Redaction(frozenset({1})))
    hidden = redactor(picture, [row(0, first), row(1, second)], 0.0)
    (left,) = boxes_of(finder, hidden)
    np.testing.assert_allclose(left, second, atol=4)
    np.testing.assert_array_equal(hidden[:, 320:], picture[:, 320:])
    assert boxes_of(finder, redactor(picture, [row(0, first)], 0.04)) == []


def test_a_face_that_is_lost_is_hidden_where_it_was_for_half_a_second():
    redactor = Redactor(Redaction())
    noise = np.random.default_rng(0).integers(0, 255, (120, 160, 3), dtype=np.uint8)
    redactor(noise, [row(0, (40, 40, 80, 80))], 0.0)
    assert (redactor(noise, [], 0.4)[50:70, 50:70] != noise[50:70, 50:70]).mean() > 0.9
    np.testing.assert_array_equal(redactor(noise, [], 0.6), noise)


def test_a_redacted_copy_has_no_sound(two_faces, write_sounding_video, tmp_path):
    video = write_sounding_video(tmp_path / "two.mkv", seconds=1)
    write_annotated_video(video, detections_of(two_faces()), tmp_path / "out.mp4", redaction=Redaction())
    with av.open(str(tmp_path / "out.mp4")) as container:
        assert not container.streams.audio


def test_who_stays_is_parsed():
    assert Redaction.parse("all").keep == frozenset()
    assert Redaction.parse("but:0,12").keep == {0, 12}
    for text in ("none", "but:", "but:a", "0"):
        with pytest.raises(ValueError, match="expected all, or the ids"):
            Redaction.parse(text)


def test_a_second_run_replaces_the_copy_since_other_faces_may_stay(two_faces, write_grey_video, tmp_path):
    write_grey_video(tmp_path / "two.mp4", num_frames=5)
    (medium,) = list_media([tmp_path / "two.mp4"]).media
    detections_of(two_faces(num_frames=5)).save(tmp_path / "two.parquet")
    copy = tmp_path / "two.redacted.mp4"
    for _ in range(2):
        assert show_medium(medium, tmp_path, page=False, annotated=False, redaction=Redaction()) == ""
        assert copy.stat().st_size > 100
        copy.write_bytes(b"of an earlier run")
    assert show_medium(medium, tmp_path, page=False, annotated=True) == ""
    assert copy.read_bytes() == b"of an earlier run"  # not asked for
