"""A track's number stays with one person: the follower ends a track rather than let it pass to another."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mien.faces.follow import ANY_RATE, ON_GRID, FaceFollower
from mien.faces.tracked import (
    FACE_CUT_OFF,
    FACE_TOO_SMALL,
    FACES_OVERLAP,
    LOW_SCORE,
    NO_FACE,
    TrackSettings,
)
from mien.video import Frame


def assert_no_number_passes_on(story):
    assert all(len(people) == 1 for people in story.people_of_tracks.values()), story.people_of_tracks


def test_one_face_that_moves_is_one_track_and_rarely_searched_for(follow_planted, planted):
    story = follow_planted([[planted(1, 150 + 3 * t)] for t in range(100)])
    assert story.frames_of_tracks == {0: list(range(100))}
    assert story.reasons == [""] * 100
    assert story.searches == 4  # at the start, then once a second


def test_several_faces_are_several_tracks(follow_planted, planted):
    story = follow_planted([[planted(1, 120), planted(2, 320), planted(3, 520)] for _ in range(30)])
    assert story.frames_of_tracks == {number: list(range(30)) for number in range(3)}
    assert_no_number_passes_on(story)


def test_numbers_do_not_swap_when_faces_cross(follow_planted, planted):
    for speed in (3, 8, 15):
        frames = [[planted(1, 100 + speed * t), planted(2, 540 - speed * t)] for t in range(int(440 / speed))]
        story = follow_planted(frames)
        assert_no_number_passes_on(story)
        ends = {person: [frame for frame in story.frames if person in frame.values()] for person in (1, 2)}
        assert all(len(seen) > 10 for seen in ends.values())
        assert FACES_OVERLAP in story.reasons or len(story.people_of_tracks) > 2


def test_both_tracks_end_where_faces_meet(follow_planted, planted):
    frames = [[planted(1, 300), planted(2, max(360, 520 - 6 * t))] for t in range(80)]
    story = follow_planted(frames)
    assert_no_number_passes_on(story)
    assert story.frames[-1] == {}
    assert story.reasons[-1] == FACES_OVERLAP
    assert {person for people in story.people_of_tracks.values() for person in people} == {1, 2}


def test_a_face_taken_over_by_one_in_front_does_not_keep_its_number(follow_planted, planted):
    frames = [[planted(1, 300)] for _ in range(10)] + [[planted(1, 300), planted(2, 305)] for _ in range(10)]
    story = follow_planted(frames)
    assert_no_number_passes_on(story)
    assert story.people_of_tracks == {0: {1}, 1: {2}}


def test_a_face_that_leaves_and_comes_back_is_a_new_track(follow_planted, planted):
    frames = [[planted(1, 300)]] * 20 + [[]] * 10 + [[planted(1, 300)]] * 20
    story = follow_planted(frames)
    assert story.frames_of_tracks == {0: list(range(20)), 1: list(range(30, 50))}
    assert story.reasons[20:30] == [LOW_SCORE] + [NO_FACE] * 9 or story.reasons[20:30] == [NO_FACE] * 10


def test_one_face_that_leaves_takes_nobody_s_number_with_it(follow_planted, planted):
    frames = [[planted(1, 200), planted(2, 420)]] * 20 + [[planted(2, 420)]] * 20
    story = follow_planted(frames)
    assert_no_number_passes_on(story)
    assert sorted(map(len, story.frames_of_tracks.values())) == [20, 40]


def test_a_face_that_comes_later_is_found_within_a_second(follow_planted, planted):
    frames = [[planted(1, 200)]] * 5 + [[planted(1, 200), planted(2, 420)]] * 60
    tracks = follow_planted(frames).frames_of_tracks
    assert tracks[0] == list(range(65))
    assert 5 <= tracks[1][0] <= 5 + 25


def test_a_scene_cut_ends_every_track_though_faces_stay_in_place(follow_planted, planted):
    frames = [[planted(1, 200), planted(2, 420)]] * 20 + [[planted(3, 200), planted(4, 420)]] * 20
    story = follow_planted(frames, scenes=[0] * 20 + [1] * 20)
    assert_no_number_passes_on(story)
    assert [track[0] for track in story.frames_of_tracks.values()] == [0, 0, 20, 20]


def test_a_cut_between_two_people_before_the_same_background_ends_the_track(follow_planted, planted):
    story = follow_planted([[planted(1, 300)]] * 20 + [[planted(2, 300)]] * 20)
    assert story.people_of_tracks == {0: {1}, 1: {2}}


def test_a_flash_is_no_cut(follow_planted, planted):
    lights = [1.0] * 10 + [1.6] + [1.0] * 10 + [0.4] * 10
    assert follow_planted([[planted(1, 300)]] * 31, lights=lights).frames_of_tracks == {0: list(range(31))}


def test_a_jump_in_place_or_size_ends_the_track(follow_planted, planted):
    jump = follow_planted([[planted(1, 300)]] * 10 + [[planted(1, 345)]] * 10)
    assert [len(track) for track in jump.frames_of_tracks.values()] == [10, 10]
    growth = follow_planted([[planted(1, 300, side=100)]] * 10 + [[planted(1, 300, side=125)]] * 10)
    assert [len(track) for track in growth.frames_of_tracks.values()] == [10, 10]


def test_a_hole_in_time_ends_the_track(follow_planted, planted):
    seconds = [t / 25 for t in range(10)] + [1 + t / 25 for t in range(10)]
    story = follow_planted([[planted(1, 300)]] * 20, seconds=seconds)
    assert [len(track) for track in story.frames_of_tracks.values()] == [10, 10]


@pytest.mark.parametrize("rate", [10, 25, 50, 60, 120])
def test_at_any_frame_rate_a_face_is_one_track_and_searched_for_once_a_second(follow_planted, planted, rate):
    seconds = [t / rate for t in range(4 * rate)]
    frames = [[planted(1, 120 + 90 * time)] for time in seconds]
    story = follow_planted(frames, seconds=seconds, pace=ANY_RATE)
    assert story.frames_of_tracks == {0: list(range(4 * rate))}
    assert story.searches == 4


@pytest.mark.parametrize("rate", [25, 50, 60, 120])
def test_at_any_frame_rate_the_same_speed_is_too_fast(follow_planted, planted, rate):
    def tracks_at(px_in_40_ms):
        speed = px_in_40_ms / 0.04
        seconds = [t / rate for t in range(int(0.4 * rate))]
        frames = [[planted(1, 120 + speed * time)] for time in seconds]
        return len(follow_planted(frames, seconds=seconds, pace=ANY_RATE).frames_of_tracks)

    limit_px = 0.2 * 150  # of the region's side
    assert tracks_at(0.9 * limit_px) == 1
    assert tracks_at(1.2 * limit_px) > 1


@pytest.mark.parametrize(
    ("face", "reason"),
    [
        ({"side": 40.0}, FACE_TOO_SMALL),
        ({"score": 0.3}, LOW_SCORE),
        ({"x": 15.0}, FACE_CUT_OFF),
    ],
)
def test_a_face_that_is_not_taken_has_its_reason(follow_planted, planted, face, reason):
    story = follow_planted([[planted(1, **{"x": 300.0, **face})]] * 3)
    assert story.frames == [{}] * 3
    assert story.reasons == [reason] * 3


def test_faces_refused_beside_one_that_is_kept_are_reported(planted, planted_finder, paint_planted):
    people = [planted(0, 200), planted(1, 400, side=40), planted(2, 15, side=80)]
    planted_finder.people = people
    follower = FaceFollower(planted_finder, TrackSettings())
    looked = follower.look(Frame(0.0, 0, lambda: paint_planted(people)))
    assert (len(looked.faces), looked.refused) == (1, ("face_cut_off", "face_too_small"))
    planted_finder.people = people[:1]
    assert follower.look(Frame(1.0, 25, lambda: paint_planted(people[:1]))).refused == ()


def test_a_gallery_of_forty_faces_is_forty_tracks(follow_planted, planted):
    people = [planted(k, 40 + 80 * (k % 8), 36 + 72 * (k // 8), side=50.0) for k in range(40)]
    story = follow_planted([people] * 30)
    assert all(sorted(frame.values()) == list(range(40)) for frame in story.frames)
    assert len(story.people_of_tracks) == 40


def test_faces_that_only_a_search_for_small_ones_finds_are_followed(follow_planted, planted):
    small = [planted(k, 100 + 120 * k, side=50.0) for k in range(4)]
    story = follow_planted([small] * 60, only_in_tiles=small)
    assert all(sorted(frame.values()) == [0, 1, 2, 3] for frame in story.frames)
    assert story.small_searches == 3  # at the start, then once a second


def test_beside_a_large_face_of_an_ordinary_picture_small_ones_are_not_searched_for(follow_planted, planted):
    people = [planted(0, 300, side=160.0), planted(1, 500, side=50.0)]
    story = follow_planted([people] * 60, only_in_tiles=people[1:])
    assert story.small_searches == 0
    assert all(frame == {0: 0} for frame in story.frames)


def test_a_part_of_a_known_face_is_no_second_face(follow_planted, planted):
    whole, part = planted(0, 300, side=70.0), planted(1, 300, y=190.0, side=50.0)
    story = follow_planted([[part, whole]] * 30, only_in_tiles=[part])
    assert story.small_searches > 0
    assert all(frame == {0: 0} for frame in story.frames)


def test_where_nobody_is_seen_small_faces_are_searched_for_once_a_second(follow_planted):
    story = follow_planted([[]] * 100)
    assert story.searches == 100
    assert story.small_searches == 4


@pytest.mark.parametrize("pace", [ON_GRID, ANY_RATE])
@pytest.mark.parametrize("rate", [1, 2, 3, 5, 8, 12])
def test_in_a_slow_video_a_face_is_one_track(follow_planted, planted, rate, pace):
    """A head that sways by half its width in a second, so that the region of the frame before misses it."""
    seconds = [t / rate for t in range(12 * rate)]
    frames = [[planted(1, 300 + 60 * math.sin(4 * time))] for time in seconds]
    story = follow_planted(frames, seconds=seconds, pace=pace)
    assert story.frames_of_tracks == {0: list(range(12 * rate))}


def test_in_a_slow_video_one_missing_frame_does_not_end_the_track(follow_planted, planted):
    seconds = [t / 5 for t in range(40) if t != 20]
    story = follow_planted([[planted(1, 300)]] * 39, seconds=seconds)
    assert story.frames_of_tracks == {0: list(range(39))}


@pytest.mark.parametrize("rate", [2, 5, 12])
def test_in_a_slow_video_no_number_passes_to_somebody_else(follow_planted, planted, rate):
    seconds = [t / rate for t in range(40)]
    frames = [[planted(1, 300)]] * 20 + [[planted(2, 310)]] * 20
    assert follow_planted(frames, seconds=seconds).people_of_tracks == {0: {1}, 1: {2}}


def test_the_reason_found_comes_before_no_face(follow_planted, planted):
    people = [planted(1, 300, side=40.0), planted(2, 100, score=0.2)]
    assert follow_planted([people] * 2).reasons == [FACE_TOO_SMALL] * 2
    assert follow_planted([people[::-1]] * 2).reasons == [FACE_TOO_SMALL] * 2


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(st.integers(0, 2**32 - 1))
def test_however_people_walk_no_number_passes_on(follow_planted, planted, seed):
    generator = np.random.default_rng(seed)
    people = int(generator.integers(2, 5))
    steps = generator.normal(0, 3, (60, people, 2)).cumsum(axis=0) + generator.uniform(-6, 6, (people, 2))
    places = generator.uniform((80, 80), (560, 280), (people, 2)) + steps.cumsum(axis=0) / 4
    present = generator.random((60, people)).argsort(axis=0) > 2  # each is away now and then
    low, span = np.array((60, 60)), np.array((520, 240))
    places = low + np.abs((places - low) % (2 * span) - span)  # they turn round at the edges
    frames = [[planted(k, *places[t, k]) for k in range(people) if present[t, k]] for t in range(60)]
    assert_no_number_passes_on(follow_planted(frames, detect_every_frames=5))


def test_settings_that_make_no_sense_are_refused():
    with pytest.raises(ValueError, match="at least 1"):
        TrackSettings(detect_every_frames=0)
