"""The report's tables, with the paper's Tables I-VI as data beside ours (paper_tables/SOURCE.md)."""

from __future__ import annotations

import csv
import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mien.evaluate.intervals import Interval, PairedTest
from mien.evaluate.metrics import mean_defined
from mien.evaluate.person_independence import PersonIndependence
from mien.evaluate.scoring import Comparison, Result, mode_name
from mien.evaluate.table import FLOOR, MEASURED, PUBLISHED, Cell, Row, Table


def f1_table(results: Sequence[Result]) -> Table:
    """F1 per action unit beside floors and, for a set of the paper, its table."""
    first = results[0].occurrence_scores
    numbers = first.action_units
    floors = [
        _floor("base rate (frames with it)", first.base_rate),
        _floor("always on (F1 of predicting it everywhere)", first.always_on),
    ]
    published = [_published_f1(row) for row in paper_rows(results[0].predictions.about.dataset)]
    return Table(
        "f1",
        "F1 by action unit, %",
        ("mean", "95 % interval", *(f"AU{number}" for number in numbers)),
        (*floors, *(_f1_row(result) for result in results), *published),
        "Mean of the folds' F1 at threshold 0.5, last epoch. Intervals of the mean over action units, people "
        "resampled. Faint: the interval reaches down to what predicting the action unit everywhere gives. "
        "* copied in the paper from the method's own article. Published rows come from other crops, other "
        "weights and, where the paper does not say, perhaps other folds.",
    )


def modes_table(results: Sequence[Result]) -> Table:
    """One row per system, one column per mode: the mean score where parts of the encoder are fitted too."""
    whole = [result for result in results if result.predictions.about.share_of_labels == 1]
    modes = dict.fromkeys(result.predictions.about.mode for result in whole)
    by_system: dict[str, dict[str, Cell]] = {}
    for result in whole:
        about, mean = result.predictions.about, result.occurrence_scores.f1_mean
        text = f"{_percent(mean.value)} ({_bounds(mean)})"
        hint = f"ROC-AUC {_percent(result.occurrence_scores.roc_auc_mean)}"
        by_system.setdefault(about.system, {})[about.mode] = Cell(text, hint)
    rows = [
        Row(system, MEASURED, tuple(cells.get(mode, Cell("")) for mode in modes))
        for system, cells in by_system.items()
    ]
    return Table(
        "modes",
        "Mean F1 by what of the encoder moves, %",
        tuple(mode_name(mode) for mode in modes),
        tuple(rows),
        "frozen: nothing moves, the usual linear protocol. stats: the running statistics of batch-norm. "
        "affine+stats: these and its affine numbers, the paper's words taken literally. fine-tuned: all.",
    )


def ablation_table(dataset: str) -> Table | None:
    """The paper's Table IV for that set; None where it has none."""
    rows = [row for row in read_paper_table("table4_ablation") if row["dataset"].lower() == dataset]
    if not rows:
        return None
    columns = {"use_L_tcl": "L_tcl", "use_L_cir": "L_cir", "lambda_j": "lambda_j", "size_C": "size of C"}
    words = {"true": "yes", "false": "no"}
    cells = [[Cell(words.get(row[name], row[name])) for name in columns] for row in rows]
    return Table(
        "ablation",
        "The paper's ablation (Table IV), mean F1, %",
        (*columns.values(), "mean"),
        tuple(
            Row(row["method"], PUBLISHED, (*each, Cell(row["average"], strong=True)), row["ocr_note"])
            for row, each in zip(rows, cells, strict=True)
        ),
        "Compare with encoders trained with the same settings; the note of each row says what was repaired.",
    )


def auc_table(results: Sequence[Result]) -> Table:
    """ROC-AUC per action unit, which depends on no threshold and no base rate."""
    rows = []
    for result in results:
        summary = result.occurrence_scores
        mean = Cell(_percent(summary.roc_auc_mean), strong=True)
        each = [_interval_cell(interval, floor=0.5) for interval in summary.roc_auc]
        rows.append(Row(result.label, MEASURED, (mean, *each)))
    numbers = results[0].occurrence_scores.action_units
    chance = Row("chance", FLOOR, tuple(Cell("50.0") for _ in range(len(numbers) + 1)))
    return Table(
        "auc",
        "ROC-AUC by action unit, %",
        ("mean", *(f"AU{number}" for number in numbers)),
        (chance, *rows),
        "Over pairs of frames tested by the same model. Faint: the interval reaches down to chance. NaN: one "
        "class alone among the coded frames.",
    )


