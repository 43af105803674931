"""A face keeps its id after a break, and nobody gets another's."""

from __future__ import annotations

from collections import defaultdict

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scipy.optimize import linear_sum_assignment

from mien.detect.persons import PersonLinker, best_pairs
from tests.detect.planted_story import tracked
from tests.faces.planted_people import Planted


def ids_of(frames, *, scenes=None, patience_seconds=0.2):
    """Per frame, {face id: person}."""
    linked = list(PersonLinker(patience_seconds=patience_seconds).link(tracked(frames, scenes=scenes)))
    assert [look.source_frame_index for look in linked] == list(range(len(frames)))
    return [
        {face.track_number: _person_at(face, frames[look.source_frame_index]) for face in look.faces}
        for look in linked
    ]


def _person_at(face, people):
    return next(planted.person for planted in reversed(people) if planted.box == face.box_xyxy_px)


def people_of_ids(seen):
    people = defaultdict(set)
    for frame in seen:
        for number, person in frame.items():
            people[number].add(person)
    return dict(people)


@pytest.mark.parametrize("patience_seconds", [0.0, 0.2])
@pytest.mark.parametrize("speed", [3, 8, 15])
def test_ids_do_not_swap_where_two_faces_cross(speed, patience_seconds):
    ways = [speed * t for t in range(int(440 / speed))]
    ways += [ways[-1]] * 30  # time to find who was hidden
    frames = [[Planted(1, 100 + way), Planted(2, 540 - way)] for way in ways]
    seen = ids_of(frames, patience_seconds=patience_seconds)
    assert people_of_ids(seen) == {0: {1}, 1: {2}}
    assert len(seen[-1]) == 2


def test_ids_do_not_swap_where_two_faces_meet_and_turn_back():
    meet = [440 - abs(220 - 5 * t) for t in range(88)]
    frames = [[Planted(1, x - 120), Planted(2, 640 - x + 120)] for x in meet]
    assert people_of_ids(ids_of(frames)) == {0: {1}, 1: {2}}


def test_a_face_that_jumps_keeps_its_id():
    frames = [[Planted(1, 300)]] * 10 + [[Planted(1, 345)]] * 10
    assert people_of_ids(ids_of(frames)) == {0: {1}}


def test_a_face_that_leaves_and_comes_back_keeps_its_id():
    frames = [[Planted(1, 200), Planted(2, 450)]] * 30 + [[Planted(2, 450)]] * 100
    frames += [[Planted(2, 450), Planted(1, 150)]] * 40
    seen = ids_of(frames)
    assert people_of_ids(seen) == {0: {1}, 1: {2}}
    assert set(seen[-1]) == {0, 1}


def test_somebody_else_in_the_same_place_is_somebody_else():
    frames = [[Planted(1, 300)]] * 30 + [[]] * 5 + [[Planted(2, 300)]] * 30 + [[Planted(3, 300)]] * 30
    assert people_of_ids(ids_of(frames)) == {0: {1}, 1: {2}, 2: {3}}


def test_cuts_between_two_people_and_back_keep_both_ids():
    frames = ([[Planted(1, 300)]] * 25 + [[Planted(2, 340)]] * 25) * 3
    scenes = ([0] * 25 + [1] * 25) * 3
    assert people_of_ids(ids_of(frames, scenes=scenes)) == {0: {1}, 1: {2}}


def test_twins_side_by_side_are_two():
    frames = [[Planted(1, 200), Planted(1, 420)]] * 10 + [[]] * 3 + [[Planted(1, 200), Planted(1, 420)]] * 30
    seen = ids_of(frames)
    assert all(len(frame) in (0, 2) for frame in seen)
    assert {number for frame in seen for number in frame} == {0, 1}


def test_ids_count_from_the_largest_face_of_the_first_frame():
    seen = ids_of([[Planted(1, 120, side=80.0), Planted(2, 420, side=140.0)]] * 3)
    assert seen[0] == {0: 2, 1: 1}


def test_who_is_in_the_picture_is_not_forgotten_for_those_who_come_and_go(monkeypatch):
    monkeypatch.setattr("mien.detect.persons._PERSONS_KEPT", 3)
    passing = [[Planted(1, 150), Planted(2 + k // 8, 460)] for k in range(5 * 8)]
    frames = [[Planted(1, 150)]] * 10 + passing + [[]] * 8 + [[Planted(1, 150)]] * 15
    seen = ids_of(frames)
    assert seen[-1] == {0: 1}
    assert len(people_of_ids(seen)) > 4


def test_the_one_unseen_for_longest_is_forgotten_first(monkeypatch):
    """Person 1 begins first and stays longest; person 2 is the one who has been away for longest."""
    monkeypatch.setattr("mien.detect.persons._PERSONS_KEPT", 2)
    frames = [[Planted(1, 150)]] * 10 + [[Planted(1, 150), Planted(2, 460)]] * 30 + [[Planted(1, 150)]] * 20
    frames += [[]] * 8 + [[Planted(3, 300)]] * 15 + [[]] * 8 + [[Planted(1, 150)]] * 15
    seen = ids_of(frames)
    assert seen[-1] == {0: 1}


def test_somebody_who_comes_back_beside_a_newcomer_is_known_though_memory_is_full(monkeypatch):
    monkeypatch.setattr("mien.detect.persons._PERSONS_KEPT", 2)
    frames = [[Planted(1, 150)]] * 12 + [[]] * 8 + [[Planted(2, 300)]] * 12 + [[]] * 8
    frames += [[Planted(3, 460, side=140.0), Planted(1, 150, side=90.0)]] * 15
    seen = ids_of(frames)
    assert seen[-1] == {0: 1, 2: 3}


@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(st.integers(0, 2**32 - 1))
def test_however_people_walk_no_id_passes_on_and_none_is_there_twice(seed):
    generator = np.random.default_rng(seed)
    people = int(generator.integers(2, 5))
    steps = generator.normal(0, 3, (60, people, 2)).cumsum(axis=0) + generator.uniform(-6, 6, (people, 2))
    places = generator.uniform((80, 80), (560, 280), (people, 2)) + steps.cumsum(axis=0) / 4
    present = generator.random((60, people)).argsort(axis=0) > 2
    low, span = np.array((60, 60)), np.array((520, 240))
    places = low + np.abs((places - low) % (2 * span) - span)
    frames = [[Planted(k, *places[t, k]) for k in range(people) if present[t, k]] for t in range(60)]
    seen = ids_of(frames)  # a dict a frame: an id that stood twice in one would be one entry short
    assert all(len(of_id) == 1 for of_id in people_of_ids(seen).values())


@pytest.mark.parametrize("seed", range(20))
def test_pairs_have_the_largest_sum_that_scipy_finds(seed):
    generator = np.random.default_rng(seed)
    gain_RC = np.maximum(0, generator.normal(size=generator.integers(1, 12, 2)))
    pairs = best_pairs(gain_RC)
    rows, columns = (list(part) for part in zip(*pairs, strict=True))
    assert len(set(rows)) == len(set(columns)) == min(gain_RC.shape)
    assert gain_RC[rows, columns].sum() == pytest.approx(gain_RC[linear_sum_assignment(-gain_RC)].sum())
