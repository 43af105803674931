"""A system's predictions for every tested frame, as one Parquet file, and all scores, from them alone.

Columns: path, frame, seconds, subject, fold; per action unit label_AU12 (empty = not coded),
probability_AU12, threshold_AU12 (chosen on training subjects) and, where the set codes them, intensity_AU12
and predicted_intensity_AU12; or label (a class number) and probability_Happy. The metadata are
an `About` record.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray
from sklearn.metrics import confusion_matrix

from mien.evaluate import metrics
from mien.facs import action_unit
from mien.io import replacing

MEAN = "mean"
MODES = ("affine+stats", "stats", "frozen", "all")
"""In the order of the tables."""

_THRESHOLD = 0.5
_KEY = b"mien predictions"
_FORMAT = 1
_ROW = ("path", "frame", "seconds", "subject", "fold")
_BLOCKS = ("probability", "label", "threshold", "intensity", "predicted_intensity")


class PredictionsError(ValueError):
    """A file of predictions that cannot be used, or two that do not compare."""


@dataclass(frozen=True)
class About:
    """What was tested, how, and on what: everything a reader needs to know whether two files compare."""

    dataset: str
    system: str  # shown in the report
    mode: str  # trained parts of the encoder: see TrunkMode
    share_of_labels: float  # of the training subjects
    encoder: str  # file or description
    encoder_sha256: str
    contract_digest: str
    protocol: str
    protocol_source: str
    protocol_digest: str
    frames_digest: str
    settings: dict[str, Any]
    mien_version: str
    seconds: float  # spent on fitting and predicting
    notes: tuple[str, ...] = ()

    @property
    def label(self) -> str:
        """System, mode, and the share of labels where it is not all."""
        share = "" if self.share_of_labels == 1 else f", {100 * self.share_of_labels:g} % of labels"
        return f"{self.system} ({self.mode_name}{share})"

    @property
    def mode_name(self) -> str:
        """The mode as the tables show it."""
        return "fine-tuned" if self.mode == "all" else self.mode


@dataclass(frozen=True)
class Predictions:
    """N tested frames. Outputs are action units, or expressions when `class_N` is given.

    label_NA, threshold_NA, intensities: NaN where not coded or not chosen; A = 0 for expressions.
    """

    about: About
    outputs: tuple[str, ...]  # AU12 or Happy
    path_N: NDArray[np.str_]
    frame_N: NDArray[np.int64]
    seconds_N: NDArray[np.float64]
    subject_N: NDArray[np.str_]
    fold_N: NDArray[np.str_]
    probability_NA: NDArray[np.float32]
    label_NA: NDArray[np.float32]
    threshold_NA: NDArray[np.float32]
    class_N: NDArray[np.int64] | None = None
    intensity_NA: NDArray[np.float32] | None = None
    predicted_intensity_NA: NDArray[np.float32] | None = None

    @property
    def action_units(self) -> tuple[int, ...]:
        """Their numbers; empty for expressions."""
        return () if self.class_N is not None else tuple(int(name[2:]) for name in self.outputs)

    @property
    def label(self) -> str:
        """As the tables show it."""
        return self.about.label

    @cached_property
    def scores(self) -> pd.DataFrame:
        """Columns output, score, value, low, high, as in scores.csv; 0 to 1.

        Action units have, each the mean over the folds unless stated otherwise: f1, roc_auc, base_rate
        (pooled), always_on (F1 of predicting the unit in every frame), f1_pooled, f1_chosen (at thresholds
        chosen on training subjects), average_precision, balanced_accuracy, calibration_error, icc (of
        predicted and coded intensity, pooled). Expressions have accuracy (recall). low and high bound the
        95 % interval, NaN for a score without one; value is NaN where a score is undefined or was not
        measured. The first row is the mean over the outputs by which systems are ranked.
        """
        rows = _unit_scores(self) if self.class_N is None else _class_scores(self)
        return pd.DataFrame(list(rows), columns=["output", "score", "value", "low", "high"])

    @property
    def mean_score(self) -> metrics.Interval:
        """The number by which systems are ranked: mean F1, or mean accuracy of the classes."""
        return metrics.Interval(*self.scores.loc[0, ["value", "low", "high"]])

    def each(self, score: str) -> list[metrics.Interval]:
        """That score of every output, in the order of the outputs."""
        rows = self.scores[(self.scores["score"] == score) & (self.scores["output"] != MEAN)]
        return [metrics.Interval(*row) for row in rows[["value", "low", "high"]].itertuples(index=False)]

    def average(self, score: str) -> float:
        """The mean of that score over the outputs where it is defined."""
        return metrics.mean_defined(interval.value for interval in self.each(score))


def output_names(action_units: tuple[int, ...], expressions: tuple[str, ...]) -> tuple[str, ...]:
    """Column endings: AU01, AU12, or the expressions."""
    return expressions or tuple(action_unit(number).column for number in action_units)


def write_predictions(path: Path, predictions: Predictions) -> None:
    """One Parquet file, written whole or not at all."""
    columns: dict[str, Any] = {name: pa.array(getattr(predictions, f"{name}_N")) for name in _ROW}
    if predictions.class_N is not None:
        columns["label"] = pa.array(predictions.class_N)
    for block in _BLOCKS:
        values_NA = getattr(predictions, f"{block}_NA")
        if values_NA is not None and values_NA.shape[1]:
            for name, values_N in zip(predictions.outputs, values_NA.T, strict=True):
                columns[f"{block}_{name}"] = pa.array(values_N, from_pandas=True)  # NaN becomes empty
    about = dataclasses.asdict(predictions.about)
    record = {"format": _FORMAT, "outputs": predictions.outputs, "about": about}
    table = pa.table(columns).replace_schema_metadata({_KEY: json.dumps(record).encode()})
    with replacing(path, temporary_folder=path.parent) as temporary:
        pq.write_table(table, temporary, compression="zstd")


def read_predictions(path: Path) -> Predictions:
    """The contents of a file of `write_predictions`; PredictionsError when the file is something else."""
    about, outputs = _read_record(path)
    table = pq.read_table(path).to_pandas()
    rows: dict[str, Any] = {f"{name}_N": table[name].to_numpy() for name in _ROW}
    rows |= {name: rows[name].astype(np.str_) for name in ("path_N", "subject_N", "fold_N")}
    none_NA = np.zeros((len(table), 0), np.float32)
    blocks: dict[str, Any] = {"label_NA": none_NA, "threshold_NA": none_NA}
    for block in _BLOCKS:
        if f"{block}_{outputs[0]}" in table:
            blocks[f"{block}_NA"] = table[[f"{block}_{name}" for name in outputs]].to_numpy(np.float32)
    class_N = table["label"].to_numpy() if "label" in table else None
    return Predictions(about=about, outputs=outputs, class_N=class_N, **rows, **blocks)


def read_about(path: Path) -> About:
    """The record of a file of predictions, without its rows; PredictionsError as `read_predictions`."""
    return _read_record(path)[0]


def _read_record(path: Path) -> tuple[About, tuple[str, ...]]:
    """The record and the outputs."""
    try:
        record = json.loads((pq.read_schema(path).metadata or {})[_KEY])
    except (pa.ArrowInvalid, KeyError, json.JSONDecodeError) as error:
        raise PredictionsError(f"{path}: not a file of predictions that `mien evaluate` wrote") from error
    if record["format"] != _FORMAT:
        raise PredictionsError(f"{path}: format {record['format']}; this mien reads {_FORMAT}")
    about = About(**(record["about"] | {"notes": tuple(record["about"]["notes"])}))
    return about, tuple(record["outputs"])


def require_comparable(a: Predictions, b: Predictions, *, names: tuple[str, str]) -> None:
    """PredictionsError saying what differs, unless both were tested on the same frames, folds and labels."""
    differs = "not the same frames, folds and labels"
    for what in ("dataset", "protocol_digest", "frames_digest"):
        left, right = getattr(a.about, what), getattr(b.about, what)
        if left != right:
            differs = f"{what} is {left} in the first, {right} in the second"
            break
    else:
        if a.outputs == b.outputs and _tested(a).equals(_tested(b)):
            return
    raise PredictionsError(f"{names[0]} and {names[1]} do not compare: {differs}")


def _tested(predictions: Predictions) -> pd.DataFrame:
    """Frames, folds and labels, in an order of their own."""
    labels = predictions.label_NA if predictions.class_N is None else predictions.class_N[:, None]
    table = pd.DataFrame(labels).assign(
        path=predictions.path_N, frame=predictions.frame_N, fold=predictions.fold_N
    )
    return table.sort_values(["path", "frame"], ignore_index=True)


def in_order(results: Sequence[Predictions]) -> list[Predictions]:
    """By share of labels, mode and the order in which the systems were given."""
    systems = list(dict.fromkeys(result.about.system for result in results))

    def key(result: Predictions) -> tuple[float, int, int]:
        about = result.about
        return -about.share_of_labels, MODES.index(about.mode), systems.index(about.system)

    return sorted(results, key=key)


def scores_table(results: Iterable[Predictions]) -> pd.DataFrame:
    """The scores of all results below each other; the first columns are system, mode, share_of_labels."""
    names = ["system", "mode", "share_of_labels"]
    every = [one.scores.assign(**{name: getattr(one.about, name) for name in names}) for one in results]
    table = pd.concat(every, ignore_index=True)
    return table[[*names, *table.columns.drop(names)]]


@dataclass(frozen=True)
class Comparison:
    """System b against system a, output by output; p-values corrected for their number (Holm).

    score: F1 of action units, or accuracy of expressions.
    """

    score: str
    a: str
    b: str
    each: list[metrics.PairedTest]
    corrected_p: list[float]
    mean: metrics.PairedTest


def compare(a: Predictions, b: Predictions, *, names: tuple[str, str] | None = None) -> Comparison:
    """Paired tests over subjects; PredictionsError when the two were not tested on the same.

    names: of the two; their labels unless given.
    """
    names = names or (a.label, b.label)
    require_comparable(a, b, names=names)
    if a.class_N is not None:
        order_a, order_b = (np.lexsort((one.frame_N, one.path_N)) for one in (a, b))
        named = [one.probability_NA.argmax(axis=1)[order] for one, order in ((a, order_a), (b, order_b))]
        each, mean = metrics.compare_accuracies(a.class_N[order_a], *named, num_classes=len(a.outputs))
    else:
        fold_S = metrics.fold_of_subjects(a.subject_N, a.fold_N)
        counts_a, counts_b = (
            metrics.counts_by_subject(one.label_NA, one.probability_NA > _THRESHOLD, one.subject_N)
            for one in (a, b)
        )
        weight_RS = metrics.subject_weights(fold_S, seed=metrics.RESAMPLING_SEED)
        each, mean = metrics.compare_f1(counts_a, counts_b, fold_S, weight_RS, seed=metrics.RESAMPLING_SEED)
    score = "F1" if a.class_N is None else "accuracy"
    return Comparison(score, *names, each, metrics.holm([test.p_value for test in each]), mean)


def confusion_of(predictions: Predictions) -> NDArray[np.int64]:
    """(C, C) counts of expressions: rows true, columns predicted."""
    predicted_N, classes = predictions.probability_NA.argmax(axis=1), np.arange(len(predictions.outputs))
    confusion_CC: NDArray[np.int64] = confusion_matrix(predictions.class_N, predicted_N, labels=classes)
    return confusion_CC


def _unit_scores(predictions: Predictions) -> Iterator[tuple[str, str, float, float, float]]:
    labels_NA, probability_NA, fold_N = predictions.label_NA, predictions.probability_NA, predictions.fold_N
    present_NA, subject_N = probability_NA > _THRESHOLD, predictions.subject_N
    f1, f1_mean, auc = metrics.occurrence_intervals(labels_NA, present_NA, probability_NA, subject_N, fold_N)
    folds = [fold_N == fold for fold in np.unique(fold_N)]
    of_folds = [
        metrics.scores_of(labels_NA[rows], probability_NA[rows], threshold_A=_THRESHOLD) for rows in folds
    ]
    rate_A = metrics.base_rates(labels_NA)
    chosen_NA, none_A = predictions.threshold_NA, np.full(len(predictions.outputs), np.nan)
    chosen = [
        metrics.f1_of_counts(metrics.confusion_counts(labels_NA[f], (probability_NA > chosen_NA)[f]))
        for f in folds
    ]
    coded_NA, read_NA = predictions.intensity_NA, predictions.predicted_intensity_NA
    plain: dict[str, Iterable[float]] = {
        "base_rate": rate_A,
        "always_on": metrics.always_on_f1(rate_A),
        "f1_pooled": metrics.f1_of_counts(metrics.confusion_counts(labels_NA, present_NA)),
        "f1_chosen": none_A if np.isnan(chosen_NA).all() else np.mean(chosen, axis=0),
        **{
            name: map(metrics.mean_defined, zip(*(getattr(scores, name) for scores in of_folds), strict=True))
            for name in ("average_precision", "balanced_accuracy", "calibration_error")
        },
        "icc": none_A if coded_NA is None or read_NA is None else metrics.icc_3_1(coded_NA, read_NA),
    }
    yield MEAN, "f1", f1_mean.value, f1_mean.low, f1_mean.high
    yield MEAN, "roc_auc", metrics.mean_defined(interval.value for interval in auc), np.nan, np.nan
    for score, intervals in (("f1", f1), ("roc_auc", auc)):
        for output, interval in zip(predictions.outputs, intervals, strict=True):
            yield output, score, interval.value, interval.low, interval.high
    for score, values in plain.items():
        for output, value in zip(predictions.outputs, values, strict=True):
            yield output, score, float(value), np.nan, np.nan


def _class_scores(predictions: Predictions) -> Iterator[tuple[str, str, float, float, float]]:
    accuracy_C, mean = metrics.class_accuracies(confusion_of(predictions))
    yield MEAN, "accuracy", mean.value, mean.low, mean.high
    for output, value in zip(predictions.outputs, accuracy_C.tolist(), strict=True):
        yield output, "accuracy", value, np.nan, np.nan
