"""The numbers tell features of the person from features of the action; pictures show the right frames."""

import dataclasses

import numpy as np
import pytest

from mien.datasets.base import LabelledFrames
from mien.evaluate.feature_content import (
    _hits_and_misses,
    column_to_show,
    feature_map,
    frames_to_map,
    nearest_of_others,
    neighbour_strip,
    person_independence,
    sample_of,
)


@pytest.fixture(scope="module")
def people():
    """12 people, 3 videos each, 20 frames a video; AU12 and AU1 at random; yaw and light vary by frame."""
    generator = np.random.default_rng(0)
    person = np.repeat(np.arange(12), 60)
    video = np.tile(np.repeat(np.arange(3), 20), 12)
    N = len(person)
    frames = LabelledFrames(
        action_units=(1, 12),
        path_N=np.array([f"s{p:02d}/{v}.mp4" for p, v in zip(person, video, strict=True)]),
        frame_N=np.tile(np.arange(20), 36),
        seconds_N=np.zeros(N),
        subject_N=np.array([f"s{p:02d}" for p in person]),
        occurrence_NA=(generator.random((N, 2)) < 0.4).astype(np.float32),
    )
    pose_N3 = generator.normal(size=(N, 3)) * 10
    return frames, person, pose_N3, generator.random(N)


def _measure(people, features_ND, auc=0.5):
    frames, _, pose_N3, brightness_N = people
    return person_independence(
        features_ND, frames, pose_N3=pose_N3, brightness_N=brightness_N, action_unit_auc=auc
    )


def _noise(columns, seed=1):
    return np.random.default_rng(seed).normal(size=(720, columns))


def test_features_of_the_person_name_the_person_and_no_action(people):
    own = np.random.default_rng(2).normal(size=(12, 8))[people[1]]
    found = _measure(people, own + 0.2 * _noise(8))
    assert found["identity_accuracy"] > 0.95
    assert found["identity_retrieval"] > 0.95
    assert found["silhouette_by_subject"] > 0.3
    assert found["silhouette_by_action_unit"] < 0.05
    assert found["index"] == pytest.approx(-1, abs=0.1)


def test_features_of_the_action_share_action_and_name_nobody(people):
    found = _measure(people, people[0].occurrence_NA + 0.05 * _noise(2), auc=1.0)
    assert found["identity_accuracy"] < 0.25
    assert found["silhouette_by_action_unit"] > 0.3
    assert found["silhouette_by_subject"] < 0.05
    assert found["index"] > 0.85


def test_noise_is_at_chance_everywhere(people):
    found = _measure(people, _noise(8))
    assert found["identity_accuracy"] == pytest.approx(found["identity_chance"], abs=0.06)
    assert found["identity_retrieval"] < 0.25
    assert abs(found["silhouette_by_subject"]) < 0.1
    assert found["r2_yaw"] < 0.05
    assert abs(found["index"]) < 0.1


def test_pose_and_light_are_read_where_they_are(people):
    features_ND = np.column_stack([people[2][:, 0], people[3], _noise(4)])
    found = _measure(people, features_ND)
    assert found["r2_yaw"] > 0.8
    assert found["r2_brightness"] > 0.7
    assert found["r2_pitch"] < 0.1


def test_one_video_a_person_leaves_identity_undefined(people):
    frames = dataclasses.replace(
        people[0], path_N=people[0].subject_N, frame_N=np.arange(people[0].num_frames)
    )
    found = person_independence(
        _noise(4), frames, pose_N3=people[2], brightness_N=people[3], action_unit_auc=0.5
    )
    assert np.isnan(found["identity_accuracy"])
    assert np.isnan(found["identity_retrieval"])
    assert np.isnan(found["index"])


def test_the_sample_is_even_over_videos_and_always_the_same(people):
    rows = sample_of(people[0], num_frames=72)
    _, counts = np.unique(people[0].videos()[rows], return_counts=True)
    assert counts.tolist() == [2] * 36
    assert rows.tolist() == sample_of(people[0], num_frames=72).tolist()
    assert sample_of(people[0], num_frames=10**6).tolist() == list(range(720))


