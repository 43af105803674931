"""The report's tables, with the paper's Tables I-VI (paper_tables/SOURCE.md), as data, Markdown and LaTeX."""

from __future__ import annotations

import csv
import math
from collections.abc import Iterable, Mapping, Sequence
from importlib import resources
from typing import NamedTuple

from mien.evaluate.metrics import Interval, PairedTest
from mien.evaluate.predictions import Comparison, Predictions

MEASURED, PUBLISHED, FLOOR = "measured", "published", "floor"


class Cell(NamedTuple):
    """The printed text, and a hint with more.

    strong: a mean. faint: a score whose interval reaches the floor of its column.
    """

    text: str
    hint: str = ""
    strong: bool = False
    faint: bool = False


class Row(NamedTuple):
    """One line of a table. kind: MEASURED, PUBLISHED or FLOOR."""

    label: str
    kind: str
    cells: Sequence[Cell]
    hint: str = ""


class Table(NamedTuple):
    """A title, a note, and rows of as many cells as there are columns."""

    name: str  # of the LaTeX label
    title: str
    columns: Sequence[str]
    rows: Sequence[Row]
    note: str = ""


def f1_table(results: Sequence[Predictions]) -> Table:
    """F1 per action unit beside floors and, for a set of the paper, its table."""
    floors = {
        "base rate (frames with it)": "base_rate",
        "always on (F1 of predicting it everywhere)": "always_on",
    }
    rows = []
    for label, score in floors.items():
        values = [Cell(_percent(interval.value)) for interval in results[0].each(score)]
        rows.append(Row(label, FLOOR, [_strong(results[0].average(score)), Cell(""), *values]))
    for result in results:
        pairs = zip(result.each("f1"), result.each("always_on"), strict=True)
        cells = [_interval_cell(interval, floor=always_on.value) for interval, always_on in pairs]
        rows.append(Row(result.label, MEASURED, [*_mean_cells(result.mean_score), *cells]))
    for row in paper_rows(results[0].about.dataset):
        mean, *each = row.cells()
        rows.append(Row(row.label, PUBLISHED, [mean, Cell(""), *each], row.repair))
    return Table(
        "f1",
        "F1 by action unit, %",
        ["mean", "95 % interval", *_units(results[0])],
        rows,
        "Mean of the folds' F1 at threshold 0.5, last epoch. Intervals, of the mean over action units, "
        "resample people. Grey: the interval reaches the F1 of predicting the action unit everywhere. "
        "* copied in the paper from the method's own article. Published rows come from other crops, other "
        "weights and, where the paper does not say, perhaps other folds.",
    )


def modes_table(results: Sequence[Predictions]) -> Table:
    """One row per system, one column per mode: the mean score where parts of the encoder are fitted too."""
    whole = [result for result in results if result.about.share_of_labels == 1]
    modes = dict.fromkeys(result.about.mode_name for result in whole)
    by_system: dict[str, dict[str, Cell]] = {}
    for result in whole:
        mean, hint = result.mean_score, f"ROC-AUC {_percent(result.average('roc_auc'))}"
        cell = Cell(f"{_percent(mean.value)} ({_bounds(mean)})", hint)
        by_system.setdefault(result.about.system, {})[result.about.mode_name] = cell
    return Table(
        "modes",
        "Mean F1 by trained part of the encoder, %",
        list(modes),
        [Row(name, MEASURED, [of.get(mode, Cell("")) for mode in modes]) for name, of in by_system.items()],
        "frozen: nothing, the usual linear protocol. stats: the running statistics of batch-norm. "
        "affine+stats: these and its affine parameters, the literal reading of the paper. fine-tuned: all.",
    )


def ablation_table(dataset: str) -> list[Table]:
    """The paper's Table IV for that set; empty where it has none."""
    columns = {"use_L_tcl": "L_tcl", "use_L_cir": "L_cir", "lambda_j": "lambda_j", "size_C": "size of C"}
    words = {"true": "yes", "false": "no"}
    rows = []
    for row in read_paper_table("table4_ablation"):
        if row["dataset"].lower() == dataset:
            cells = [Cell(words.get(row[name], row[name])) for name in columns]
            mean = Cell(row["average"], strong=True)
            rows.append(Row(row["method"], PUBLISHED, [*cells, mean], row["ocr_note"]))
    table = Table(
        "ablation",
        "The paper's ablation (Table IV), mean F1, %",
        [*columns.values(), "mean"],
        rows,
        "Compare with encoders trained with the same settings; the note of each row lists repaired cells.",
    )
    return [table] if rows else []


