"""Follows every face from frame to frame, and gives up rather than take one person for another."""

from __future__ import annotations

import itertools
import math
import statistics
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.typing import NDArray

from mien.faces.align import brightness, crop_contract, crop_face, sharpness
from mien.faces.appearance import Pattern, face_pattern, scene_pattern, similarity
from mien.faces.boxes import iou, overlap, share_inside, stand_apart
from mien.faces.finder import Box, FaceFinder, Mesh, Region
from mien.faces.tracked import (
    FACE_CUT_OFF,
    FACE_TOO_SMALL,
    FACES_OVERLAP,
    LOW_SCORE,
    NO_FACE,
    UNREADABLE,
    FrameFaces,
    TrackedFace,
    TrackSettings,
)
from mien.video import Frame, LostFrame

_STEP_SECONDS = 0.04  # the limits on movement, and a frame of `detect_every_frames`, are for this time
_TIME_TOLERANCE = 1e-6  # of a frame: times are counted in floating point
_SURELY_FOLLOWED_IOU = 0.5  # a detection that covers a tracked face this well needs no look
_SAME_FACE_IOU = 0.6  # two meshes on one face settle on nearly the same box

_INTERVALS_KEPT = 5  # the usual interval between frames is the median of these
_SLOW_SECONDS = 0.07  # a longer usual interval makes a slow video: below 14 frames/s
_MAX_GAP_INTERVALS = 2.5  # usual intervals: one frame may be missing
_MAX_SLOW_GAP_SECONDS = 1.25  # nothing is followed below 0.8 frames/s
_MAX_STEPS = 5.0  # movement within 0.2 s is the most allowed, however far apart the frames are

_LARGE_PICTURE_PX = 1920  # a picture with a longer side is always searched for small faces
_SMALL_FACE_SHARE = 1 / 8  # of the longer side: a picture with no larger face is searched for small ones

# Why a frame has no face, the most specific reason first.
_REASONS = (FACES_OVERLAP, FACE_CUT_OFF, FACE_TOO_SMALL, LOW_SCORE, NO_FACE)
_REFUSALS = {FACES_OVERLAP, FACE_CUT_OFF, FACE_TOO_SMALL}  # of what surely is a face


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


class _Rhythm:
    """How far apart the frames usually are, and what that makes of the next one."""

    def __init__(self, pace: Pace, max_gap_seconds: float) -> None:
        self._pace = pace
        self._max_gap_seconds = max_gap_seconds
        self._last_seconds = -math.inf
        self._intervals: deque[float] = deque(maxlen=_INTERVALS_KEPT)

    def step(self, seconds: float) -> tuple[bool, bool, float]:
        """Whether the time since the frame before is a hole, over which nothing is followed; whether the
        video's frames are usually so far apart that it is slow; what it counts for `detect_every_frames`.
        """
        gap_seconds, self._last_seconds = seconds - self._last_seconds, seconds
        if math.isinf(gap_seconds):
            return True, False, math.inf
        self._intervals.append(gap_seconds)
        usual_seconds = statistics.median_low(self._intervals)
        slow_gap_seconds = min(_MAX_GAP_INTERVALS * usual_seconds, _MAX_SLOW_GAP_SECONDS)
        is_hole = gap_seconds > max(self._max_gap_seconds, slow_gap_seconds)
        if usual_seconds > _SLOW_SECONDS:
            return is_hole, True, gap_seconds / _STEP_SECONDS
        return is_hole, False, self._pace.frames_since(gap_seconds)


