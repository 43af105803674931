"""The frames of a clip: possible starts, far-apart frames, random draws."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from mien.data.store import TrackStore

Positions = NDArray[np.int64]

_FRAMES_KEPT = 1 << 20  # the pool caches possible draws of so many frames: about 50 MB


class NoClipsError(ValueError):
    """A store (or a loader's share of it) that holds nothing to train on; the message suggests a change."""


class FrameRequest(Protocol):
    """The frames of one row of a batch; `mien.train.method.ClipRequest` implements it."""

    @property
    def clip_len(self) -> int:
        """Frames of a clip; 0: no clip."""

    @property
    def stride(self) -> int:
        """Raw frames from one clip frame to the next."""

    @property
    def num_far_frames(self) -> int:
        """Frames drawn from the whole track, far apart; 0: none."""

    @property
    def min_gap_frames(self) -> int:
        """Far frames lie at least this many raw frames apart where the track allows."""


def legal_starts(
    source_frame_indices: NDArray[np.integer], runs: Sequence[tuple[int, int]], *, clip_len: int, stride: int
) -> Positions:
    """Positions a such that a, a + stride, ... are clip_len frames of one run, no source frame shown twice.

    A run of n frames has max(0, n - (clip_len - 1) * stride) starts, minus those with a repeated frame.
    """
    span = (clip_len - 1) * stride + 1
    starts = [np.arange(first, first + length - span + 1) for first, length in runs if length >= span]
    candidates = np.concatenate(starts).astype(np.int64) if starts else np.empty(0, np.int64)
    indices = np.asarray(source_frame_indices, np.int64)
    if bool(np.all(np.diff(indices) > 0)):
        return candidates
    shown = indices[candidates[:, None] + stride * np.arange(clip_len)]
    return candidates[np.all(np.diff(shown, axis=1) > 0, axis=1)]


def far_positions(
    slots: NDArray[np.integer], *, num_frames: int, min_gap_frames: int, rng: np.random.Generator
) -> Positions:
    """`num_frames` ascending positions, drawn uniformly among the sets at least `min_gap_frames` slots apart.

    If the track is too short for that, the largest possible gap is used (at least 1).
    ValueError if the track has fewer frames. `slots` ascends strictly.
    """
    return _FarFrames.of(slots, num_frames=num_frames, min_gap_frames=min_gap_frames).draw(rng)


@dataclass(frozen=True)
class _FarFrames:
    """The sets of far-apart positions of one track, counted once for many draws."""

    slots: Positions
    gap: int
    ways: list[NDArray[np.float64]]  # `_ways_to_go_on`

    @classmethod
    def of(cls, slots: NDArray[np.integer], *, num_frames: int, min_gap_frames: int) -> _FarFrames:
        if len(slots) < num_frames:
            raise ValueError(f"{num_frames} frames asked of a track that has {len(slots)}")
        own = np.asarray(slots, np.int64)
        gap = _widest_gap(own, num_frames, min_gap_frames)
        return cls(own, gap, _ways_to_go_on(own, num_frames, gap))

    def draw(self, rng: np.random.Generator) -> Positions:
        chosen: list[int] = []
        first_allowed = 0
        for ways in reversed(self.ways):
            cumulative = np.cumsum(ways[first_allowed:])
            draw = rng.random() * cumulative[-1]
            chosen.append(first_allowed + int(cumulative.searchsorted(draw, side="right")))
            if len(chosen) < len(self.ways):
                first_allowed = int(self.slots.searchsorted(self.slots[chosen[-1]] + self.gap))
        return np.array(chosen, np.int64)


@dataclass(frozen=True)
class ClipDraw:
    """The frames of one row of a batch: positions in the rows of one track."""

    track: int
    clip_positions: Positions
    far_positions: Positions


@dataclass(frozen=True)
class _LegalFrames:
    """The possible draws from one track."""

    starts: Positions  # first positions of clips
    distinct: Positions  # candidates for far frames
    far: _FarFrames | None  # None: no far frames requested

    def draw_far(self, rng: np.random.Generator) -> Positions:
        return self.distinct[self.far.draw(rng)] if self.far else self.distinct


class ClipPool:
    """The videos of a store that have a legal clip, and random draws from them.

    A draw depends on (seed, epoch, video, copy) alone, so it is the same on every worker, rank and resume.
    """

    def __init__(self, store: TrackStore, request: FrameRequest) -> None:
        self.store = store
        self.request = request
        self._clip_steps = request.stride * np.arange(request.clip_len, dtype=np.int64)
        self._kept: dict[int, _LegalFrames] = {}
        self._frames_kept = 0
        self._starts_of_track = np.array(
            [len(self._starts(track)) for track in range(store.num_tracks)], np.int64
        )
        self._tracks_of_video = _group_by_video(store, self._starts_of_track)
        self.num_videos_in_store = len({store.video_number(track) for track in range(store.num_tracks)})
        if not self._tracks_of_video:
            raise NoClipsError(self._why_empty())

    @property
    def num_videos(self) -> int:
        """Videos with at least one legal start."""
        return len(self._tracks_of_video)

    @property
    def num_videos_dropped(self) -> int:
        """Videos of the store without a legal start."""
        return self.num_videos_in_store - self.num_videos

    @property
    def num_starts(self) -> int:
        """Legal starts in all videos together."""
        return int(self._starts_of_track.sum())

    def tracks(self, video: int) -> tuple[int, ...]:
        """The tracks of the pool's video number `video` (0 .. num_videos - 1) that have a legal start."""
        return self._tracks_of_video[video]

    def starts_by_track(self) -> list[int]:
        """How many legal starts each track of the store has."""
        counts: list[int] = self._starts_of_track.tolist()
        return counts

    def draw(self, video: int, *, seed: Sequence[int]) -> ClipDraw:
        """A random clip of a video, all legal starts equally likely, and far frames of the same track.

        `seed` is any sequence of non-negative numbers; the video's own number is added to it.
        """
        tracks = self._tracks_of_video[video]
        rng = np.random.default_rng((*seed, self.store.video_number(tracks[0])))
        counts = self._starts_of_track[list(tracks)]
        pick = int(rng.integers(counts.sum()))
        which = int(np.searchsorted(np.cumsum(counts), pick, side="right")) if len(tracks) > 1 else 0
        track = tracks[which]
        legal = self._legal(track)
        start = legal.starts[pick - int(counts[:which].sum())]
        return ClipDraw(track, start + self._clip_steps, legal.draw_far(rng))

    def _legal(self, track: int) -> _LegalFrames:
        """Cached while there is room, because a small corpus is drawn from many times."""
        if track in self._kept:
            return self._kept[track]
        found = self._find_legal(track)
        num_frames = len(self.store.slots(track))
        if self._frames_kept + num_frames <= _FRAMES_KEPT:
            self._frames_kept += num_frames
            self._kept[track] = found
        return found

    def __getstate__(self) -> dict[str, Any]:
        """The cache is not pickled; each loader worker fills its own."""
        return {**self.__dict__, "_kept": {}, "_frames_kept": 0}

    def _find_legal(self, track: int) -> _LegalFrames:
        starts = self._starts(track)
        if not self.request.num_far_frames:
            return _LegalFrames(starts, np.empty(0, np.int64), None)
        distinct = _first_showings(self.store.source_frame_indices(track))
        far = _FarFrames.of(
            np.asarray(self.store.slots(track))[distinct],
            num_frames=self.request.num_far_frames,
            min_gap_frames=self.request.min_gap_frames,
        )
        return _LegalFrames(starts, distinct, far)

    def _starts(self, track: int) -> Positions:
        request = self.request
        indices = self.store.source_frame_indices(track)
        if request.clip_len:
            return legal_starts(
                indices, self.store.runs(track), clip_len=request.clip_len, stride=request.stride
            )
        distinct = _first_showings(indices)
        return distinct if len(distinct) >= request.num_far_frames else distinct[:0]

    def _why_empty(self) -> str:
        request = self.request
        span = (request.clip_len - 1) * request.stride + 1
        wanted = (
            f"a run of {span} frames at 25 fps (clip_len {request.clip_len}, stride {request.stride})"
            if request.clip_len
            else f"{request.num_far_frames} distinct frames"
        )
        return (
            f"none of the {self.num_videos_in_store} videos ({self.store.num_tracks} tracks) has {wanted}. "
            "Look at the store with `mien inspect`; prepare longer videos, or ask for shorter clips."
        )


def _first_showings(source_frame_indices: NDArray[np.integer]) -> Positions:
    """Positions that show a source frame for the first time."""
    indices = np.asarray(source_frame_indices, np.int64)
    return np.flatnonzero(np.diff(indices, prepend=-1) > 0).astype(np.int64)


def _group_by_video(store: TrackStore, starts_of_track: Positions) -> list[tuple[int, ...]]:
    tracks_of: dict[int, list[int]] = {}
    for track in np.flatnonzero(starts_of_track):
        tracks_of.setdefault(store.video_number(int(track)), []).append(int(track))
    return [tuple(tracks_of[video]) for video in sorted(tracks_of)]


def _widest_gap(slots: Positions, num_frames: int, wanted: int) -> int:
    """The largest gap <= wanted for which num_frames positions exist."""
    low, high = 1, max(wanted, 1)
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if _fits(slots, num_frames, middle) else (low, middle - 1)
    return low


def _fits(slots: Positions, num_frames: int, gap: int) -> bool:
    position = 0
    for _ in range(num_frames - 1):
        position = int(np.searchsorted(slots, slots[position] + gap))
        if position == len(slots):
            return False
    return True


def _ways_to_go_on(slots: Positions, num_frames: int, gap: int) -> list[NDArray[np.float64]]:
    """ways[r][i]: the number of ways to choose r positions after i, each at least `gap` beyond the last."""
    following = np.searchsorted(slots, slots + gap)
    ways = [np.ones(len(slots))]
    for _ in range(num_frames - 1):
        from_here_on = np.append(np.cumsum(ways[-1][::-1])[::-1], 0.0)
        ways.append(from_here_on[following])
    return ways
