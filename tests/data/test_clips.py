from __future__ import annotations

import pickle
from collections import Counter
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mien.data.clips import ClipPool, NoClipsError, far_positions, legal_starts
from mien.train.method import ClipRequest

REQUEST = ClipRequest()


class IndexOnly:
    """A store of tracks without pictures: (video, runs, source frame indices)."""

    def __init__(self, *tracks):
        self.tracks = tracks
        self.num_tracks = len(tracks)

    def video_number(self, track):
        return self.tracks[track][0]

    def runs(self, track):
        return self.tracks[track][1]

    def source_frame_indices(self, track):
        return np.asarray(self.tracks[track][2])

    def slots(self, track):
        slots = []
        for number, (_, length) in enumerate(self.runs(track)):
            first = slots[-1] + 10 if number else 0
            slots += range(first, first + length)
        return np.array(slots)


def whole(num_frames):
    return [(0, num_frames)], range(num_frames)


def starts(num_frames, runs=None, *, clip_len=9, stride=2):
    return legal_starts(
        np.arange(num_frames), runs or [(0, num_frames)], clip_len=clip_len, stride=stride
    ).tolist()


@pytest.mark.parametrize(("num_frames", "expected"), [(16, 0), (17, 1), (20, 4), (180, 164)])
def test_number_of_starts_in_one_run(num_frames, expected):
    assert starts(num_frames) == list(range(expected))


def test_a_hole_at_index_10_of_40_frames_leaves_0_plus_13_starts():
    # Frame 10 has no face and no row, so rows 10..38 are frames 11..39.
    found = starts(39, [(0, 10), (10, 29)])
    assert found == list(range(10, 23))


def test_other_clip_lengths_need_the_spans_of_the_paper():
    for clip_len, span in [(7, 13), (9, 17), (11, 21), (13, 25), (15, 29)]:
        assert starts(span - 1, clip_len=clip_len) == []
        assert starts(span, clip_len=clip_len) == [0]


def loops(indices, runs, clip_len, stride):
    found = []
    for first, length in runs:
        for start in range(first, first + length):
            chosen = [start + stride * i for i in range(clip_len)]
            inside = chosen[-1] < first + length
            if inside and len({indices[position] for position in chosen}) == clip_len:
                found.append(start)
    return found


@settings(max_examples=60)
@given(
    st.lists(st.integers(1, 40), min_size=1, max_size=4), st.integers(1, 9), st.integers(1, 3), st.randoms()
)
def test_starts_are_those_that_loops_find_when_a_slow_source_repeats_frames(
    lengths, clip_len, stride, random
):
    runs, steps = [], []
    for length in lengths:
        runs.append((len(steps), length))
        steps += [1] + [random.choice([0, 1, 1, 2]) for _ in range(length - 1)]
    indices = np.cumsum(steps)
    found = legal_starts(indices, runs, clip_len=clip_len, stride=stride).tolist()
    assert found == loops(indices.tolist(), runs, clip_len, stride)


def test_a_10_fps_source_has_no_legal_start():
    indices = np.round(np.arange(100) * 10 / 25).astype(int)
    assert len(legal_starts(indices, [(0, 100)], clip_len=9, stride=2)) == 0


def test_far_frames_are_uniform_over_all_pairs_far_enough_apart():
    slots = np.array([0, 1, 2, 3, 8, 9, 12])
    pairs = [pair for pair in combinations(range(7), 2) if slots[pair[1]] - slots[pair[0]] >= 5]
    rng = np.random.default_rng(0)
    draws = Counter(
        tuple(far_positions(slots, num_frames=2, min_gap_frames=5, rng=rng).tolist()) for _ in range(4000)
    )
    assert sorted(draws) == pairs
    expected = 4000 / len(pairs)
    chi_square = sum((count - expected) ** 2 / expected for count in draws.values())
    assert chi_square < 45  # 99.99 % quantile for 13 degrees of freedom is 41.3


def test_far_frames_of_a_short_track_are_as_far_apart_as_it_allows():
    rng = np.random.default_rng(0)
    assert far_positions(np.arange(10), num_frames=2, min_gap_frames=17, rng=rng).tolist() == [0, 9]
    assert far_positions(np.arange(10), num_frames=4, min_gap_frames=17, rng=rng).tolist() == [0, 3, 6, 9]
    with pytest.raises(ValueError, match="3 frames asked of a track that has 2"):
        far_positions(np.arange(2), num_frames=3, min_gap_frames=1, rng=rng)


