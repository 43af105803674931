import numpy as np
import pytest
from sklearn.linear_model import Ridge
from sklearn.metrics import roc_auc_score

from mien.evaluate.folds import subject_folds
from mien.evaluate.readout import (
    auc_by_fold,
    choose_strength,
    fit_readout,
    identity_accuracy,
    out_of_fold_scores,
)


@pytest.fixture
def people():
    """30 people x 20 frames in 2 videos each: 6 features, 3 labels."""
    generator = np.random.default_rng(0)
    subject_N = np.repeat([f"s{number:02d}" for number in range(30)], 20)
    video_N = np.char.add(subject_N, np.tile(np.repeat(["a", "b"], 10), 30))
    features_ND = generator.normal(size=(600, 6)).astype(np.float32) * [1, 5, 1, 1, 100, 1] + 7
    labels_NA = (generator.random((600, 3)) < [0.5, 0.3, 0.1]).astype(np.float32)
    return features_ND, labels_NA, subject_N, video_N


def test_weights_equal_scikit_learns_ridge(people):
    features_ND, labels_NA, *_ = people
    readout = fit_readout(features_ND, labels_NA, strength=0.1)
    standard_ND = (features_ND - features_ND.mean(axis=0)) / features_ND.std(axis=0)
    oracle = Ridge(alpha=0.1 * 600).fit(standard_ND, labels_NA)
    assert np.allclose(readout.scores(features_ND), oracle.predict(standard_ND), atol=1e-6)


def test_rows_that_are_not_coded_have_no_say_and_other_columns_do_not_care(people):
    features_ND, labels_NA, *_ = people
    partly = labels_NA.copy()
    partly[::3, 1] = np.nan
    readout = fit_readout(features_ND, partly, strength=0.1)
    coded = np.delete(np.arange(600), np.s_[::3])
    standard_ND = (features_ND - features_ND.mean(axis=0)) / features_ND.std(axis=0)
    oracle = Ridge(alpha=0.1 * len(coded)).fit(standard_ND[coded], labels_NA[coded, 1])
    assert np.allclose(readout.scores(features_ND)[:, 1], oracle.predict(standard_ND), atol=1e-6)
    whole = fit_readout(features_ND, labels_NA, strength=0.1)
    assert np.allclose(readout.weights_DA[:, [0, 2]], whole.weights_DA[:, [0, 2]])


def test_a_planted_linear_signal_is_found_and_noise_stays_at_chance(people):
    features_ND, labels_NA, subject_N, _ = people
    labels_NA[:, 0] = features_ND[:, 1] > 7
    scores_NA = out_of_fold_scores(features_ND, labels_NA, subject_N, num_folds=3)
    auc_A = auc_by_fold(labels_NA, scores_NA, subject_N, num_folds=3)
    assert auc_A[0] > 0.99
    assert 0.4 < auc_A[1] < 0.6


def test_scores_of_a_fold_do_not_depend_on_the_labels_of_its_people(people):
    features_ND, labels_NA, subject_N, _ = people
    tested = subject_folds(subject_N, num_folds=3) == 1
    changed = labels_NA.copy()
    changed[tested] = 1 - changed[tested]
    before, after = (
        out_of_fold_scores(features_ND, rows, subject_N, num_folds=3) for rows in (labels_NA, changed)
    )
    assert np.array_equal(before[tested], after[tested])
    assert not np.array_equal(before[~tested], after[~tested])


def test_auc_is_the_mean_of_the_folds_and_leaves_out_folds_with_one_class(people):
    features_ND, labels_NA, subject_N, _ = people
    fold_N = subject_folds(subject_N, num_folds=3)
    labels_NA[fold_N == 2, 2] = 0
    scores_NA = features_ND[:, :3]
    folds = [roc_auc_score(labels_NA[fold_N == fold, 2], scores_NA[fold_N == fold, 2]) for fold in (0, 1)]
    assert auc_by_fold(labels_NA, scores_NA, subject_N, num_folds=3)[2] == pytest.approx(np.mean(folds))
    assert np.isnan(auc_by_fold(np.zeros_like(labels_NA), scores_NA, subject_N, num_folds=3)).all()


def test_strength_is_one_of_those_offered_and_heavy_where_features_are_noise():
    generator = np.random.default_rng(1)
    subject_N = np.repeat(np.arange(12), 6)
    labels_NA = (generator.random((72, 4)) < 0.5).astype(float)
    signal_N1 = labels_NA[:, :1] + 0.5 * generator.normal(size=(72, 1))
    features_ND = np.hstack([np.repeat(signal_N1, 5, axis=1), generator.normal(size=(72, 60))])
    assert choose_strength(features_ND, labels_NA[:, :1], subject_N, strengths=(1e-3, 1.0)) == 1.0


def test_identity_is_named_from_other_videos_or_guessed(people):
    _, _, subject_N, video_N = people
    generator = np.random.default_rng(2)
    telling_ND = np.eye(30)[np.unique(subject_N, return_inverse=True)[1]] + 0.01 * generator.normal(
        size=(600, 30)
    )
    assert identity_accuracy(telling_ND, subject_N, video_N) == 1.0
    assert identity_accuracy(generator.normal(size=(600, 30)), subject_N, video_N) < 0.12


def test_features_that_name_the_video_do_not_name_the_person(people):
    _, _, subject_N, video_N = people
    one_hot_ND = np.eye(60)[np.unique(video_N, return_inverse=True)[1]]
    assert identity_accuracy(one_hot_ND, subject_N, video_N) < 0.12


def test_identity_without_second_videos_is_an_error(people):
    features_ND, _, subject_N, _ = people
    with pytest.raises(ValueError, match="nobody has two"):
        identity_accuracy(features_ND, subject_N, subject_N)


def test_folds_share_no_subject_and_are_about_equal():
    subject_N = np.repeat(np.arange(20), np.arange(1, 21))
    fold_N = subject_folds(subject_N, num_folds=4)
    assert all(len(np.unique(fold_N[subject_N == subject])) == 1 for subject in range(20))
    assert np.ptp(np.bincount(fold_N)) <= 5
    with pytest.raises(ValueError, match="at least as many subjects"):
        subject_folds(np.array(["a", "a", "b"]), num_folds=3)
