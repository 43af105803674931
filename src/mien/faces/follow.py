"""Follows every face from frame to frame, and gives up rather than take one person for another."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from mien.faces.align import crop_contract, crop_face, sharpness
from mien.faces.appearance import Pattern, face_pattern, scene_pattern, similarity
from mien.faces.boxes import iou, share_inside, stand_apart
from mien.faces.finder import Box, FaceFinder, Mesh, Region
from mien.faces.tracked import (
    FACE_CUT_OFF,
    FACE_TOO_SMALL,
    FACES_OVERLAP,
    LOW_SCORE,
    NO_FACE,
    TrackedFace,
    TrackSettings,
)
from mien.video import Frame

_STEP_SECONDS = 0.04  # the limits on movement, and a frame of `detect_every_frames`, are for this time
_TIME_TOLERANCE = 1e-6  # of a frame: times are counted in floating point
_SURELY_FOLLOWED_IOU = 0.5  # a detection that covers a tracked face this well needs no look
_SAME_FACE_IOU = 0.6  # two meshes on one face settle on nearly the same box


@dataclass(frozen=True)
class Pace:
    """What the settings' frames and their 40 ms mean for the frames that are looked at."""

    frames_since: Callable[[float], float]  # what a look counts, so many seconds after the one before
    memory_seconds: float  # a face's movement is measured from every place it had within this time


ON_GRID = Pace(lambda _gap_seconds: 1.0, 0.0)
"""Looks are about 40 ms apart, each counts as one, and movement is measured from the one before."""

ANY_RATE = Pace(lambda gap_seconds: gap_seconds / _STEP_SECONDS, _STEP_SECONDS)
"""Looks are as dense as the frames: counted by time, and no 40 ms may hold more movement than is allowed."""


@dataclass(frozen=True, eq=False)
class _Sighting:
    """One track's face in one frame, and where it was before: seconds and regions, the latest last."""

    track_number: int
    mesh: Mesh
    crop_HWC: NDArray[np.uint8]
    grey_HW: NDArray[np.uint8]
    pattern: Pattern
    places: tuple[tuple[float, Region], ...]