def test_neighbours_equal_a_search_written_as_loops():
    generator = np.random.default_rng(0)
    features_ND, subject_N = generator.normal(size=(40, 5)), np.repeat(np.arange(8), 5)
    standard_ND = (features_ND - features_ND.mean(axis=0)) / features_ND.std(axis=0)
    near_NK = nearest_of_others(features_ND, subject_N, num_neighbours=3)
    for query in range(40):
        best = {}
        for other in range(40):
            a, b = standard_ND[query], standard_ND[other]
            cosine = a @ b / np.linalg.norm(a) / np.linalg.norm(b)
            subject = subject_N[other]
            if subject != subject_N[query] and cosine > best.get(subject, (-2, None))[0]:
                best[subject] = (cosine, other)
        assert near_NK[query].tolist() == [row for _, row in sorted(best.values(), reverse=True)[:3]]


def test_a_neighbour_is_never_of_the_querys_person_and_no_person_comes_twice():
    generator = np.random.default_rng(1)
    subject_N = generator.integers(0, 6, 60)
    near_NK = nearest_of_others(generator.normal(size=(60, 4)), subject_N, num_neighbours=5)
    for query, near_K in enumerate(near_NK):
        assert sorted({subject_N[query], *subject_N[near_K]}) == list(range(6))


def test_too_few_people_are_an_error():
    with pytest.raises(ValueError, match="too few people for 3 neighbours"):
        nearest_of_others(np.eye(4), np.array([0, 0, 1, 1]), num_neighbours=3)


def test_ten_people_with_both_kinds_are_mapped_half_and_half(planted):
    frames, _ = planted(14, 60)
    rows = frames_to_map(frames, 0)
    assert len(np.unique(frames.subject_N[rows])) == 10
    for subject in np.unique(frames.subject_N[rows]):
        labels = frames.occurrence_NA[rows[frames.subject_N[rows] == subject], 0]
        assert len(labels) <= 30
        assert labels.sum() <= 15
    assert rows.tolist() == frames_to_map(frames, 0).tolist()


def test_people_who_never_show_it_are_not_mapped(planted):
    frames, _ = planted(4, 20)
    frames.occurrence_NA[frames.subject_N != "s01", 0] = 0
    assert set(frames.subject_N[frames_to_map(frames, 0)]) == {"s01"}
    frames.occurrence_NA[:, 0] = 0
    assert len(frames_to_map(frames, 0)) == 0


def test_au12_is_shown_where_there_is_one(planted):
    frames, _ = planted(4, 20)
    assert column_to_show(dataclasses.replace(frames, action_units=(1, 2, 12))) == 2
    frames.occurrence_NA[:, 0] = np.arange(80) % 2
    assert column_to_show(frames) == 0


def test_the_silhouettes_see_what_parts_the_features(planted):
    frames, features_ND = planted(6, 20)
    rows = np.arange(120)
    found = feature_map(features_ND[:, [0, 0]], frames.occurrence_NA[rows, 0], frames.subject_N[rows])
    assert found.point_M2.shape == (120, 2)
    assert found.silhouette_by_action_unit > 0.9
    assert found.silhouette_by_subject < 0
    again = feature_map(features_ND[:, [0, 0]], frames.occurrence_NA[rows, 0], frames.subject_N[rows])
    np.testing.assert_array_equal(found.point_M2, again.point_M2)


def test_hits_are_all_right_and_show_something_and_misses_are_wrong():
    labels = np.array([[1, 0], [1, 0], [0, 0], [1, np.nan], [1, 1]])
    probability = np.array([[0.9, 0.1], [0.2, 0.1], [0.1, 0.1], [0.6, 0.9], [0.9, 0.3]])
    hits, misses = _hits_and_misses(labels, probability, np.array(list("abcde")))
    assert hits.tolist() == [0, 3]
    assert misses.tolist() == [1, 4]


def test_examples_are_of_different_people():
    hits, _ = _hits_and_misses(np.ones((6, 1)), np.full((6, 1), 0.9), np.array(list("aabbcc")))
    assert hits.tolist() == [0, 2, 4]


def test_a_strip_is_one_video_in_time_with_neighbours_of_other_people(planted):
    frames, features_ND = planted(6, 30)
    strip = neighbour_strip(features_ND, frames, num_queries=5, num_neighbours=2)
    queries = strip[:, 0]
    assert len(set(frames.videos()[queries])) == 1
    assert (np.diff(frames.seconds_N[queries]) > 0).all()
    for row in strip:
        assert len(set(frames.subject_N[row])) == 3
    with pytest.raises(ValueError, match="neighbours of other people"):
        neighbour_strip(features_ND, frames, num_neighbours=6)
