"""A report from results: report.html, which needs no other file, report.md, tables.tex and scores.csv."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from mien.evaluate.metrics import Interval
from mien.evaluate.scoring import MEAN, Comparison, Result, compare, confusion_of, in_order, scores_table
from mien.evaluate.tables import (
    Table,
    ablation_table,
    as_latex,
    as_markdown,
    auc_table,
    comparison_table,
    expression_table,
    f1_table,
    modes_table,
    paper_rows,
    person_table,
    summary_table,
)
from mien.io import write_bytes
from mien.visualise.evaluation_figures import (
    confusion,
    f1_against_base_rate,
    f1_against_share,
    feature_map,
    identity_plane,
    overlay,
    styles_of,
)
from mien.visualise.page_parts import picture_url, template

if TYPE_CHECKING:
    from mien.evaluate.report_pictures import ReportPictures

_TITLES = {
    "bp4d": "BP4D",
    "disfa": "DISFA",
    "gft": "GFT",
    "rafdb": "RAF-DB",
    "affectnet": "AffectNet",
    "table": "a table of labels",
    "rendered": "rendered faces",
}
_WARNINGS = {
    "rendered": "These faces are rendered from a face model, with known action units. The figures compare "
    "encoders; they say little about real faces.",
}
_PUBLISHED_ABOVE = ("CLP", "ResNet-34 (ImageNet init, supervised)")
"""Published rows ranked with ours at the top of the page; the table has all of them."""


@dataclass(frozen=True)
class ReportParts:
    """The content that results lack. persons: see `mien.evaluate.person_independence`, by system."""

    persons: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    comparisons: tuple[Comparison, ...] | None = None  # None: the first system of each mode with the others
    alarms: tuple[str, ...] = ()  # what makes the figures doubtful; shown first
    facts: tuple[tuple[str, str], ...] = ()
    counts: tuple[str, ...] = ()
    pictures: ReportPictures | None = None


@dataclass(frozen=True)
class Bar:
    """One line of the ranking, in percent; published scores have no interval (low = high)."""

    label: str
    text: str
    score: float
    low: float
    high: float
    style: str  # "s0", "s1", ... as in the figures, or "published"


@dataclass(frozen=True)
class Report:
    """The content of a report without its figures.

    best: a sentence on the best system; lines qualify it, first of all by the lead over the next system.
    lead_is_sure: whether p of that lead is below 0.05; None for a single system. sentences: one per system
    and per comparison.
    """

    title: str
    scope: str
    best: str
    lines: tuple[str, ...]
    lead_is_sure: bool | None
    sentences: tuple[str, ...]
    ranking: tuple[Bar, ...]  # best first
    tables: tuple[Table, ...]
    facts: tuple[tuple[str, str], ...]
    warning: str
    alarms: tuple[str, ...]
    counts: tuple[str, ...]
    notes: tuple[str, ...]


def write_report(results: Sequence[Result], parts: ReportParts, out: Path) -> Report:
    """Write all files into `out`; measures.json keeps what the predictions do not contain."""
    results = in_order(results)
    report = report_of(results, parts)
    out.mkdir(parents=True, exist_ok=True)
    texts = {
        "report.html": template("evaluation.html").render(report=report, **_figures(report, results, parts)),
        "report.md": _markdown(report),
        "tables.tex": "\n".join(as_latex(table) for table in report.tables),
        "scores.csv": scores_table(results).to_csv(index=False, lineterminator="\n", na_rep="nan"),
    }
    if parts.persons or parts.facts:
        kept = {"persons": parts.persons, "facts": parts.facts, "counts": parts.counts}
        texts["measures.json"] = json.dumps(kept, indent=2)
    for name, text in texts.items():
        write_bytes(out / name, text.encode(), temporary_folder=out)
    return report


def report_of(results: Sequence[Result], parts: ReportParts) -> Report:
    """The report of results that are in order."""
    dataset = results[0].about.dataset
    comparisons = compared(results) if parts.comparisons is None else list(parts.comparisons)
    best, *others = sorted(headline(results), key=lambda result: -_sortable(result.mean_score.value))
    lead = _compare(others[0], best) if others else None
    among = f"Best of {1 + len(others)}: " if others else ""
    return Report(
        title=_TITLES.get(dataset, dataset),
        scope=_scope(results),
        best=f"{among}{best.label}, {_score_name(best)} {_interval(best.mean_score)}.",
        lines=(
            *([_lead(lead)] if lead else []),
            *_floor_lines(best),
            *_identity_lines(best, parts.persons),
        ),
        lead_is_sure=lead.mean.p_value < 0.05 if lead else None,
        sentences=(*map(_result_in_words, headline(results)), *map(_comparison_in_words, comparisons)),
        ranking=ranking_of(results),
        tables=_tables(results, comparisons, parts),
        facts=(*_facts(results), *parts.facts),
        warning=_WARNINGS.get(dataset, ""),
        alarms=parts.alarms,
        counts=parts.counts,
        notes=(*_undefined(results), *_missing_modes(results)),
    )


def headline(results: Sequence[Result]) -> list[Result]:
    """One result per system, all labels: frozen if that was run, else its first mode."""
    found: dict[str, Result] = {}
    for result in results:
        about = result.about
        if about.share_of_labels == 1 and (about.mode == "frozen" or about.system not in found):
            found[about.system] = result
    return list(found.values())


def compared(results: Sequence[Result]) -> list[Comparison]:
    """The first system against each other one, all labels, in the same mode.

    A system in a mode in which the first was not run (supervised ones) is compared with the headline result
    of the first.
    """
    whole = [r for r in results if r.about.share_of_labels == 1]
    if not whole:
        return []
    system = whole[0].about.system
    first_by_mode = {r.about.mode: r for r in whole if r.about.system == system}
    default = first_by_mode.get("frozen", whole[0])
    return [
        _compare(other, first_by_mode.get(other.about.mode, default))
        for other in whole
        if other.about.system != system
    ]


def compared_with_first(results: Sequence[Result]) -> list[Comparison]:
    """The first result against each other one, of any mode and share of labels."""
    return [_compare(other, results[0]) for other in results[1:]]


def ranking_of(results: Sequence[Result]) -> tuple[Bar, ...]:
    """The headline results and the paper's two reference rows, best first."""
    styles = styles_of(results)
    bars = []
    for result in headline(results):
        mean, style = result.mean_score, styles[result.about.system]
        score, low, high = (100 * value for value in (mean.value, mean.low, mean.high))
        bars.append(Bar(result.label, _interval(mean), score, low, high, style))
    bars += [
        Bar(
            f"{row.method}, as published",
            f"{row.average:.1f} %",
            row.average,
            row.average,
            row.average,
            "published",
        )
        for row in paper_rows(results[0].about.dataset)
        if row.method in _PUBLISHED_ABOVE
    ]
    return tuple(sorted(bars, key=lambda bar: -bar.score))


