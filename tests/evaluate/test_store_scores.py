import numpy as np
import pytest

from mien.evaluate.store_scores import centred_by_video, score_features

RNG = np.random.default_rng(0)
SUBJECT_N = np.repeat(np.arange(6), 40).astype(str)
VIDEO_N = np.repeat(np.arange(12), 20).astype(str)
OCCURRENCE_NA = RNG.integers(0, 2, (240, 2)).astype(float)


def scores(features_ND):
    return score_features(features_ND, OCCURRENCE_NA, SUBJECT_N, VIDEO_N, num_folds=3)


def test_features_that_hold_the_labels_read_out_perfectly():
    result = scores(OCCURRENCE_NA + 0.01 * RNG.normal(size=(240, 2)))
    assert result.means["auc"] == pytest.approx(1.0)
    assert result.means["f1"] == pytest.approx(1.0)
    assert result.identity_chance == pytest.approx(1 / 6)


def test_noise_reads_out_at_chance():
    result = scores(RNG.normal(size=(240, 8)))
    assert abs(result.means["auc"] - 0.5) < 0.12


def test_what_is_constant_in_a_video_is_gone_once_centred():
    of_video = RNG.normal(size=(12, 3))[np.repeat(np.arange(12), 20)]
    np.testing.assert_allclose(centred_by_video(of_video, VIDEO_N), 0.0, atol=1e-12)
    plain, moved = OCCURRENCE_NA + 50 * of_video[:, :2], OCCURRENCE_NA
    expected = centred_by_video(moved, VIDEO_N)
    np.testing.assert_allclose(centred_by_video(plain, VIDEO_N), expected, atol=1e-9)


def test_features_that_hold_the_person_name_it_from_other_videos():
    of_subject = np.eye(6)[SUBJECT_N.astype(int)]
    assert scores(of_subject + 0.01 * RNG.normal(size=(240, 6))).identity_accuracy == 1.0


def test_a_rare_action_unit_is_predicted_as_readily_as_a_common_one():
    rare_NA = (RNG.random((240, 1)) < 0.1).astype(float)
    features = rare_NA + 0.3 * RNG.normal(size=(240, 1))
    result = score_features(features, rare_NA, SUBJECT_N, VIDEO_N, num_folds=3)
    assert result.f1_A[0] > 0.6


def test_an_action_unit_that_never_occurs_has_no_auc_and_no_f1():
    result = score_features(RNG.normal(size=(240, 3)), np.zeros((240, 1)), SUBJECT_N, VIDEO_N, num_folds=3)
    assert np.isnan(result.auc_A[0])
    assert result.f1_A[0] == 0.0
