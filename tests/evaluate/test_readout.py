import numpy as np
import pytest
from sklearn.linear_model import Ridge
from sklearn.metrics import roc_auc_score

from mien.evaluate.protocols import subject_folds
from mien.evaluate.readout import (
    OutOfFold,
    centred_by_video,
    choose_strength,
    fit_readout,
    identity_named,
    out_of_fold,
    score_features,
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
    auc_A = out_of_fold(features_ND, labels_NA, subject_N).auc(labels_NA)
    assert auc_A[0] > 0.99
    assert 0.4 < auc_A[1] < 0.6


def test_scores_of_a_fold_do_not_depend_on_the_labels_of_its_people(people):
    features_ND, labels_NA, subject_N, _ = people
    tested = subject_folds(subject_N, num_folds=3) == 1
    changed = labels_NA.copy()
    changed[tested] = 1 - changed[tested]
    before, after = (out_of_fold(features_ND, rows, subject_N).score_NA for rows in (labels_NA, changed))
    assert np.array_equal(before[tested], after[tested])
    assert not np.array_equal(before[~tested], after[~tested])


def test_auc_is_the_mean_of_the_folds_and_leaves_out_folds_with_one_class(people):
    features_ND, labels_NA, subject_N, _ = people
    fold_N = subject_folds(subject_N, num_folds=3)
    labels_NA[fold_N == 2, 2] = 0
    scores_NA = features_ND[:, :3]
    folds = [roc_auc_score(labels_NA[fold_N == fold, 2], scores_NA[fold_N == fold, 2]) for fold in (0, 1)]
    found = OutOfFold(scores_NA, np.zeros_like(scores_NA), fold_N)
    assert found.auc(labels_NA)[2] == pytest.approx(np.mean(folds))
    assert np.isnan(found.auc(np.zeros_like(labels_NA))).all()


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
    assert identity_named(telling_ND, subject_N, video_N)[0].mean() == 1.0
    assert identity_named(generator.normal(size=(600, 30)), subject_N, video_N)[0].mean() < 0.12


def test_features_that_name_the_video_do_not_name_the_person(people):
    _, _, subject_N, video_N = people
    one_hot_ND = np.eye(60)[np.unique(video_N, return_inverse=True)[1]]
    assert identity_named(one_hot_ND, subject_N, video_N)[0].mean() < 0.12


def test_identity_without_second_videos_is_an_error(people):
    features_ND, _, subject_N, _ = people
    with pytest.raises(ValueError, match="nobody has two"):
        identity_named(features_ND, subject_N, subject_N)


def test_folds_share_no_subject_and_are_about_equal():
    subject_N = np.repeat(np.arange(20), np.arange(1, 21))
    fold_N = subject_folds(subject_N, num_folds=4)
    assert all(len(np.unique(fold_N[subject_N == subject])) == 1 for subject in range(20))
    assert np.ptp(np.bincount(fold_N)) <= 5
    with pytest.raises(ValueError, match="at least as many subjects"):
        subject_folds(np.array(["a", "a", "b"]), num_folds=3)


RNG = np.random.default_rng(0)
SUBJECT_N = np.repeat(np.arange(6), 40).astype(str)
VIDEO_N = np.repeat(np.arange(12), 20).astype(str)
OCCURRENCE_NA = RNG.integers(0, 2, (240, 2)).astype(float)


def scores(features_ND):
    return score_features(features_ND, OCCURRENCE_NA, SUBJECT_N, VIDEO_N)


def test_features_that_hold_the_labels_read_out_perfectly():
    result = scores(OCCURRENCE_NA + 0.01 * RNG.normal(size=(240, 2)))
    assert result.means["auc"] == pytest.approx(1.0)
    assert result.means["f1"] == pytest.approx(1.0)
    assert result.means["identity_chance"] == pytest.approx(1 / 6)


def test_what_is_constant_in_a_video_is_gone_once_centred():
    of_video = RNG.normal(size=(12, 3))[np.repeat(np.arange(12), 20)]
    np.testing.assert_allclose(centred_by_video(of_video, VIDEO_N), 0.0, atol=1e-12)
    plain, moved = OCCURRENCE_NA + 50 * of_video[:, :2], OCCURRENCE_NA
    expected = centred_by_video(moved, VIDEO_N)
    np.testing.assert_allclose(centred_by_video(plain, VIDEO_N), expected, atol=1e-9)


def test_a_rare_action_unit_is_predicted_as_readily_as_a_common_one():
    rare_NA = (RNG.random((240, 1)) < 0.1).astype(float)
    features = rare_NA + 0.3 * RNG.normal(size=(240, 1))
    result = score_features(features, rare_NA, SUBJECT_N, VIDEO_N)
    assert result.f1_A[0] > 0.6


def test_an_action_unit_that_never_occurs_has_no_auc_and_no_f1():
    result = score_features(RNG.normal(size=(240, 3)), np.zeros((240, 1)), SUBJECT_N, VIDEO_N)
    assert np.isnan(result.auc_A[0])
    assert result.f1_A[0] == 0.0