def _compare(other: Result, first: Result) -> Comparison:
    return compare(other.predictions, first.predictions, names=(other.label, first.label))


def _figures(report: Report, results: Sequence[Result], parts: ReportParts) -> dict[str, Any]:
    """What the template shows besides the report: figures and faces, empty where they do not apply."""
    shown, styles = headline(results), styles_of(results)
    has_units = results[0].has_units
    share_figure, share_key = f1_against_share(results, styles) if has_units else ("", ())
    floor = shown[0].average("always_on") if has_units else None
    highest = [bar.high for bar in report.ranking if math.isfinite(bar.high)]
    return {
        "score_name": _score_name(results[0]),
        "axis_end": min(100, max(25, 25 * math.ceil(max(highest, default=100.0) / 25))),
        "floor": None if floor is None else 100 * floor,
        "first_tables": ("modes", "f1", "expressions"),  # before the figures
        "identity_figure": identity_plane(parts.persons, styles),
        "identity_key": [(styles[name], name) for name in parts.persons],
        "confusions": [
            (r.label, confusion(confusion_of(r.predictions), r.predictions.outputs))
            for r in results
            if not has_units and r.about.share_of_labels == 1
        ],
        "rate_figure": f1_against_base_rate(shown, styles) if has_units else "",
        "rate_key": [(styles[r.about.system], r.label) for r in shown],
        "share_figure": share_figure,
        "share_key": share_key,
        "pictures": parts.pictures,
        "feature_map": feature_map,
        "picture_url": picture_url,
        "overlay": overlay,
    }


def _tables(
    results: Sequence[Result], comparisons: Sequence[Comparison], parts: ReportParts
) -> tuple[Table, ...]:
    predictions = results[0].predictions
    names = [f"AU{number}" for number in predictions.action_units] or predictions.outputs
    differences = [comparison_table(comparisons, names)] if comparisons else []
    if not results[0].has_units:
        return (expression_table(results), *differences)
    ablation = ablation_table(predictions.about.dataset)
    return (
        *([modes_table(results)] if len({r.about.mode for r in results}) > 1 else []),
        f1_table(results),
        *differences,
        *([person_table(parts.persons)] if parts.persons else []),
        summary_table(results),
        auc_table(results),
        *([ablation] if ablation is not None else []),
    )


def _scope(results: Sequence[Result]) -> str:
    predictions, about = results[0].predictions, results[0].about
    what = "action units" if results[0].has_units else "expressions"
    folds = len(set(predictions.fold_N.tolist()))
    how = f"{folds} folds" if folds > 1 else "one test part"
    return (
        f"{len(predictions.path_N):,} frames of {len(set(predictions.subject_N.tolist())):,} people, "
        f"{len(predictions.outputs)} {what}, {how}, nobody both in training and in test. "
        f"Protocol {about.protocol} ({about.protocol_digest}), frames {about.frames_digest}."
    )


