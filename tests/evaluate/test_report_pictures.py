"""The maps and examples of the report: the same frames for everybody, hits that are hits."""

import dataclasses

import numpy as np
import pytest

from mien.evaluate.report_pictures import (
    _hits_and_misses,
    column_to_show,
    feature_map,
    frames_to_map,
    neighbour_strip,
)


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
