"""The probe: finds what is planted, finds nothing in noise, learns from the training fold alone."""

import dataclasses

import numpy as np
import pytest
import torch

from mien.evaluate.evaluation import frozen_probe, intensity_readout, run_folds
from mien.evaluate.metrics import always_on_f1
from mien.evaluate.probe import (
    ExpressionTargets,
    OccurrenceTargets,
    ProbeSettings,
    chosen_thresholds,
    fit_head,
    predict,
    shuffled_batches,
    targets_of,
)
from mien.evaluate.protocols import protocol_for

FAST = ProbeSettings(min_steps=150, learning_rate=0.01)


def _run(frames, features_ND, **options):
    folds = protocol_for("table", frames, num_folds=3).folds(frames.subject_N)
    options = {"choose_thresholds": False} | options
    return folds, run_folds(frozen_probe(features_ND, FAST), frames, folds, **options)


def _f1(labels_N, predicted_N):
    coded = ~np.isnan(labels_N)
    true = (predicted_N & (labels_N == 1) & coded).sum()
    return 2 * true / ((predicted_N & coded).sum() + (labels_N == 1).sum())


def test_a_planted_signal_is_found_near_one_and_noise_at_its_floor(planted):
    frames, features_ND = planted()
    _, (_, probability_NA, _) = _run(frames, features_ND)
    predicted = probability_NA > 0.5
    assert _f1(frames.occurrence_NA[:, 0], predicted[:, 0]) > 0.99
    assert _f1(frames.occurrence_NA[:, 2], predicted[:, 2]) > 0.9
    floor = always_on_f1(np.array([0.3]))[0]
    assert _f1(frames.occurrence_NA[:, 1], predicted[:, 1]) < floor + 0.05


def test_every_row_is_tested_once_by_a_fold_without_its_subject(planted):
    frames, features_ND = planted()
    folds, (fold_N, _, _) = _run(frames, features_ND)
    assert (fold_N != "").all()
    for fold in folds:
        assert np.flatnonzero(fold_N == fold.name).tolist() == fold.test.tolist()


def test_labels_and_features_of_test_subjects_change_nothing_of_the_model(planted):
    frames, features_ND = planted()
    train = np.flatnonzero(frames.subject_N < "s08")
    targets = targets_of(frames)
    head = fit_head(torch.from_numpy(features_ND), targets, train, ProbeSettings(epochs=2, min_steps=0))
    features_ND[frames.subject_N >= "s08"] = 99
    changed = frames.occurrence_NA.copy()
    changed[frames.subject_N >= "s08"] = 1 - changed[frames.subject_N >= "s08"]
    other = fit_head(
        torch.from_numpy(features_ND),
        OccurrenceTargets(torch.from_numpy(changed)),
        train,
        ProbeSettings(epochs=2, min_steps=0),
    )
    for one, two in zip(head.state_dict().values(), other.state_dict().values(), strict=True):
        assert torch.equal(one, two)


def test_labels_that_are_not_coded_give_no_gradient():
    targets = OccurrenceTargets(torch.tensor([[1.0, float("nan")], [0.0, float("nan")], [1.0, 1.0]]))
    loss = targets.loss_for(np.arange(3))
    logits = torch.zeros(2, 2, requires_grad=True)
    loss(logits, torch.tensor([0, 1])).backward()
    assert (logits.grad[:, 1] == 0).all()
    assert (logits.grad[:, 0] != 0).all()


def test_the_worked_balanced_loss():
    logits = torch.tensor([[0.0], [2], [-1], [0.5]])
    labels = torch.tensor([[1.0], [1], [0], [0]])
    assert OccurrenceTargets(labels).loss_for(np.arange(4))(logits, torch.arange(4)).item() == pytest.approx(
        0.526853, abs=1e-6
    )
    more = torch.cat([labels, labels[2:], labels[2:]])  # 2 present, 6 absent: weights 2 and 2/3
    assert OccurrenceTargets(more).loss_for(np.arange(8))(logits, torch.arange(4)).item() == pytest.approx(
        0.624594, abs=1e-6
    )


def test_class_weights_come_from_the_training_rows_alone():
    labels = torch.tensor([[1.0], [0], [0], [0], [1], [1]])
    logits = torch.zeros(2, 1)
    loss = OccurrenceTargets(labels).loss_for(np.arange(4))(logits, torch.tensor([0, 1]))
    assert loss.item() == pytest.approx((2 + 2 / 3) / 2 * np.log(2))


