"""Fitting on planted features: the scores are those of the folds, and nobody is on both sides."""

import dataclasses

import numpy as np
import pytest
import torch
from sklearn.metrics import f1_score, roc_auc_score

from mien.detect.fitting import HeldOut, Material, fit_au_model, learnable_units, measured_scores
from mien.detect.network import fitted_parts
from mien.evaluate.labelled_faces import LabelledFaces
from mien.evaluate.probe import ProbeSettings, TrunkMode
from mien.evaluate.protocols import protocol_for
from mien.train.encoder_file import load_encoder

QUICK = ProbeSettings(epochs=2, min_steps=300, learning_rate=0.02)


@pytest.fixture(scope="module")
def fitted(planted, disc_encoder):
    """AU1 and AU4 are directions of the features, AU2 is noise; intensity is twice the occurrence."""
    frames, features_ND = planted(dim=32)
    frames = dataclasses.replace(frames, intensity_NA=2 * frames.occurrence_NA)
    data = LabelledFaces(frames, None, np.zeros((frames.num_frames, 3), np.float32), 0)
    material = Material(load_encoder(disc_encoder), data, features_ND, TrunkMode.FROZEN, QUICK)
    folds = protocol_for("table", frames, num_folds=3).folds(frames.subject_N)
    return material, folds, *fit_au_model(material, folds)


def test_what_is_in_the_features_is_found_and_noise_is_not(fitted):
    _, _, model, _ = fitted
    scores = model.record["scores"]
    auc = [scores["units"][name]["roc_auc"]["value"] for name in ("AU01", "AU02", "AU04")]
    assert auc[0] > 0.97
    assert auc[2] > 0.97
    assert abs(auc[1] - 0.5) < 0.1
    assert scores["units"]["AU01"]["intensity_icc"] > 0.8
    assert scores["num_subjects"] == 12


def test_every_face_is_tested_once_by_a_head_that_has_not_seen_its_person(fitted, monkeypatch):
    import mien.detect.fitting as module

    material, folds, *_ = fitted
    seen, tested = [], []
    fit, logits = module.fit_head, module._logits

    def spied_fit(features, targets, rows, settings):
        seen.append(set(material.frames.subject_N[rows]))
        return fit(features, targets, rows, settings)

    monkeypatch.setattr(module, "fit_head", spied_fit)
    rows_of = {features.tobytes(): n for n, features in enumerate(material.features_ND)}

    def spied(head, features_MD):
        people = {material.frames.subject_N[rows_of[row.tobytes()]] for row in features_MD}
        tested.append((len(seen) - 1, people))
        return logits(head, features_MD)

    monkeypatch.setattr(module, "_logits", spied)
    fit_au_model(material, folds)
    assert len(seen) == 3 * (3 + 1) + 1
    assert len(tested) == 3 * (3 + 1)
    assert all(not seen[number] & people for number, people in tested)
    assert seen[-1] == set(material.frames.subject_N)


def test_scores_are_those_of_scikit_learn(fitted):
    material, _, _, held = fitted
    frames = material.frames.rows(held.rows)
    scores = measured_scores(held, frames)
    by_fold = []
    for fold in np.unique(held.fold_M):
        rows = (held.fold_M == fold) & ~np.isnan(frames.occurrence_NA[:, 1])
        predicted = held.probability_MA[rows, 1] > held.threshold_MA[rows, 1]
        by_fold.append(f1_score(frames.occurrence_NA[rows, 1], predicted))
    assert scores["units"]["AU02"]["f1"]["value"] == pytest.approx(np.mean(by_fold), abs=1e-4)
    one = held.fold_M == held.fold_M[0]
    alone = HeldOut(*(getattr(held, f.name)[one] for f in dataclasses.fields(HeldOut)))
    found_auc = measured_scores(alone, frames.rows(one))["units"]["AU02"]["roc_auc"]["value"]
    assert found_auc == pytest.approx(
        roc_auc_score(frames.occurrence_NA[one, 1], held.logit_MA[one, 1]), abs=1e-4
    )


def test_the_kept_head_knows_everybody_and_its_curves_come_from_the_folds(fitted):
    material, _, model, held = fitted
    probability = model.calibration(held.logit_MA)
    labels = material.frames.occurrence_NA[held.rows]
    for column, threshold in enumerate(model.threshold_A):
        coded = ~np.isnan(labels[:, column])
        truth, said = labels[coded, column], probability[coded, column]
        best = max(f1_score(truth, said > t) for t in np.quantile(said, np.linspace(0, 0.99, 100)))
        assert f1_score(truth, said > threshold) >= best - 1e-9


def test_noise_is_calibrated_to_its_base_rate(fitted):
    _, _, model, held = fitted
    said = model.calibration(held.logit_MA)[:, 1]
    assert said.mean() == pytest.approx(0.3, abs=0.05)
    assert said.std() < 0.05


def test_intensity_heads_are_the_evaluations_ridge(fitted):
    from mien.evaluate.readout import fit_intensity

    material, _, model, _ = fitted
    coded = ~np.isnan(material.frames.intensity_NA[:, 2])
    ridge = fit_intensity(material.features_ND[coded], material.frames.intensity_NA[coded, 2])
    ours = fitted_parts(model).intensity(torch.from_numpy(material.features_ND))[:, 2]
    assert np.allclose(ours.numpy(), ridge.predict(material.features_ND), atol=1e-3)


def test_the_same_seed_gives_the_same_model(fitted):
    material, folds, model, _ = fitted
    assert fit_au_model(material, folds)[0].digest == model.digest


def test_units_that_one_person_shows_are_left_out_and_said_so(planted):
    frames, _ = planted()
    occurrence_NA = frames.occurrence_NA.copy()
    occurrence_NA[:, 1] = frames.subject_N == "s00"
    occurrence_NA[:, 2] = 1.0
    kept, left_out = learnable_units(dataclasses.replace(frames, occurrence_NA=occurrence_NA))
    assert kept.action_units == (1,)
    assert kept.occurrence_NA.shape == (len(occurrence_NA), 1)
    assert left_out == {2: "present in 1 people; it takes 2", 4: "never coded as absent"}
    with pytest.raises(ValueError, match="nothing to learn"):
        learnable_units(dataclasses.replace(frames, occurrence_NA=np.zeros_like(occurrence_NA)))