def auc_table(results: Sequence[Predictions]) -> Table:
    """ROC-AUC per action unit, which depends on no threshold and no base rate."""
    units = _units(results[0])
    rows = [Row("chance", FLOOR, [Cell("50.0")] * (1 + len(units)))]
    for result in results:
        each = [_interval_cell(interval, floor=0.5) for interval in result.each("roc_auc")]
        rows.append(Row(result.label, MEASURED, [_strong(result.average("roc_auc")), *each]))
    return Table(
        "auc",
        "ROC-AUC by action unit, %",
        ["mean", *units],
        rows,
        "Over pairs of frames tested by the same model. Grey: the interval reaches down to chance. NaN: "
        "only one class among the coded frames.",
    )


_SUMMARY = {
    "F1 pooled": "f1_pooled",
    "F1, chosen thresholds": "f1_chosen",
    "ROC-AUC": "roc_auc",
    "average precision": "average_precision",
    "balanced accuracy": "balanced_accuracy",
    "calibration error": "calibration_error",
    "ICC(3,1)": "icc",
}
"""Scores by the column that shows their mean."""


def summary_table(results: Sequence[Predictions]) -> Table:
    """All mean scores of each system."""
    rows = []
    for result in results:
        means = [_percent(result.average(score)).replace("NaN", "–") for score in _SUMMARY.values()]
        cells = map(Cell, (*means, f"{result.about.seconds:.0f}"))
        rows.append(Row(result.label, MEASURED, [*_mean_cells(result.mean_score), *cells]))
    return Table(
        "summary",
        "Means over action units, %",
        ["F1", "95 % interval", *_SUMMARY, "seconds"],
        rows,
        "Chosen thresholds: the best ones on a third of the training subjects, by a model fitted on the "
        "others; never on test subjects. Calibration error: lower is better; heads are fitted with "
        "presence and absence weighted alike, so their probabilities are meant for 0.5, not for the base "
        "rate. ICC(3,1): ridge regression of intensities on frozen features. –: undefined or not measured.",
    )


def expression_table(results: Sequence[Predictions]) -> Table:
    """Accuracy per class beside the paper's rows, in the paper's order of columns."""
    published = paper_rows(results[0].about.dataset)
    order = list(published[0].values) if published else results[0].outputs
    rows = []
    for result in results:
        accuracy_of = dict(zip(result.outputs, result.each("accuracy"), strict=True))
        each = [Cell(_percent(accuracy_of[name].value)) for name in order]
        named_N = result.probability_NA.argmax(axis=1)
        of_all = Cell(_percent(float((named_N == result.class_N).mean())))
        rows.append(Row(result.label, MEASURED, [*each, *_mean_cells(result.mean_score), of_all]))
    for row in published:
        mean, *each = row.cells()
        rows.append(Row(row.label, PUBLISHED, [*each, mean, Cell(""), Cell("")], row.repair))
    return Table(
        "expressions",
        "Accuracy by expression, %",
        [*order, "mean of classes", "95 % interval", "all faces"],
        rows,
        "Share of each class that is recognised; their mean is the paper's “Average”. Intervals of that "
        "mean resample pictures.",
    )


PERSON = (
    ("index", "index"),
    ("AU ROC-AUC", "action_unit_auc"),
    ("identity named", "identity_accuracy"),
    ("by chance", "identity_chance"),
    ("identity retrieved", "identity_retrieval"),
    ("silhouette AU", "silhouette_by_action_unit"),
    ("silhouette person", "silhouette_by_subject"),
    ("R² yaw", "r2_yaw"),
    ("R² pitch", "r2_pitch"),
    ("R² brightness", "r2_brightness"),
)
"""Columns and the numbers that they show."""


def person_table(persons: Mapping[str, Mapping[str, float]]) -> Table:
    """What the features of each system contain besides action units; see `person_independence`."""
    rows = []
    for name, numbers in persons.items():
        values = [numbers[key] for _, key in PERSON]
        index, *texts = ["undefined" if math.isnan(value) else f"{value:.2f}" for value in values]
        rows.append(Row(name, MEASURED, [Cell(index, strong=True), *map(Cell, texts)]))
    return Table(
        "person",
        "Person-independence: action units set against identity",
        [column for column, _ in PERSON],
        rows,
        "Frozen features. Index: (2 AUC - 1) - (identity - chance) / (1 - chance); above 0 features hold "
        "more of the action than of the person. Identity is named by a linear read-out from other videos of "
        "the same people; retrieved: the nearest frame of any other video shows the same person. R²: ridge "
        "regression across people.",
    )


