import numpy as np
import pytest

from mien.evaluate.person_independence import agreement, nearest_of_others


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
    with pytest.raises(ValueError, match="3 neighbours of other people need 4 subjects, not 2"):
        nearest_of_others(np.eye(4), np.array([0, 0, 1, 1]), num_neighbours=3)


def test_agreement_of_a_case_worked_by_hand():
    occurrence_NA = np.array([[1, 1, 0], [1, 0, 0], [0, 0, 0], [np.nan, 1, 0]])
    one = np.array([0])
    assert agreement(occurrence_NA, one, np.array([[1]])) == 0.5
    assert agreement(occurrence_NA, one, np.array([[2]])) == 0.0
    assert agreement(occurrence_NA, one, np.array([[3]])) == 1.0
    assert agreement(occurrence_NA, np.array([2]), np.array([[2]])) == 1.0