def test_a_clip_is_a_plus_2i_inside_one_run_of_one_video():
    store = IndexOnly((7, [(0, 20), (20, 30)], range(50)), (7, *whole(18)), (9, *whole(40)))
    pool = ClipPool(store, REQUEST)
    for draw_number in range(200):
        draw = pool.draw(0, seed=(3, draw_number))
        assert store.video_number(draw.track) == 7
        clip = draw.clip_positions
        assert np.diff(clip).tolist() == [2] * 8
        assert any(first <= clip[0] and clip[-1] < first + n for first, n in store.runs(draw.track))
        slots = store.slots(draw.track)[draw.far_positions]
        assert slots[1] - slots[0] >= 17


def test_every_legal_start_of_a_video_is_equally_likely():
    store = IndexOnly((0, *whole(17)), (0, *whole(19)))
    pool = ClipPool(store, REQUEST)
    draws = Counter()
    for number in range(2000):
        draw = pool.draw(0, seed=(number,))
        draws[draw.track, int(draw.clip_positions[0])] += 1
    assert sorted(draws) == [(0, 0), (1, 0), (1, 1), (1, 2)]
    assert all(abs(count - 500) < 100 for count in draws.values())


def test_a_draw_follows_from_seed_epoch_and_video_alone():
    tracks = [(video, *whole(60)) for video in range(5)]
    few, many = ClipPool(IndexOnly(*tracks[2:3]), REQUEST), ClipPool(IndexOnly(*tracks), REQUEST)
    first, again = few.draw(0, seed=(1, 2)), many.draw(2, seed=(1, 2))
    assert first.clip_positions.tolist() == again.clip_positions.tolist()
    assert first.far_positions.tolist() == again.far_positions.tolist()
    epochs = {int(few.draw(0, seed=(1, epoch)).clip_positions[0]) for epoch in range(20)}
    assert len(epochs) > 5  # the start is drawn anew every epoch


def test_what_is_remembered_of_tracks_changes_no_draw_and_stays_within_bounds(monkeypatch):
    store = IndexOnly(*((video, [(0, 40)], range(40)) for video in range(3)))

    def draws(pool):
        return [
            (draw.track, draw.clip_positions.tolist(), draw.far_positions.tolist())
            for epoch in range(4)
            for video in range(3)
            for draw in [pool.draw(video, seed=(0, epoch))]
        ]

    roomy = ClipPool(store, REQUEST)
    expected = draws(roomy)
    assert draws(roomy) == expected  # from memory
    assert draws(pickle.loads(pickle.dumps(roomy))) == expected
    assert len(pickle.dumps(roomy)) == len(pickle.dumps(ClipPool(store, REQUEST)))
    monkeypatch.setattr("mien.data.clips._FRAMES_KEPT", 80)
    tight = ClipPool(store, REQUEST)
    assert draws(tight) == expected
    assert len(tight._kept) == 2


def test_videos_without_a_legal_start_are_dropped_and_counted():
    pool = ClipPool(IndexOnly((0, *whole(16)), (1, *whole(17)), (2, *whole(30)), (2, *whole(3))), REQUEST)
    assert (pool.num_videos, pool.num_videos_dropped, pool.num_starts) == (2, 1, 1 + 14)
    assert pool.tracks(1) == (2,)


def test_a_store_without_any_clip_says_what_is_missing():
    with pytest.raises(NoClipsError, match=r"none of the 1 videos \(1 tracks\) has a run of 17 frames"):
        ClipPool(IndexOnly((0, *whole(16))), REQUEST)
    with pytest.raises(NoClipsError, match="none of the 0 videos"):
        ClipPool(IndexOnly(), REQUEST)


def test_a_request_without_a_clip_takes_any_track_with_enough_frames():
    request = ClipRequest(clip_len=0, num_far_frames=2)
    pool = ClipPool(IndexOnly((0, *whole(1)), (1, *whole(2)), (2, *whole(5))), request)
    assert pool.num_videos == 2
    draw = pool.draw(0, seed=(0,))
    assert draw.clip_positions.tolist() == []
    assert draw.far_positions.tolist() == [0, 1]