class FaceFollower:
    """The tracks of one video. Feed it the frames in order; it keeps the last sighting of each track only.

    A face is looked for where its mesh was in the frame before. The whole picture is searched when there is
    no track, when one was lost, and every `detect_every_frames`; small faces are searched for when a scene
    begins, when a track was lost, and every `detect_every_frames`. A track ends when its face is lost, when
    the scene is cut, when face, place or size jump, and when it overlaps another face: then both end, so that
    no number can pass from one person to the other. In a slow video a lost face that is found again nearby,
    and looks alike, continues its track.
    """

    def __init__(self, finder: FaceFinder, settings: TrackSettings, *, pace: Pace = ON_GRID) -> None:
        self._finder = finder
        self._settings = settings
        self._pace = pace
        self._rhythm = _Rhythm(pace, settings.max_gap_seconds)
        self._contract = crop_contract(finder)
        self._numbers = itertools.count()
        self._tracks: list[_Sighting] = []
        self._scene: Pattern | None = None
        self._scene_number = -1
        self._frames_until_search = 0.0
        self._frames_until_small_search = 0.0

    def look(self, frame: Frame | LostFrame, slots: tuple[int, ...] = ()) -> FrameFaces:
        """What became of the next frame, which serves these slots of the grid."""
        place = (frame.source_frame_index, frame.seconds)
        if isinstance(frame, LostFrame):
            return FrameFaces(*place, (), UNREADABLE, self._scene_number)
        image_HWC = frame.image_HWC
        scene_similarity = self._scene_similarity(image_HWC)
        is_hole, is_slow, num_frames = self._rhythm.step(frame.seconds)
        goes_on = scene_similarity >= self._settings.min_scene_similarity and not is_hole
        self._scene_number += not goes_on
        before = self._tracks if goes_on else []
        alike = self._min_similarity(scene_similarity)
        seen, reasons = self._followed(image_HWC, before, frame.seconds, alike)
        lost = _without(before, seen)
        self._frames_until_search -= num_frames
        self._frames_until_small_search -= num_frames
        if not seen or lost or self._frames_until_search <= _TIME_TOLERANCE:
            with_small = not goes_on or bool(lost) or self._frames_until_small_search <= _TIME_TOLERANCE
            seen, meshes, objections = self._searched(image_HWC, seen, with_small=with_small)
            lost = lost if is_slow else []
            seen += [self._found(image_HWC, mesh, lost, frame.seconds, alike) for mesh in meshes]
            reasons |= objections
        self._tracks = seen
        faces = tuple(_tracked_face(sighting, image_HWC) for sighting in seen)
        reason = "" if seen else min(reasons, key=_REASONS.index)
        refused = tuple(sorted(reasons & _REFUSALS)) if seen else ()
        return FrameFaces(*place, faces, reason, self._scene_number, refused, slots)

    def _scene_similarity(self, image_HWC: NDArray[np.uint8]) -> float:
        before, self._scene = self._scene, scene_pattern(image_HWC)
        return -1.0 if before is None else similarity(before, self._scene)

    def _min_similarity(self, scene_similarity: float) -> float:
        """How alike a track's faces must be in neighbouring frames."""
        if scene_similarity >= self._settings.still_scene_similarity:
            return self._settings.min_face_similarity_in_still_scene
        return self._settings.min_face_similarity

    def _followed(
        self, image_HWC: NDArray[np.uint8], tracks: list[_Sighting], seconds: float, min_similarity: float
    ) -> tuple[list[_Sighting], set[str]]:
        """The tracks that go on in this picture, and why others do not."""
        seen, reasons = [], set()
        for track in tracks:
            mesh = self._finder.mesh(image_HWC, track.mesh.region)
            objection = self._objection(mesh, image_HWC)
            if mesh is None or objection:
                reasons.add(objection)
            elif self._can_move(track, mesh.region, seconds):
                places = self._places(track, mesh.region, seconds)
                sighting = self._sighting(image_HWC, mesh, track.track_number, places)
                if similarity(track.pattern, sighting.pattern) >= min_similarity:
                    seen.append(sighting)
        apart = self._apart([sighting.mesh for sighting in seen])
        return list(itertools.compress(seen, apart)), reasons if all(apart) else reasons | {FACES_OVERLAP}

    def _searched(
        self, image_HWC: NDArray[np.uint8], seen: list[_Sighting], *, with_small: bool
    ) -> tuple[list[_Sighting], list[Mesh], set[str]]:
        """The faces seen, those that the whole picture adds, and why others in it were refused."""
        known = [sighting.mesh for sighting in seen]
        meshes, reasons = self._new_meshes(image_HWC, known)
        apart = self._apart(known + meshes)
        kept = list(itertools.compress(seen, apart))
        new = list(itertools.compress(meshes, apart[len(seen) :]))
        if not all(apart):
            reasons.add(FACES_OVERLAP)
        if with_small:
            self._frames_until_small_search = self._settings.detect_every_frames
            small, objections = self._small_meshes(image_HWC, known + meshes)
            new += small
            reasons |= objections
        self._frames_until_search = self._settings.detect_every_frames
        return kept, new, reasons

    def _new_meshes(self, image_HWC: NDArray[np.uint8], known: list[Mesh]) -> tuple[list[Mesh], set[str]]:
        """Faces of the whole picture that none of the known meshes shows, the largest first."""
        new: list[Mesh] = []
        reasons = {NO_FACE}
        for detection in self._finder.detect(image_HWC):
            if _shown(detection.box_xyxy_px, known, _SURELY_FOLLOWED_IOU):
                continue
            mesh = self._settled_mesh(image_HWC, detection.region)
            objection = self._objection(mesh, image_HWC)
            if mesh is None or objection:
                reasons.add(objection)
            elif not _shown(mesh.box_xyxy_px, known + new, _SAME_FACE_IOU):
                new.append(mesh)
        return sorted(new, key=lambda mesh: -mesh.region.side_px), reasons

    def _small_meshes(self, image_HWC: NDArray[np.uint8], known: list[Mesh]) -> tuple[list[Mesh], set[str]]:
        """Faces apart from the known ones that are too small for a search of the whole picture.

        None are looked for beside a large face in a picture of ordinary size.
        """
        longer_px = max(image_HWC.shape[:2])
        largest_px = max((_side_px(mesh.box_xyxy_px) for mesh in known), default=0.0)
        if longer_px <= _LARGE_PICTURE_PX and largest_px >= _SMALL_FACE_SHARE * longer_px:
            return [], set()
        new: list[Mesh] = []
        reasons = set()
        for detection in self._finder.detect_small(image_HWC, min_face_px=self._settings.min_face_px):
            if self._is_covered(detection.box_xyxy_px, known + new):
                continue
            mesh = self._settled_mesh(image_HWC, detection.region)
            objection = self._objection(mesh, image_HWC)
            if mesh is None or objection:
                reasons.add(objection)
            elif not self._is_covered(mesh.box_xyxy_px, known + new):
                new.append(mesh)
        return sorted(new, key=lambda mesh: -mesh.region.side_px), reasons

    def _is_covered(self, box: Box, meshes: list[Mesh]) -> bool:
        """Whether the box may be a part of one of these faces, or the face itself."""
        return any(overlap(box, mesh.box_xyxy_px) > self._settings.max_overlap for mesh in meshes)

    def _apart(self, meshes: list[Mesh]) -> list[bool]:
        return stand_apart([mesh.box_xyxy_px for mesh in meshes], max_overlap=self._settings.max_overlap)

    def _found(
        self,
        image_HWC: NDArray[np.uint8],
        mesh: Mesh,
        lost: list[_Sighting],
        seconds: float,
        min_similarity: float,
    ) -> _Sighting:
        """The sighting of a face that the search found: of the lost track that it continues, or of a new one.

        A track that is continued is removed from `lost`.
        """
        sighting = self._sighting(image_HWC, mesh, -1, ((seconds, mesh.region),))
        candidates = {
            similarity(track.pattern, sighting.pattern): track
            for track in lost
            if self._can_move(track, mesh.region, seconds)
        }
        best = max(candidates, default=-1.0)
        if best < min_similarity:
            return replace(sighting, track_number=next(self._numbers))
        track = candidates[best]
        lost.remove(track)
        return replace(
            sighting,
            track_number=track.track_number,
            places=self._places(track, mesh.region, seconds),
        )

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
        if _side_px(mesh.box_xyxy_px) < self._settings.min_face_px:
            return FACE_TOO_SMALL
        height_px, width_px = image_HWC.shape[:2]
        inside = share_inside(mesh.box_xyxy_px, width_px=width_px, height_px=height_px)
        return FACE_CUT_OFF if inside < self._settings.min_share_inside else ""

    def _can_move(self, track: _Sighting, new: Region, seconds: float) -> bool:
        """Whether a face can have gone to this place and size from each that it had, by now."""
        return all(self._within_limits(old, new, seconds - before) for before, old in track.places)

    def _within_limits(self, old: Region, new: Region, gap_seconds: float) -> bool:
        steps = min(max(1.0, gap_seconds / _STEP_SECONDS), _MAX_STEPS)
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


def _side_px(box: Box) -> float:
    return max(box[2] - box[0], box[3] - box[1])


def _without(tracks: list[_Sighting], others: list[_Sighting]) -> list[_Sighting]:
    numbers = {track.track_number for track in others}
    return [track for track in tracks if track.track_number not in numbers]


def _shown(box_xyxy_px: Box, meshes: list[Mesh], min_iou: float) -> bool:
    return any(iou(box_xyxy_px, mesh.box_xyxy_px) > min_iou for mesh in meshes)


def _tracked_face(sighting: _Sighting, image_HWC: NDArray[np.uint8]) -> TrackedFace:
    mesh = sighting.mesh
    height_px, width_px = image_HWC.shape[:2]
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
        mesh_468x3=mesh.points_468x3,
        brightness=brightness(sighting.grey_HW),
        share_inside=share_inside(mesh.box_xyxy_px, width_px=width_px, height_px=height_px),
    )
