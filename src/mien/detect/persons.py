"""Tracks of one file joined into persons, so that a face keeps its id after a break.

A track ends rather than follow a face it is not sure of: in a fast turn, where two faces cross, behind a
hand. Each new track is compared with the persons seen before it: how similar the aligned faces are in lines
and colours, and, within a scene, whether one can have come from where the other was lost. No face recognition
model is used; docs/detect.md describes the limits. A person is never in a frame twice, so a person seen
beside a track is no candidate for it.

The weights are rough log-likelihood ratios, from pairs of faces of the same and of different clips;
docs/detect.md has the figures.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace

import cv2
import numpy as np
from numpy.typing import NDArray

from mien.faces.appearance import Pattern, face_pattern, similarity
from mien.faces.boxes import stand_apart
from mien.faces.tracked import FrameFaces, TrackedFace

_LOOKS_KEPT = 8  # of a person: faces that differ from one another
_NEW_LOOK_BELOW = 0.75  # similarity to the looks known
_FRAMES_BETWEEN_LOOKS = 5
_TIMES_LONGER_IN_PART = 5
_MOST_FRAMES_WAITED = 64
_PERSONS_KEPT = 100  # the one unseen for longest is forgotten first
_COLOUR_GRID = 6

_MIN_EVIDENCE = 0.0
_MIN_EVIDENCE_ACROSS_CUTS = 1.5
_MIN_EVIDENCE_FOR_A_GLIMPSE = -2.0  # a track that ended at once: rather the person lost here than a new one


@dataclass(frozen=True, eq=False)
class _Look:
    """One aligned face: its lines, and its colours (Lab) on a coarse grid."""

    lines: Pattern
    colour_36x3: NDArray[np.float32]

    @classmethod
    def of(cls, face: TrackedFace) -> _Look:
        lines = face_pattern(cv2.cvtColor(face.crop_HWC, cv2.COLOR_RGB2GRAY))
        coarse = cv2.resize(face.crop_HWC, (_COLOUR_GRID, _COLOUR_GRID), interpolation=cv2.INTER_AREA)
        colour = cv2.cvtColor(coarse, cv2.COLOR_RGB2LAB).reshape(-1, 3).astype(np.float32)
        return cls(lines, colour)


@dataclass(frozen=True)
class _Place:
    x_px: float
    y_px: float
    side_px: float
    seconds: float
    scene_number: int

    @classmethod
    def of(cls, face: TrackedFace, frame: FrameFaces) -> _Place:
        left, top, right, bottom = face.box_xyxy_px
        side_px = max(right - left, bottom - top)
        middle = ((left + right) / 2, (top + bottom) / 2)
        return cls(*middle, side_px, frame.seconds, frame.scene_number)


@dataclass(eq=False)
class _Person:
    """A person seen, with their looks; `places` are the last two, some frames apart."""

    number: int
    places: tuple[_Place, _Place]
    looks: deque[_Look] = field(default_factory=lambda: deque(maxlen=_LOOKS_KEPT))

    def remember(self, look: _Look) -> None:
        if not self.looks or _similarity([look], self.looks)[0] < _NEW_LOOK_BELOW:
            self.looks.append(look)


@dataclass(eq=False)
class _Track:
    """A run of frames of one face; `person` is None until decided."""

    number: int
    began: _Place
    last: _Place
    num_frames: int = 0
    person: _Person | None = None
    is_joined: bool = False  # to a person who had been lost
    looks: list[_Look] = field(default_factory=list)
    whole_since: float | None = None  # seconds: the first time that no other face's box touched its own
    beside: set[_Track] = field(default_factory=set)  # others of its frames, until it has a person

    def look_at(self, face: TrackedFace, *, is_whole: bool, seconds: float) -> None:
        """Keep a look; looks of the whole face replace those of a face partly covered by another."""
        if is_whole and self.whole_since is None:
            self.whole_since = seconds
            self.looks = []
        if is_whole or self.whole_since is None:
            self.looks.append(_Look.of(face))

    def is_seen_well(self, *, at_seconds: float, patience_seconds: float) -> bool:
        """Whether it was seen for long enough: whole, or else for five times as long."""
        if self.whole_since is not None and at_seconds - self.whole_since >= patience_seconds:
            return True
        waited_seconds = at_seconds - self.began.seconds
        too_long = self.num_frames >= _MOST_FRAMES_WAITED
        return too_long or waited_seconds >= _TIMES_LONGER_IN_PART * patience_seconds


class PersonLinker:
    """The persons of one file. A new track is observed for up to `patience_seconds` before it is assigned to
    a person; frames wait for that, so live video has 0.
    """

    def __init__(self, *, patience_seconds: float = 0.2) -> None:
        self._patience = patience_seconds
        self._persons: list[_Person] = []
        self._next_number = 0
        self._tracks: dict[int, _Track] = {}  # those of the last frame
        self._waiting: deque[tuple[FrameFaces, dict[int, _Track]]] = deque()

    def link(self, frames: Iterable[FrameFaces]) -> Iterator[FrameFaces]:
        """The same frames with the persons' numbers, from 0 in the order of appearance, as track numbers."""
        for frame in frames:
            self._take(frame)
            yield from self._decided()
        self._decide(at_seconds=math.inf)
        yield from self._decided()

    def _take(self, frame: FrameFaces) -> None:
        apart = stand_apart([face.box_xyxy_px for face in frame.faces], max_overlap=0.0)
        tracks = {
            face.track_number: self._went_on(face, frame, is_whole=is_whole)
            for face, is_whole in zip(frame.faces, apart, strict=True)
        }
        ended = [track for number, track in self._tracks.items() if number not in tracks]
        self._decide(at_seconds=frame.seconds, ended=ended)
        self._tracks = tracks
        self._waiting.append((frame, tracks))
        for track in self._undecided():
            track.beside |= {*tracks.values()} - {track}
        self._decide(at_seconds=frame.seconds)

    def _went_on(self, face: TrackedFace, frame: FrameFaces, *, is_whole: bool) -> _Track:
        place = _Place.of(face, frame)
        track = self._tracks.get(face.track_number)
        if track is None:
            track = _Track(face.track_number, began=place, last=place)
        track.last = place
        track.num_frames += 1
        if track.person is None:
            track.look_at(face, is_whole=is_whole, seconds=frame.seconds)
            return track
        if is_whole and track.num_frames % _FRAMES_BETWEEN_LOOKS == 0:
            track.person.remember(_Look.of(face))
        _move(track.person, place)
        return track

    def _undecided(self) -> list[_Track]:
        return [track for track in self._tracks.values() if track.person is None]

    def _decide(self, *, at_seconds: float, ended: Sequence[_Track] = ()) -> None:
        """Assign the tracks that were seen for long enough, have ended, or can only be a new person. The
        others take part, so that no track takes a person that fits another better.
        """
        tracks = self._undecided()
        due = [
            track
            for track in tracks
            if track.is_seen_well(at_seconds=at_seconds, patience_seconds=self._patience)
            or track in ended
            or not self._free(track)
        ]
        if not due:
            return
        best = self._best_persons(tracks, ended)
        for track in sorted(due, key=lambda track: track.number):
            self._settle(track, best.get(track.number), ended)
        self._forget()

    def _free(self, track: _Track) -> list[_Person]:
        """Candidates for the track: persons never seen in the same frame."""
        beside = {other.person for other in track.beside}
        return [person for person in self._persons if person not in beside]

    def _best_persons(self, tracks: list[_Track], ended: Sequence[_Track]) -> dict[int, _Person]:
        """The assignment of persons to tracks with the most evidence, where there is enough."""
        persons = self._persons
        if not persons:
            return {}
        evidence = np.zeros((len(tracks), len(persons)))
        for row, track in enumerate(tracks):
            for person in self._free(track):
                found = _evidence(track, person) - _least(track, person, track in ended)
                evidence[row, persons.index(person)] = max(0.0, found)
        pairs = [(row, column) for row, column in best_pairs(evidence) if evidence[row, column] > 0]
        return {tracks[row].number: persons[column] for row, column in pairs}

    def _settle(self, track: _Track, person: _Person | None, ended: Sequence[_Track]) -> None:
        track.is_joined = person is not None
        if person is None:
            person = _Person(self._next_number, (track.began, track.began))
            self._next_number += 1
            self._persons.append(person)
        track.person = person
        person.places = (track.began, track.last)
        if track not in ended or not person.looks:
            for look in track.looks:
                person.remember(look)
        track.looks, track.beside = [], set()

    def _forget(self) -> None:
        """Drop those unseen for longest, where there are too many; never a person in the picture."""
        here = {track.person for track in self._tracks.values()}
        away = [person for person in self._persons if person not in here]
        away.sort(key=lambda person: person.places[-1].seconds)
        for person in away[: max(0, len(self._persons) - _PERSONS_KEPT)]:
            self._persons.remove(person)

    def _decided(self) -> Iterator[FrameFaces]:
        """The first waiting frames whose faces all have a person."""
        while self._waiting and all(track.person for track in self._waiting[0][1].values()):
            frame, tracks = self._waiting.popleft()
            faces = tuple(_of_person(face, tracks[face.track_number], frame.seconds) for face in frame.faces)
            yield replace(frame, faces=faces)


