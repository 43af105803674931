"""Predictions come back from disk as they were, and all scores follow from them."""

import dataclasses

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from sklearn.metrics import f1_score, roc_auc_score

from mien.evaluate.predictions import (
    Predictions,
    PredictionsError,
    compare,
    confusion_of,
    read_predictions,
    write_predictions,
)


@pytest.fixture
def good(planted, predictions_of):
    frames, _ = planted()
    generator = np.random.default_rng(0)
    noise = generator.random(frames.occurrence_NA.shape)
    return predictions_of(
        frames, 0.4 * np.nan_to_num(frames.occurrence_NA, nan=0.5) + 0.6 * noise, threshold=0.4
    )


def _same(a: Predictions, b: Predictions):
    for field in dataclasses.fields(a):
        one, two = getattr(a, field.name), getattr(b, field.name)
        if isinstance(one, np.ndarray):
            np.testing.assert_array_equal(one, two)
            assert one.dtype.kind == two.dtype.kind
        else:
            assert one == two


def test_a_file_comes_back_as_it_was(good, tmp_path):
    write_predictions(tmp_path / "x.parquet", good)
    _same(good, read_predictions(tmp_path / "x.parquet"))
    column = pq.read_table(tmp_path / "x.parquet")["label_AU04"]
    assert column.null_count == np.isnan(good.label_NA[:, 2]).sum()


def test_intensities_and_expressions_come_back_too(good, tmp_path):
    more = dataclasses.replace(
        good, intensity_NA=good.label_NA * 2, predicted_intensity_NA=good.probability_NA
    )
    write_predictions(tmp_path / "x.parquet", more)
    _same(more, read_predictions(tmp_path / "x.parquet"))
    none_NA = np.zeros((len(good.path_N), 0), np.float32)
    faces = dataclasses.replace(
        good,
        outputs=("Happy", "Sad", "Fear"),
        class_N=np.arange(len(good.path_N)) % 3,
        label_NA=none_NA,
        threshold_NA=none_NA,
    )
    write_predictions(tmp_path / "y.parquet", faces)
    _same(faces, read_predictions(tmp_path / "y.parquet"))
    assert faces.action_units == ()
    assert confusion_of(faces).sum() == len(good.path_N)


def test_scores_are_means_of_the_folds_scores(good):
    for column in range(3):
        f1, auc = [], []
        for fold in ("p1", "p2", "p3"):
            rows = (good.fold_N == fold) & ~np.isnan(good.label_NA[:, column])
            f1.append(f1_score(good.label_NA[rows, column], good.probability_NA[rows, column] > 0.5))
            auc.append(roc_auc_score(good.label_NA[rows, column], good.probability_NA[rows, column]))
        found = good.each("f1")[column]
        assert found.value == pytest.approx(np.mean(f1))
        assert good.each("roc_auc")[column].value == pytest.approx(np.mean(auc), abs=0.02)
        assert found.low <= found.value <= found.high
    assert good.mean_score.value == pytest.approx(good.average("f1"))


def test_chosen_thresholds_have_an_f1_of_their_own(good):
    rows = good.fold_N == "p1"
    expected = [
        f1_score(good.label_NA[good.fold_N == fold, 0], good.probability_NA[good.fold_N == fold, 0] > 0.4)
        for fold in ("p1", "p2", "p3")
    ]
    assert rows.any()
    assert good.each("f1_chosen")[0].value == pytest.approx(np.mean(expected))
    none = dataclasses.replace(good, threshold_NA=np.full_like(good.threshold_NA, np.nan))
    assert np.isnan(none.average("f1_chosen"))


def test_recomputed_scores_equal_those_before_saving(good, tmp_path):
    write_predictions(tmp_path / "x.parquet", good)
    again, before = read_predictions(tmp_path / "x.parquet"), good
    pd.testing.assert_frame_equal(again.scores, before.scores, check_exact=True)


def test_a_better_system_is_told_from_a_worse_one(good):
    worse = dataclasses.replace(good, probability_NA=1 - good.probability_NA)
    comparison = compare(worse, good, names=("worse", "good"))
    assert comparison.mean.difference.low > 0
    assert comparison.mean.p_value < 0.01
    assert comparison.corrected_p[0] >= comparison.each[0].p_value


@pytest.mark.parametrize("what", ["dataset", "protocol_digest", "frames_digest"])
def test_files_of_another_test_do_not_compare(good, what):
    other = dataclasses.replace(good, about=dataclasses.replace(good.about, **{what: "other"}))
    with pytest.raises(PredictionsError, match=f"a and b do not compare: {what}"):
        compare(good, other, names=("a", "b"))


def test_other_labels_do_not_compare(good):
    other = dataclasses.replace(good, label_NA=1 - good.label_NA)
    with pytest.raises(PredictionsError, match="not the same frames, folds and labels"):
        compare(good, other, names=("a", "b"))


def test_another_parquet_file_is_refused(tmp_path):
    pq.write_table(pa.table({"a": [1]}), tmp_path / "x.parquet")
    with pytest.raises(PredictionsError, match=r"x.parquet: not a file of predictions"):
        read_predictions(tmp_path / "x.parquet")
    (tmp_path / "y.parquet").write_text("no")
    with pytest.raises(PredictionsError, match="not a file of predictions"):
        read_predictions(tmp_path / "y.parquet")