def _facts(results: Sequence[Result]) -> tuple[tuple[str, str], ...]:
    predictions, about = results[0].predictions, results[0].about
    encoders = {
        f"encoder {one.system}": f"{one.encoder} {one.encoder_sha256[:16]}"
        for one in (result.about for result in results)
    }
    num_people = len(set(predictions.subject_N.tolist()))
    return (
        ("frames tested", f"{len(predictions.path_N):,} of {num_people} people"),
        ("protocol", f"{about.protocol}, hash {about.protocol_digest} ({about.protocol_source})"),
        ("frame list", f"hash {about.frames_digest}"),
        ("crop contract", about.contract_digest),
        *encoders.items(),
        ("settings", ", ".join(f"{key} {value}" for key, value in about.settings.items() if key != "mode")),
        ("mien", about.mien_version),
    )


def _undefined(results: Sequence[Result]) -> list[str]:
    """One sentence per score that is nowhere defined for some output; not of scores that are optional."""
    rows = pd.concat([result.scores for result in results])
    wanted = rows["value"].isna() & ~rows["score"].isin(["f1_chosen", "icc"]) & (rows["output"] != MEAN)
    return [
        f"{str(score).replace('_', ' ')} is undefined (NaN) for {', '.join(dict.fromkeys(outputs))}"
        for score, outputs in rows[wanted].groupby("score", sort=False)["output"]
    ]


def _missing_modes(results: Sequence[Result]) -> list[str]:
    modes = {result.about.mode for result in results}
    missing = [mode for mode in ("affine+stats", "stats", "frozen") if mode not in modes]
    if not missing:
        return []
    return [f"not run: {', '.join(missing)}. The paper's rows are read as affine+stats; report all three."]


def _markdown(report: Report) -> str:
    lines = [f"# {report.title}", "", *([f"**{report.warning}**", ""] if report.warning else [])]
    lines += [f"**Warning: {line}**\n" for line in report.alarms]
    lines += [report.scope, "", f"**{report.best}** {' '.join(report.lines)}", ""]
    lines += [f"- {line}" for line in report.sentences]
    lines += ["", *(as_markdown(table) for table in report.tables), "## What was tested", ""]
    lines += [f"- {name}: {value}" for name, value in report.facts]
    lines += [f"- {line}" for line in (*report.counts, *report.notes)]
    return "\n".join(lines) + "\n"


def _score_name(result: Result) -> str:
    return "mean F1" if result.has_units else "mean accuracy of the classes"


def _result_in_words(result: Result) -> str:
    line = f"{result.label}: {_score_name(result)} {_interval(result.mean_score)}"
    auc = f"; ROC-AUC {100 * result.average('roc_auc'):.1f} %" if result.has_units else ""
    return f"{line}{auc}."


def _comparison_in_words(comparison: Comparison) -> str:
    gain, p_value = comparison.mean.difference, comparison.mean.p_value
    sure = "" if p_value < 0.05 else " (may be chance)"
    return (
        f"{comparison.b} against {comparison.a}: {_signed(gain.value)} points of {comparison.score} "
        f"({_signed(gain.low)} to {_signed(gain.high)}), {_p(p_value)}{sure}."
    )


def _lead(comparison: Comparison) -> str:
    gain, p_value = comparison.mean.difference, comparison.mean.p_value
    ends = "more than chance explains" if p_value < 0.05 else "which may be chance"
    return (
        f"It leads the next, {comparison.a}, by {_signed(gain.value)} points ({_signed(gain.low)} to "
        f"{_signed(gain.high)}; {_p(p_value)}): {ends}."
    )


def _floor_lines(best: Result) -> list[str]:
    if not best.has_units:
        return []
    floor = best.average("always_on")
    above = 100 * (best.mean_score.value - floor)
    verdict = f"the best lies {above:.1f} points above that" if above > 0 else "no system reaches that"
    auc = 100 * best.average("roc_auc")
    return [
        f"Predicting every action unit in every frame gives {100 * floor:.1f} %: {verdict}. "
        f"ROC-AUC of the best is {auc:.1f} %, where chance is 50."
    ]


def _identity_lines(best: Result, persons: Mapping[str, Mapping[str, float]]) -> list[str]:
    """How well a read-out names the person from the features, best system first; one sentence, or none."""
    measured = {name: one for name, one in persons.items() if math.isfinite(one["identity_accuracy"])}
    if not measured:
        return []
    order = sorted(measured, key=lambda name: name != best.about.system)
    shares = ", ".join(f"{100 * measured[one]['identity_accuracy']:.0f} % ({one})" for one in order)
    chance = 100 * measured[order[0]]["identity_chance"]
    return [
        f"Identity leak: in frames of other videos a linear read-out names the person in {shares}; chance is "
        f"{chance:.0f} %. At equal F1, less is better."
    ]


def _signed(share: float) -> str:
    return f"{100 * share:+.1f}"


def _p(p_value: float) -> str:
    """Not more exact than the number of swaps allows."""
    return "p < 0.001" if p_value < 0.001 else f"p = {p_value:.3f}"


def _interval(interval: Interval) -> str:
    return f"{100 * interval.value:.1f} % ({100 * interval.low:.1f} to {100 * interval.high:.1f})"


def _sortable(value: float) -> float:
    return value if math.isfinite(value) else -math.inf