def _of_person(face: TrackedFace, track: _Track, seconds: float) -> TrackedFace:
    assert track.person is not None
    joined_seconds = seconds - track.began.seconds if track.is_joined else math.nan
    return replace(face, track_number=track.person.number, joined_seconds=joined_seconds)


def best_pairs(gain_RC: NDArray[np.float64]) -> list[tuple[int, int]]:
    """(row, column) pairs with the largest sum of gains: as many as there can be, none twice in either.

    Shortest augmenting paths (Crouse, IEEE Trans. Aerospace and Electronic Systems 52(4), 2016); SciPy has
    the same, and would be a third of what the detector installs.
    """
    if gain_RC.shape[0] > gain_RC.shape[1]:
        return [(row, column) for column, row in best_pairs(gain_RC.T)]
    R, C = gain_RC.shape
    price_R, price_C = np.zeros(R), np.zeros(C)
    row_of_C, column_of_R = np.full(C, -1), np.full(R, -1)
    for start in range(R):
        length_C, before_C = np.full(C, np.inf), np.full(C, -1)
        is_done_C = np.zeros(C, bool)
        row, length, end, rows = start, 0.0, -1, [start]
        while end < 0:
            through_C = length - gain_RC[row] - price_R[row] - price_C
            shorter_C = ~is_done_C & (through_C < length_C)
            length_C[shorter_C], before_C[shorter_C] = through_C[shorter_C], row
            column = int(np.argmin(np.where(is_done_C, np.inf, length_C)))
            length, is_done_C[column] = float(length_C[column]), True
            row = int(row_of_C[column])
            end = column if row < 0 else -1
            rows += [row] if row >= 0 else []
        price_R[start] += length
        price_R[rows[1:]] += length - length_C[column_of_R[rows[1:]]]
        price_C[is_done_C] -= length - length_C[is_done_C]
        while end >= 0:
            row = int(before_C[end])
            row_of_C[end], column_of_R[row], end = row, end, int(column_of_R[row])
    return list(enumerate(column_of_R.tolist()))


