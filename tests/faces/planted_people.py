"""People planted in pictures, and a finder that knows where they are but answers as a mesh would."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np

from mien.faces.align import TEMPLATE_POINTS_5X2
from mien.faces.finder import Detection, Mesh, Region
from mien.faces.follow import ON_GRID, FaceFollower
from mien.faces.tracked import TrackSettings
from mien.video import Frame

HEIGHT, WIDTH = 360, 640


@dataclass(frozen=True)
class Planted:
    """One person in one frame; those later in a list stand in front."""

    person: int
    x: float
    y: float = 180.0
    side: float = 100.0
    score: float = 0.95

    @property
    def box(self):
        half = self.side / 2
        return (self.x - half, self.y - half, self.x + half, self.y + half)


@lru_cache(maxsize=256)
def texture(seed, side):
    """A pattern that is the person's own, or the scene's."""
    coarse = np.random.default_rng(seed).integers(0, 255, (16, 16, 3), dtype=np.uint8)
    return cv2.resize(coarse, (side, side), interpolation=cv2.INTER_CUBIC)


def paint(people, scene=0, light=1.0):
    image = texture(10_000 + scene, WIDTH)[:HEIGHT].copy()
    for planted in people:
        face = texture(planted.person, round(planted.side))
        left, top = round(planted.box[0]), round(planted.box[1])
        x0, y0 = max(left, 0), max(top, 0)
        x1, y1 = min(left + face.shape[1], WIDTH), min(top + face.shape[0], HEIGHT)
        if x0 < x1 and y0 < y1:
            image[y0:y1, x0:x1] = face[y0 - top : y1 - top, x0 - left : x1 - left]
    return image if light == 1 else cv2.convertScaleAbs(image, alpha=light)


class PlantedFinder:
    """Answers for the people of the frame that is set. A mesh settles on the foremost face in its region."""

    detector = landmarker = "planted"
    detector_sha256 = landmarker_sha256 = "0" * 64

    def __init__(self):
        self.people = []
        self.only_in_tiles = []  # of the people, those that only a search for small faces finds
        self.searches = self.small_searches = 0

    def detect(self, image_HWC):
        self.searches += 1
        return [
            Detection(planted.box, planted.score, _region(planted))
            for planted in self.people
            if planted not in self.only_in_tiles
            and not any(_covers(other, planted) for other in self.people[self.people.index(planted) + 1 :])
        ]

    def detect_small(self, image_HWC, *, min_face_px):
        self.small_searches += 1
        return [Detection(planted.box, planted.score, _region(planted)) for planted in self.only_in_tiles]

    def mesh(self, image_HWC, region):
        near = [
            planted
            for planted in self.people
            if max(abs(planted.x - region.centre_x_px), abs(planted.y - region.centre_y_px))
            < region.side_px / 3
        ]
        if not near:
            nobody = Planted(-1, region.centre_x_px, region.centre_y_px, region.side_px / 1.5, score=0.02)
            return _mesh(nobody)
        return _mesh(near[-1])


def _covers(front, back):
    return max(abs(front.x - back.x), abs(front.y - back.y)) < 0.4 * max(front.side, back.side)


def _region(planted):
    return Region(planted.x, planted.y, 1.5 * planted.side, 0.0)


def _mesh(planted):
    left, top, _, _ = planted.box
    return Mesh(
        points_5x2_px=np.array(TEMPLATE_POINTS_5X2) * planted.side + (left, top),
        points_468x3=np.zeros((468, 3), np.float32),
        box_xyxy_px=planted.box,
        score=planted.score,
        yaw_degrees=1.0,
        pitch_degrees=2.0,
        roll_degrees=3.0,
        region=_region(planted),
    )


@dataclass
class Story:
    """What the follower made of a list of frames."""

    frames: list  # per frame, {track number: person}
    reasons: list
    searches: int
    small_searches: int

    @property
    def people_of_tracks(self):
        people = {}
        for frame in self.frames:
            for number, person in frame.items():
                people.setdefault(number, set()).add(person)
        return people

    @property
    def frames_of_tracks(self):
        tracks = {}
        for at, frame in enumerate(self.frames):
            for number in frame:
                tracks.setdefault(number, []).append(at)
        return tracks


def follow(frames, *, scenes=None, lights=None, seconds=None, pace=ON_GRID, only_in_tiles=(), **settings):
    """Feed frames, each a list of Planted, to a follower."""
    finder = PlantedFinder()
    finder.only_in_tiles = list(only_in_tiles)
    follower = FaceFollower(finder, TrackSettings(**settings), pace=pace)
    seen, reasons = [], []
    for at, people in enumerate(frames):
        finder.people = people
        image = paint(people, scenes[at] if scenes else 0, lights[at] if lights else 1.0)
        time = seconds[at] if seconds else at / 25
        looked = follower.look(Frame(time, at, lambda image=image: image))
        seen.append({face.track_number: _person_at(face, people) for face in looked.faces})
        reasons.append(looked.reason)
    return Story(seen, reasons, finder.searches, finder.small_searches)


def _person_at(face, people):
    return next(planted.person for planted in reversed(people) if planted.box == face.box_xyxy_px)