def comparison_table(comparisons: Sequence[Comparison], outputs: Sequence[str]) -> Table:
    """Differences of F1, or of accuracy, between systems on the same frames."""
    rows = []
    for comparison in comparisons:
        each = [
            Cell(_points(test) + ("†" if p < 0.05 else ""), f"p {test.p_value:.3f}, corrected {p:.3f}")
            for test, p in zip(comparison.each, comparison.corrected_p, strict=True)
        ]
        mean, low, high = comparison.mean, comparison.mean.difference.low, comparison.mean.difference.high
        p_value = Cell("< 0.001" if mean.p_value < 0.001 else f"{mean.p_value:.3f}")
        cells = [Cell(_points(mean), strong=True), Cell(f"{100 * low:+.1f} to {100 * high:+.1f}"), p_value]
        rows.append(Row(f"{comparison.a} → {comparison.b}", MEASURED, [*cells, *each]))
    return Table(
        "paired",
        f"Differences of {comparisons[0].score}, points",
        ["mean", "95 % interval", "p", *outputs],
        rows,
        "Second minus first on the same frames and folds. p: sign-flip test of the mean over people; † "
        "marks columns with p < 0.05 after Holm's correction for their number.",
    )


def _units(result: Predictions) -> list[str]:
    return [f"AU{number}" for number in result.action_units]


def _strong(share: float) -> Cell:
    return Cell(_percent(share), strong=True)


def _mean_cells(mean: Interval) -> tuple[Cell, Cell]:
    return _strong(mean.value), Cell(_bounds(mean))


def _interval_cell(interval: Interval, *, floor: float) -> Cell:
    return Cell(_percent(interval.value), _bounds(interval), faint=not interval.low > floor)


def _bounds(interval: Interval) -> str:
    return f"{_percent(interval.low)} to {_percent(interval.high)}"


def _points(test: PairedTest) -> str:
    return f"{100 * test.difference.value:+.1f}"


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
"""The file with a set's table."""


class PaperRow(NamedTuple):
    """One printed row: percent by column (`AU12`, `Happy`), NaN where the paper has none."""

    method: str
    label: str  # as printed: with an asterisk if taken over from the method's own article
    values: dict[str, float]
    average: float
    repair: str

    def cells(self) -> list[Cell]:
        """The average, then the columns."""
        return [Cell(_plain(self.average), strong=True), *map(Cell, map(_plain, self.values.values()))]


def paper_rows(dataset: str) -> list[PaperRow]:
    """The rows of that set's table in the printed order; empty for a set that the paper does not have."""
    fixed = ("method", "group", "reported_in_original", "average", "ocr_note")
    return [
        PaperRow(
            cells["method"],
            cells["method"] + ("*" if cells["reported_in_original"] == "true" else ""),
            {column: float(cell or "nan") for column, cell in cells.items() if column not in fixed},
            float(cells["average"] or "nan"),
            cells["ocr_note"],
        )
        for cells in (read_paper_table(TABLES[dataset]) if dataset in TABLES else [])
    ]


def read_paper_table(name: str) -> list[dict[str, str]]:
    """The cells of `paper_tables/NAME.csv`, among them table4_ablation and extra_sequence_length."""
    path = resources.files("mien.evaluate") / "paper_tables" / f"{name}.csv"
    return list(csv.DictReader(path.read_text(encoding="utf-8").splitlines()))


_LATEX = str.maketrans(
    {sign: "\\" + sign for sign in "&%_#"}
    | {"→": r"$\to$", "²": r"\textsuperscript{2}", "†": r"\textdagger{}", "<": r"\textless{}"}
    | {"“": "``", "”": "''"}
)


def as_markdown(table: Table) -> str:
    """A heading, a pipe table and the note."""
    cells = [["", *table.columns], ["---", *("---:" for _ in table.columns)], *map(_texts, table.rows)]
    lines = ["| " + " | ".join(cell.replace("|", r"\|") for cell in row) + " |" for row in cells]
    return "\n".join([f"## {table.title}", "", *lines, "", table.note, ""])


def as_latex(table: Table) -> str:
    """A table environment with booktabs rules; a rule before the published rows."""
    ours = [_latex_row(_texts(row)) for row in table.rows if row.kind != PUBLISHED]
    theirs = [_latex_row(_texts(row)) for row in table.rows if row.kind == PUBLISHED]
    lines = [r"\begin{table}", r"\centering", rf"\begin{{tabular}}{{l{'r' * len(table.columns)}}}"]
    lines += [r"\toprule", _latex_row(["", *table.columns]), r"\midrule", *ours]
    lines += [*([r"\midrule"] if theirs else []), *theirs, r"\bottomrule", r"\end{tabular}"]
    caption = f"{table.title}. {table.note}".translate(_LATEX)
    lines += [rf"\caption{{{caption}}}", rf"\label{{tab:{table.name}}}", r"\end{table}", ""]
    return "\n".join(lines)


def _texts(row: Row) -> list[str]:
    label = f"{row.label} (published)" if row.kind == PUBLISHED else row.label
    return [label, *(cell.text for cell in row.cells)]


def _latex_row(cells: Iterable[str]) -> str:
    return " & ".join(cell.translate(_LATEX) for cell in cells) + r" \\"