def _least(track: _Track, person: _Person, is_glimpse: bool) -> float:
    if track.began.scene_number != person.places[-1].scene_number:
        return _MIN_EVIDENCE_ACROSS_CUTS
    return _MIN_EVIDENCE_FOR_A_GLIMPSE if is_glimpse else _MIN_EVIDENCE


def _move(person: _Person, place: _Place) -> None:
    earlier, last = person.places
    if place.seconds - earlier.seconds > 0.2 or place.scene_number != last.scene_number:
        earlier = last
    person.places = (earlier, place)


def _similarity(looks: Iterable[_Look], known: Iterable[_Look]) -> tuple[float, float]:
    """The greatest similarity of lines, -1 to 1, and the least mean difference of colours, in Lab units."""
    pairs = [(look, other) for look in looks for other in known]
    lines = max(similarity(look.lines, other.lines) for look, other in pairs)
    colours = min(float(np.abs(look.colour_36x3 - other.colour_36x3).mean()) for look, other in pairs)
    return lines, colours


def _evidence(track: _Track, person: _Person) -> float:
    """Evidence that the track is this person's: roughly a log-likelihood ratio, above 0 for."""
    lines, colours = _similarity(track.looks, person.looks)
    for_lines = float(np.clip(14 * (lines - 0.47), -3, 5))
    for_colours = float(np.clip(0.35 * (8 - colours), -3, 2))
    return for_lines + for_colours + _for_place(track.began, person)


def _for_place(began: _Place, person: _Person) -> float:
    """Whether a face can have come here from where the person was lost; 0 after a cut, weaker with time."""
    earlier, last = person.places
    gap_seconds = max(0.0, began.seconds - last.seconds)
    if began.scene_number != last.scene_number:
        return 0.0
    speed_seconds = last.seconds - earlier.seconds
    ahead = min(gap_seconds, 1.0) / speed_seconds if speed_seconds > 0 else 0.0
    going_on = (
        last.x_px + ahead * (last.x_px - earlier.x_px),
        last.y_px + ahead * (last.y_px - earlier.y_px),
    )
    shift_px = min(math.dist((began.x_px, began.y_px), at) for at in (going_on, (last.x_px, last.y_px)))
    reach = 0.3 + 1.5 * gap_seconds  # in faces
    shift = shift_px / max(began.side_px, last.side_px) / reach
    growth = abs(math.log(began.side_px / last.side_px)) / (0.2 + 0.5 * gap_seconds)
    return max(-4.0, 2.5 - 2 * shift**2 - growth**2) * math.exp(-gap_seconds / 2)