class FaceFollower:
    """The tracks of one video. Feed it the frames in order; it keeps the last sighting of each track only.

    A face is looked for where its mesh was in the frame before. The whole picture is searched when there is
    no track, when one was lost, and every `detect_every_frames`. A track ends when its face is lost, when the
    scene is cut, when face, place or size jump, and when it overlaps another face: then both end, so that no
    number can pass from one person to the other.
    """

    def __init__(self, finder: FaceFinder, settings: TrackSettings, *, pace: Pace = ON_GRID) -> None:
        self._finder = finder
        self._settings = settings
        self._pace = pace
        self._contract = crop_contract(finder)
        self._numbers = itertools.count()
        self._tracks: list[_Sighting] = []
        self._scene: Pattern | None = None
        self._seconds = -math.inf
        self.scene_number = -1  # counts cuts and holes in time, over which nothing is followed
        self._frames_until_search = 0.0

    def look(self, frame: Frame) -> tuple[tuple[TrackedFace, ...], str]:
        """The faces of the next frame, and the reason where there are none."""
        image_HWC = frame.image_HWC
        scene_similarity = self._scene_similarity(image_HWC)
        goes_on = (
            scene_similarity >= self._settings.min_scene_similarity
            and frame.seconds - self._seconds <= self._settings.max_gap_seconds
        )
        self.scene_number += not goes_on
        before = self._tracks if goes_on else []
        seen, reason = self._followed(image_HWC, before, frame.seconds, scene_similarity)
        self._frames_until_search -= self._pace.frames_since(frame.seconds - self._seconds)
        if not seen or len(seen) < len(before) or self._frames_until_search <= _TIME_TOLERANCE:
            seen, reason = self._searched(image_HWC, seen, frame.seconds)
            self._frames_until_search = self._settings.detect_every_frames
        self._tracks, self._seconds = seen, frame.seconds
        return tuple(_tracked_face(sighting) for sighting in seen), "" if seen else reason

    def _scene_similarity(self, image_HWC: NDArray[np.uint8]) -> float:
        before, self._scene = self._scene, scene_pattern(image_HWC)
        return -1.0 if before is None else similarity(before, self._scene)

    def _followed(
        self, image_HWC: NDArray[np.uint8], tracks: list[_Sighting], seconds: float, scene_similarity: float
    ) -> tuple[list[_Sighting], str]:
        """The tracks that go on in this picture, and why the last one does not where none does."""
        settings = self._settings
        in_still_scene = scene_similarity >= settings.still_scene_similarity
        min_similarity = (
            settings.min_face_similarity_in_still_scene if in_still_scene else settings.min_face_similarity
        )
        seen, reason = [], NO_FACE
        for track in tracks:
            mesh = self._finder.mesh(image_HWC, track.mesh.region)
            reason = self._objection(mesh, image_HWC)
            if mesh is None or reason or not self._can_move(track, mesh.region, seconds):
                continue
            places = self._places(track, mesh.region, seconds)
            sighting = self._sighting(image_HWC, mesh, track.track_number, places)
            if similarity(track.pattern, sighting.pattern) >= min_similarity:
                seen.append(sighting)
        apart = stand_apart(
            [sighting.mesh.box_xyxy_px for sighting in seen], max_overlap=self._settings.max_overlap
        )
        return list(itertools.compress(seen, apart)), reason if all(apart) else FACES_OVERLAP

    def _searched(
        self, image_HWC: NDArray[np.uint8], seen: list[_Sighting], seconds: float
    ) -> tuple[list[_Sighting], str]:
        """The faces seen with those that the whole picture adds, and why a face in it was refused."""
        meshes, reason = self._new_meshes(image_HWC, [sighting.mesh for sighting in seen])
        boxes = [sighting.mesh.box_xyxy_px for sighting in seen] + [mesh.box_xyxy_px for mesh in meshes]
        apart = stand_apart(boxes, max_overlap=self._settings.max_overlap)
        kept = list(itertools.compress(seen, apart))
        new = list(itertools.compress(meshes, apart[len(seen) :]))[: self._settings.max_faces - len(kept)]
        kept += [
            self._sighting(image_HWC, mesh, next(self._numbers), ((seconds, mesh.region),)) for mesh in new
        ]
        return kept, reason if all(apart) else FACES_OVERLAP

    def _new_meshes(self, image_HWC: NDArray[np.uint8], known: list[Mesh]) -> tuple[list[Mesh], str]:
        """Faces of the whole picture that none of the known meshes shows, the largest first."""
        new: list[Mesh] = []
        reason = NO_FACE
        for detection in self._finder.detect(image_HWC):
            if _shown(detection.box_xyxy_px, known, _SURELY_FOLLOWED_IOU):
                continue
            mesh = self._settled_mesh(image_HWC, detection.region)
            objection = self._objection(mesh, image_HWC)
            if mesh is None or objection:
                reason = objection
            elif not _shown(mesh.box_xyxy_px, known + new, _SAME_FACE_IOU):
                new.append(mesh)
        return sorted(new, key=lambda mesh: -mesh.region.side_px), reason

    def _settled_mesh(self, image_HWC: NDArray[np.uint8], region: Region) -> Mesh | None:
        """The mesh in the region that a first mesh asks for: a detector's region is a rough one."""
        first = self._finder.mesh(image_HWC, region)
        if first is None or first.score < self._settings.min_mesh_score:
            return first
        return self._finder.mesh(image_HWC, first.region)

    def _objection(self, mesh: Mesh | None, image_HWC: NDArray[np.uint8]) -> str:
        """Why a mesh is not taken for a face; "" where it is."""
        if mesh is None or not mesh.score >= self._settings.min_mesh_score:
            return LOW_SCORE
        left, top, right, bottom = mesh.box_xyxy_px
        if max(right - left, bottom - top) < self._settings.min_face_px:
            return FACE_TOO_SMALL
        height_px, width_px = image_HWC.shape[:2]
        inside = share_inside(mesh.box_xyxy_px, width_px=width_px, height_px=height_px)
        return FACE_CUT_OFF if inside < self._settings.min_share_inside else ""

    def _can_move(self, track: _Sighting, new: Region, seconds: float) -> bool:
        """Whether a face can have gone to this place and size from each that it had, by now."""
        return all(self._within_limits(old, new, seconds - before) for before, old in track.places)

    def _within_limits(self, old: Region, new: Region, gap_seconds: float) -> bool:
        steps = max(1.0, gap_seconds / _STEP_SECONDS)
        shift_px = math.hypot(new.centre_x_px - old.centre_x_px, new.centre_y_px - old.centre_y_px)
        growth = abs(math.log(new.side_px / old.side_px))
        max_growth = math.log(self._settings.max_size_ratio)
        return shift_px <= steps * self._settings.max_shift * old.side_px and growth <= steps * max_growth

    def _places(self, track: _Sighting, region: Region, seconds: float) -> tuple[tuple[float, Region], ...]:
        """The places that the next frame is measured from: this one, and earlier ones within the memory."""
        remembered = [place for place in track.places if seconds - place[0] < self._pace.memory_seconds]
        return (*remembered, (seconds, region))

    def _sighting(
        self,
        image_HWC: NDArray[np.uint8],
        mesh: Mesh,
        track_number: int,
        places: tuple[tuple[float, Region], ...],
    ) -> _Sighting:
        crop_HWC = crop_face(image_HWC, mesh.points_5x2_px, self._contract)
        grey_HW = cv2.cvtColor(crop_HWC, cv2.COLOR_RGB2GRAY)
        return _Sighting(track_number, mesh, crop_HWC, grey_HW, face_pattern(grey_HW), places)


def _shown(box_xyxy_px: Box, meshes: list[Mesh], min_iou: float) -> bool:
    return any(iou(box_xyxy_px, mesh.box_xyxy_px) > min_iou for mesh in meshes)


def _tracked_face(sighting: _Sighting) -> TrackedFace:
    mesh = sighting.mesh
    return TrackedFace(
        track_number=sighting.track_number,
        box_xyxy_px=mesh.box_xyxy_px,
        points_5x2_px=mesh.points_5x2_px,
        score=mesh.score,
        yaw_degrees=mesh.yaw_degrees,
        pitch_degrees=mesh.pitch_degrees,
        roll_degrees=mesh.roll_degrees,
        sharpness=sharpness(sighting.grey_HW),
        crop_HWC=sighting.crop_HWC,
    )
