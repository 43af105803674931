"""Five points a face that lie in a file beside the video, in place of detector and mesh.

`clip.mp4` has `clip.landmarks.csv` with the columns source_frame_index, face, left_eye_x, left_eye_y, ...,
right_mouth_y: one row a face and frame, in pixels of the picture as it is shown. Rows with the same `face`
are the same person, whose track has that number. No row, no face.
"""

from __future__ import annotations

import csv
import math
from collections import defaultdict
from pathlib import Path

import cv2
import numpy as np

from mien.faces.align import crop_contract, crop_face, face_square_px, sharpness
from mien.faces.boxes import bounding_box
from mien.faces.finder import Points
from mien.faces.pose import pose_from_points
from mien.faces.tracked import NO_FACE, TrackedFace
from mien.video import Frame

POINT_NAMES = ("left_eye", "right_eye", "nose_tip", "left_mouth", "right_mouth")
POINT_COLUMNS = tuple(f"{name}_{axis}" for name in POINT_NAMES for axis in "xy")
COLUMNS = ("source_frame_index", "face", *POINT_COLUMNS)


class LandmarksError(ValueError):
    """Landmarks that cannot be used; names file, row and column."""


class FaceLandmarksBeside:
    """Names the source of the points for the crop contract."""

    detector = "landmarks beside the video"
    detector_sha256 = ""
    landmarker = "landmarks beside the video"
    landmarker_sha256 = ""


class LandmarksFile:
    """The faces of one video from its file of points; LandmarksError where that is missing or faulty."""

    scene_number = 0
    refused: tuple[str, ...] = ()

    def __init__(self, video: Path) -> None:
        self._contract = crop_contract(FaceLandmarksBeside())
        self._faces = read_landmarks(landmarks_path(video))

    def look(self, frame: Frame) -> tuple[tuple[TrackedFace, ...], str]:
        """The faces of a frame, and the reason where there are none."""
        points = self._faces.get(frame.source_frame_index, {})
        faces = tuple(self._face(frame, number, points_5x2) for number, points_5x2 in sorted(points.items()))
        return faces, "" if faces else NO_FACE

    def _face(self, frame: Frame, number: int, points_5x2: Points) -> TrackedFace:
        crop_HWC = crop_face(frame.image_HWC, points_5x2, self._contract)
        pose = pose_from_points(points_5x2)
        return TrackedFace(
            track_number=number,
            box_xyxy_px=bounding_box(face_square_px(points_5x2, self._contract)),
            points_5x2_px=points_5x2,
            score=1.0,
            yaw_degrees=pose.yaw_degrees,
            pitch_degrees=pose.pitch_degrees,
            roll_degrees=pose.roll_degrees,
            sharpness=sharpness(cv2.cvtColor(crop_HWC, cv2.COLOR_RGB2GRAY)),
            crop_HWC=crop_HWC,
        )


def landmarks_path(video: Path) -> Path:
    """Where the points of a video lie: `clip.mp4` has `clip.landmarks.csv`."""
    return video.with_name(f"{video.stem}.landmarks.csv")


def read_landmarks(path: Path) -> dict[int, dict[int, Points]]:
    """Per source frame and face number, the (5, 2) points in pixels. LandmarksError names row and column."""
    if not path.is_file():
        raise LandmarksError(f"{path}: not there; landmarks beside the video were asked for")
    faces: dict[int, dict[int, Points]] = defaultdict(dict)
    with path.open(newline="", encoding="utf-8") as file:
        rows = csv.DictReader(file)
        missing = [column for column in COLUMNS if column not in (rows.fieldnames or ())]
        if missing:
            raise LandmarksError(f"{path}: column {missing[0]} is missing; expected {', '.join(COLUMNS)}")
        for row in rows:
            index, face, points_5x2 = _parsed(row, where=f"{path}, line {rows.line_num}")
            if face in faces[index]:
                raise LandmarksError(f"{path}, line {rows.line_num}: face {face} twice in frame {index}")
            faces[index][face] = points_5x2
    return dict(faces)


def _parsed(row: dict[str, str], *, where: str) -> tuple[int, int, Points]:
    try:
        index, face = int(row["source_frame_index"]), int(row["face"])
        points_5x2 = np.array([float(row[column]) for column in POINT_COLUMNS]).reshape(5, 2)
    except (ValueError, TypeError) as error:
        raise LandmarksError(f"{where}: {error}") from error
    if index < 0 or face < 0:
        raise LandmarksError(f"{where}: source_frame_index and face count from 0")
    if not np.isfinite(points_5x2).all() or math.isclose(float(np.ptp(points_5x2)), 0):
        raise LandmarksError(f"{where}: five distinct points in pixels are expected")
    return index, face, points_5x2