def test_the_same_seed_gives_the_same_head_and_leaves_global_randomness_alone(planted):
    frames, features_ND = planted(6, 10)
    torch.manual_seed(5)
    before = torch.random.get_rng_state()
    heads = [
        fit_head(
            torch.from_numpy(features_ND),
            targets_of(frames),
            np.arange(60),
            ProbeSettings(epochs=2, min_steps=0),
        )
        for _ in range(2)
    ]
    assert torch.equal(heads[0].linear.weight, heads[1].linear.weight)
    assert torch.equal(torch.random.get_rng_state(), before)


def test_a_single_leftover_row_makes_no_batch():
    settings = ProbeSettings(epochs=3, batch_size=4, min_steps=0)
    batches = _batches(9, settings)
    assert [len(batch) for batch in batches] == [4, 4] * 3
    assert [len(batch) for batch in _batches(10, settings)] == [4, 4, 2] * 3
    with pytest.raises(ValueError, match="at least 2 rows"):
        _batches(1, settings)


def _batches(num_rows, settings):
    return shuffled_batches(np.arange(num_rows), settings, torch.Generator())


def test_a_small_set_is_gone_through_more_often():
    assert len(_batches(320, ProbeSettings())) == 334 * 3
    assert len(_batches(100_000, ProbeSettings())) == 15 * 782


def test_chosen_thresholds_give_the_best_f1_of_all_thresholds():
    generator = np.random.default_rng(0)
    labels_N1 = (generator.random((200, 1)) < 0.2).astype(float)
    probability_N1 = np.round(0.3 * labels_N1 + 0.5 * generator.random((200, 1)), 2)
    threshold = chosen_thresholds(labels_N1, probability_N1)[0]
    found = _f1(labels_N1[:, 0], probability_N1[:, 0] > threshold)
    best = max(_f1(labels_N1[:, 0], probability_N1[:, 0] > at) for at in np.linspace(-0.01, 1, 400))
    assert found == pytest.approx(best)
    assert chosen_thresholds(np.zeros((4, 1)), np.full((4, 1), 0.2))[0] == 0.5


def test_thresholds_are_chosen_without_the_test_subjects(planted):
    frames, features_ND = planted()
    _, (fold_N, _, threshold_NA) = _run(frames, features_ND, choose_thresholds=True)
    changed_NA = frames.occurrence_NA.copy()
    inside = fold_N == fold_N[0]
    changed_NA[inside] = 1 - changed_NA[inside]
    _, (_, _, other_NA) = _run(
        dataclasses.replace(frames, occurrence_NA=changed_NA), features_ND, choose_thresholds=True
    )
    np.testing.assert_array_equal(threshold_NA[inside], other_NA[inside])
    assert not np.isnan(threshold_NA).any()


def test_fewer_labelled_people_are_fewer_people(planted):
    frames, _ = planted()
    seen = []

    def spy(targets, train, test):
        seen.append(sorted(set(frames.subject_N[train])))
        return np.zeros((len(test), 3), np.float32)

    folds = protocol_for("table", frames, num_folds=3).folds(frames.subject_N)
    run_folds(spy, frames, folds, share_of_labels=0.25, choose_thresholds=False)
    assert [len(people) for people in seen] == [2, 2, 2]


def test_expressions_are_found_too():
    generator = np.random.default_rng(0)
    class_N = generator.choice(3, 300, p=[0.7, 0.2, 0.1])
    features_ND = generator.normal(size=(300, 8)).astype(np.float32)
    features_ND[np.arange(300), class_N] += 5
    targets = ExpressionTargets(torch.from_numpy(class_N), 3)
    head = fit_head(torch.from_numpy(features_ND), targets, np.arange(200), FAST)
    probability = predict(torch.from_numpy(features_ND), head, targets, np.arange(200, 300))
    np.testing.assert_allclose(probability.sum(axis=1), 1, atol=1e-5)
    assert (probability.argmax(axis=1) == class_N[200:]).mean() > 0.97


def test_planted_intensities_are_read_out_across_people(planted):
    frames, features_ND = planted()
    intensity_NA = np.full((frames.num_frames, 3), np.nan, np.float32)
    intensity_NA[:, 0] = np.random.default_rng(1).integers(0, 6, frames.num_frames)
    features_ND[:, 2] = intensity_NA[:, 0]
    frames = dataclasses.replace(frames, intensity_NA=intensity_NA)
    folds = protocol_for("table", frames, num_folds=3).folds(frames.subject_N)
    predicted = intensity_readout(features_ND, frames, folds)
    assert np.corrcoef(predicted[:, 0], intensity_NA[:, 0])[0, 1] > 0.95
    assert np.isnan(predicted[:, 1]).all()
    assert intensity_readout(features_ND, planted()[0], folds) is None