_SUMMARY = {
    "F1 pooled": "f1_pooled",
    "F1, chosen thresholds": "f1_chosen",
    "ROC-AUC": "roc_auc_mean",
    "average precision": "average_precision",
    "balanced accuracy": "balanced_accuracy",
    "calibration error": "calibration_error",
    "ICC(3,1)": "icc",
}
"""Fields of a summary by the column that shows their mean."""


def summary_table(results: Sequence[Result]) -> Table:
    """All mean scores of each system."""
    rows = []
    for result in results:
        means = [np.atleast_1d(getattr(result.occurrence_scores, field)) for field in _SUMMARY.values()]
        cells = [Cell(_measured(mean_defined(mean_A))) for mean_A in means]
        seconds = Cell(f"{result.predictions.about.seconds:.0f}")
        rows.append(Row(result.label, MEASURED, (*_mean_cells(result.mean_score), *cells, seconds)))
    return Table(
        "summary",
        "Means over action units, %",
        ("F1", "95 % interval", *_SUMMARY, "seconds"),
        tuple(rows),
        "Chosen thresholds: the best on a third of the training subjects, for a model of the others; never "
        "on test subjects. Calibration error: lower is better; heads are fitted with presence and absence "
        "weighted alike, so their probabilities are meant for 0.5, not for the base rate. ICC(3,1): ridge "
        "regression of the intensities on frozen features. –: not measured, or nowhere defined.",
    )


def expression_table(results: Sequence[Result]) -> Table:
    """Accuracy per class beside the paper's rows, in the paper's order of columns."""
    dataset, names = results[0].predictions.about.dataset, results[0].predictions.outputs
    published = paper_rows(dataset)
    order = tuple(published[0].values) if published else names
    rows = [_expression_row(result, order) for result in results]
    return Table(
        "expressions",
        "Accuracy by expression, %",
        (*order, "mean of classes", "95 % interval", "all faces"),
        (*rows, *(_published(row, extra=2) for row in published)),
        "Share of each class that is named rightly; their mean is the paper's “Average”. Intervals of that "
        "mean, pictures resampled.",
    )


_PERSON = (
    ("index", "index"),
    ("AU ROC-AUC", "action_unit_auc"),
    ("identity named", "identity_accuracy"),
    ("by chance", "identity_chance"),
    ("identity retrieved", "identity_retrieval"),
    ("silhouette AU", "silhouette_by_action_unit"),
    ("silhouette person", "silhouette_by_subject"),
    ("neighbours share AUs", "neighbours_share"),
    ("by chance", "neighbours_share_by_chance"),
    ("R² yaw", "r2_yaw"),
    ("R² pitch", "r2_pitch"),
    ("R² brightness", "r2_brightness"),
)
"""Columns and the fields that they show."""


def person_table(measured: Sequence[tuple[str, PersonIndependence]]) -> Table:
    """What is in the features of each encoder besides action units."""
    rows = []
    for name, numbers in measured:
        values = [getattr(numbers, field) for _, field in _PERSON]
        texts = ["undefined" if math.isnan(value) else f"{value:.2f}" for value in values]
        rows.append(Row(name, MEASURED, (Cell(texts[0], strong=True), *map(Cell, texts[1:]))))
    return Table(
        "person",
        "Person-independence: action units set against identity",
        tuple(column for column, _ in _PERSON),
        tuple(rows),
        "Frozen features. Index: (2 AUC - 1) - (identity - chance) / (1 - chance); above 0 features hold "
        "more of the action than of the person. Identity is named by a linear read-out from other videos of "
        "the same people; retrieved: the nearest frame of any other video shows the same person. Neighbours: "
        "overlap of action units with the ten nearest frames of other people. R²: ridge regression across "
        "people.",
    )


def comparison_table(comparisons: Sequence[Comparison], outputs: Sequence[str]) -> Table:
    """Differences of F1, or of accuracy, between systems on the same frames."""
    return Table(
        "paired",
        f"Differences of {comparisons[0].score}, points",
        ("mean", "95 % interval", "p", *outputs),
        tuple(_comparison_row(comparison) for comparison in comparisons),
        "Second less first, the same frames and folds. p: sign-flip test over people of the mean; a dagger "
        "marks columns with p < 0.05 after Holm's correction for their number.",
    )


def _f1_row(result: Result) -> Row:
    summary = result.occurrence_scores
    each = zip(summary.f1, summary.always_on, strict=True)
    cells = [_interval_cell(interval, floor=float(floor)) for interval, floor in each]
    return Row(result.label, MEASURED, (*_mean_cells(summary.f1_mean), *cells))


