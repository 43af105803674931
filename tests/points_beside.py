"""Faces at points that a test writes beside its videos, in place of the finder and the tracker.

`clip.mp4` has `clip.points.csv`: one row per frame and face, with their numbers and five x y pairs in pixels.
Rows of the same face are one track of that number.
"""

from __future__ import annotations

import csv
from collections import defaultdict

import numpy as np

from mien.faces.align import crop_contract, crop_face
from mien.faces.boxes import bounding_box
from mien.faces.tracked import NO_FACE, UNREADABLE, FrameFaces, TrackedFace, TrackSettings
from mien.video import Frame, LostFrame, on_grid, read_all_frames, read_image


class PointsBeside:
    """The names in the crop contract."""

    detector = landmarker = "points beside the video"
    detector_sha256 = landmarker_sha256 = ""


CONTRACT = crop_contract(PointsBeside())


def write_points(video, rows):
    """Write the points beside a video (or a folder of pictures): rows of frame, face and ten numbers."""
    with video.with_name(f"{video.stem}.points.csv").open("w", newline="") as file:
        csv.writer(file).writerows(rows)


class PointsLook:
    """What a FaceFollower does, for one video."""

    def __init__(self, video):
        self.points_of_frame = defaultdict(dict)
        path = video.with_name(f"{video.stem}.points.csv")
        if not path.exists():
            raise OSError(f"{path}: not there")
        with path.open(newline="") as file:
            for frame, face, *points in csv.reader(file):
                self.points_of_frame[int(frame)][int(face)] = np.array(points, float).reshape(5, 2)

    def look(self, frame, slots=()):
        if isinstance(frame, LostFrame):
            return FrameFaces(frame.source_frame_index, frame.seconds, (), UNREADABLE)
        points = self.points_of_frame[frame.source_frame_index]
        faces = tuple(_face(frame.image_HWC, number, found) for number, found in sorted(points.items()))
        reason = "" if faces else NO_FACE
        return FrameFaces(frame.source_frame_index, frame.seconds, faces, reason, slots=slots)


def _face(image_HWC, number, points_5x2):
    crop_HWC = crop_face(image_HWC, points_5x2, CONTRACT)
    box, mesh_468x3 = bounding_box(points_5x2), np.zeros((468, 3), np.float32)
    return TrackedFace(number, box, points_5x2, 1.0, 0.0, 0.0, 0.0, 1.0, crop_HWC, mesh_468x3)


class PointsTracking:
    """A FaceTracking; it can be pickled."""

    contract = CONTRACT

    def __init__(self, settings=None, *, models=None):
        self.settings = settings or TrackSettings()
        self.models = models

    def __call__(self, path):
        seen = PointsLook(path)
        for slots, frame in on_grid(read_all_frames(path)):
            between = FrameFaces(frame.source_frame_index, frame.seconds, (), "between_grid_times")
            yield seen.look(frame, slots) if slots else between

    def every_frame(self, path):
        seen = PointsLook(path)
        for frame in read_all_frames(path):
            yield seen.look(frame)

    def look(self, path):
        return PointsLook(path).look

    def picture(self, path, *, min_face_px=None):
        image_HWC = read_image(path)
        return PointsLook(path).look(Frame(0.0, 0, lambda: image_HWC))