def _mean_cells(mean: Interval) -> tuple[Cell, Cell]:
    return Cell(_percent(mean.value), strong=True), Cell(_bounds(mean))


def _expression_row(result: Result, order: Sequence[str]) -> Row:
    scores, names = result.expressions, list(result.predictions.outputs)
    assert scores is not None
    values = [scores.accuracy_C[names.index(name)] for name in order]
    cells = [Cell(_percent(value)) for value in values]
    last = (*_mean_cells(scores.mean), Cell(_percent(scores.accuracy)))
    return Row(result.label, MEASURED, (*cells, *last))


def _comparison_row(comparison: Comparison) -> Row:
    each = [
        Cell(_points(test) + ("†" if p < 0.05 else ""), f"p {test.p_value:.3f}, corrected {p:.3f}")
        for test, p in zip(comparison.each, comparison.corrected_p, strict=True)
    ]
    mean, low, high = comparison.mean, comparison.mean.difference.low, comparison.mean.difference.high
    p_value = Cell("< 0.001" if mean.p_value < 0.001 else f"{mean.p_value:.3f}")
    cells = (Cell(_points(mean), strong=True), Cell(f"{100 * low:+.1f} to {100 * high:+.1f}"), p_value)
    return Row(f"{comparison.a} → {comparison.b}", MEASURED, (*cells, *each))


def _published_f1(row: PaperRow) -> Row:
    printed = _published(row)
    *each, mean = printed.cells
    return dataclasses.replace(printed, cells=(mean, Cell(""), *each))


def _published(row: PaperRow, *, extra: int = 0) -> Row:
    """`extra` empty cells at the end, for columns that the paper does not have."""
    cells = [*(Cell(_plain(value)) for value in row.values.values()), Cell(_plain(row.average), strong=True)]
    label = f"{row.method}{'*' if row.copied else ''}"
    return Row(label, PUBLISHED, (*cells, *(Cell("") for _ in range(extra))), row.repair)


def _floor(label: str, value_A: NDArray[np.floating[Any]]) -> Row:
    mean = Cell(_percent(mean_defined(value_A)), strong=True)
    return Row(label, FLOOR, (mean, Cell(""), *(Cell(_percent(value)) for value in value_A)))


def _interval_cell(interval: Interval, *, floor: float) -> Cell:
    return Cell(_percent(interval.value), _bounds(interval), faint=not interval.low > floor)


def _bounds(interval: Interval) -> str:
    return f"{_percent(interval.low)} to {_percent(interval.high)}"


def _points(test: PairedTest) -> str:
    return f"{100 * test.difference.value:+.1f}"


def _measured(share: float) -> str:
    """Chosen thresholds and intensities are not had in every mode."""
    return "–" if math.isnan(share) else _percent(share)


def _percent(share: float) -> str:
    return _plain(100 * float(share))


def _plain(value: float) -> str:
    return "NaN" if math.isnan(value) else f"{value:.1f}"


TABLES = {
    "bp4d": "table1_bp4d",
    "disfa": "table2_disfa",
    "gft": "table3_gft",
    "rafdb": "table5_rafdb",
    "affectnet": "table6_affectnet",
}
"""The file that holds a set's table."""


@dataclass(frozen=True)
class PaperRow:
    """One printed row: percent by column (`AU12`, `Happy`), NaN where the paper has none."""

    method: str
    copied: bool  # the asterisk: taken over from the method's own article
    values: dict[str, float]
    average: float
    repair: str


def paper_rows(dataset: str) -> list[PaperRow]:
    """The rows of that set's table in the printed order; empty for a set that the paper does not have."""
    if dataset not in TABLES:
        return []
    fixed = ("method", "group", "reported_in_original", "average", "ocr_note")
    return [
        PaperRow(
            method=cells["method"],
            copied=cells["reported_in_original"] == "true",
            values={column: float(cell or "nan") for column, cell in cells.items() if column not in fixed},
            average=float(cells["average"] or "nan"),
            repair=cells["ocr_note"],
        )
        for cells in read_paper_table(TABLES[dataset])
    ]


def read_paper_table(name: str) -> list[dict[str, str]]:
    """The cells of `paper_tables/NAME.csv`, among them table4_ablation and extra_sequence_length."""
    path = resources.files("mien.evaluate") / "paper_tables" / f"{name}.csv"
    return list(csv.DictReader(path.read_text(encoding="utf-8").splitlines()))
