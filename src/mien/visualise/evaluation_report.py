"""A whole report from results: report.html, report.md, tables.tex, scores.csv in one folder."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from mien.evaluate.person_independence import PersonIndependence
from mien.evaluate.scoring import Comparison, Result, compare, in_order, long_rows
from mien.evaluate.table import Table, as_csv, as_latex, as_markdown
from mien.evaluate.tables import (
    ablation_table,
    auc_table,
    comparison_table,
    expression_table,
    f1_table,
    modes_table,
    person_table,
    summary_table,
)
from mien.io import write_bytes
from mien.visualise.evaluation_summary import identity_plane, ranking_of, styles_of
from mien.visualise.evaluation_verdict import headline, in_words, told, verdict_of
from mien.visualise.report_page import ReportPage, fields_of, figures_of, write_report_page

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
_TOYS = {
    "rendered": "These faces are rendered from a face model, with known action units. The figures compare "
    "encoders; they say little about real faces.",
}


@dataclass(frozen=True)
class ReportParts:
    """What the results do not contain."""

    persons: Sequence[tuple[str, PersonIndependence]] = ()
    comparisons: tuple[Comparison, ...] | None = None  # None: the first system of each mode with the others
    alarms: tuple[str, ...] = ()  # what makes the figures doubtful; said first
    facts: tuple[tuple[str, str], ...] = ()
    counts: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    pictures: ReportPictures | None = None


def write_report(results: Sequence[Result], parts: ReportParts, out: Path) -> ReportPage:
    """All files into `out`; the page that was written.

    measures.json keeps what the predictions do not contain.
    """
    results = in_order(results)
    page = page_of(results, parts)
    out.mkdir(parents=True, exist_ok=True)
    write_report_page(page, out / "report.html")
    texts = {
        "report.md": _markdown(page),
        "tables.tex": "\n".join(as_latex(table) for table in page.tables),
        "scores.csv": as_csv(long_rows(results)),
    }
    for name, text in texts.items():
        write_bytes(out / name, text.encode(), temporary_folder=out)
    kept = {
        "persons": {name: numbers.to_dict() for name, numbers in parts.persons},
        "facts": parts.facts,
        "counts": parts.counts,
    }
    if parts.persons or parts.facts:
        write_bytes(out / "measures.json", json.dumps(kept, indent=2).encode(), temporary_folder=out)
    return page


def page_of(results: Sequence[Result], parts: ReportParts) -> ReportPage:
    """The page of results that are in order."""
    dataset = results[0].predictions.about.dataset
    comparisons = compared(results) if parts.comparisons is None else list(parts.comparisons)
    verdict = verdict_of(results, parts.persons)
    shown = fields_of(parts.pictures) if parts.pictures is not None else {}
    page = ReportPage(
        title=_TITLES.get(dataset, dataset),
        scope=_scope(results),
        verdict=verdict,
        told=(*map(in_words, headline(results)), *map(told, comparisons)),
        ranking=ranking_of(results),
        identity_figure=identity_plane(parts.persons, styles_of(results)),
        tables=_tables(results, comparisons, parts),
        facts=(*_facts(results), *parts.facts),
        warning=_TOYS.get(dataset, ""),
        alarms=parts.alarms,
        counts=parts.counts,
        notes=(*parts.notes, *_undefined(results), *_missing_modes(results)),
    )
    return dataclasses.replace(page, **figures_of(results), **shown)


def compared(results: Sequence[Result]) -> list[Comparison]:
    """The first system against each other one, all labels, in the same mode.

    A system that was not tried in a mode of the first one (a supervised one, say) is set against the first
    one's headline result.
    """
    whole = [r for r in results if r.predictions.about.share_of_labels == 1]
    if not whole:
        return []
    system = whole[0].predictions.about.system
    first_by_mode = {r.predictions.about.mode: r for r in whole if r.predictions.about.system == system}
    headline = first_by_mode.get("frozen", whole[0])
    found = []
    for other in whole:
        if other.predictions.about.system != system:
            first = first_by_mode.get(other.predictions.about.mode, headline)
            names = (other.label, first.label)
            found.append(compare(other.predictions, first.predictions, names=names))
    return found


def compared_with_first(results: Sequence[Result]) -> list[Comparison]:
    """The very first against each other one, whatever their modes and shares of labels."""
    first, *others = results
    return [compare(o.predictions, first.predictions, names=(o.label, first.label)) for o in others]


def _tables(
    results: Sequence[Result], comparisons: Sequence[Comparison], parts: ReportParts
) -> tuple[Table, ...]:
    predictions = results[0].predictions
    names = [f"AU{number}" for number in predictions.action_units] or predictions.outputs
    differences = [comparison_table(comparisons, names)] if comparisons else []
    if results[0].expressions is not None:
        return (expression_table(results), *differences)
    person = [person_table(parts.persons)] if parts.persons else []
    ablation = ablation_table(results[0].predictions.about.dataset)
    modes = [modes_table(results)] if len({r.predictions.about.mode for r in results}) > 1 else []
    return (
        *modes,
        f1_table(results),
        *differences,
        *person,
        summary_table(results),
        auc_table(results),
        *([ablation] if ablation is not None else []),
    )


def _scope(results: Sequence[Result]) -> str:
    """What was tested, in a line."""
    predictions, about = results[0].predictions, results[0].predictions.about
    what = "expressions" if results[0].expressions is not None else "action units"
    folds = len(set(predictions.fold_N.tolist()))
    how = f"{folds} folds" if folds > 1 else "one test part"
    return (
        f"{len(predictions.path_N):,} frames of {len(set(predictions.subject_N.tolist())):,} people, "
        f"{len(predictions.outputs)} {what}, {how}, nobody both in training and in test. "
        f"Protocol {about.protocol} ({about.protocol_digest}), frames {about.frames_digest}."
    )


def _facts(results: Sequence[Result]) -> tuple[tuple[str, str], ...]:
    about = results[0].predictions.about
    predictions = results[0].predictions
    encoders = {
        r.predictions.about.system: f"{r.predictions.about.encoder} {r.predictions.about.encoder_sha256[:16]}"
        for r in results
    }
    return (
        (
            "frames tested",
            f"{len(predictions.path_N):,} of {len(set(predictions.subject_N.tolist()))} people",
        ),
        ("protocol", f"{about.protocol}, hash {about.protocol_digest} ({about.protocol_source})"),
        ("frame list", f"hash {about.frames_digest}"),
        ("crop contract", about.contract_digest),
        *((f"encoder {name}", told) for name, told in encoders.items()),
        ("settings", ", ".join(f"{key} {value}" for key, value in about.settings.items() if key != "mode")),
        ("mien", about.mien_version),
    )


def _undefined(results: Sequence[Result]) -> list[str]:
    """The same line once, whatever the number of systems."""
    lines = [line for r in results if r.occurrences is not None for line in r.occurrences.notes]
    return list(dict.fromkeys(lines))


def _missing_modes(results: Sequence[Result]) -> list[str]:
    modes = {result.predictions.about.mode for result in results}
    missing = [mode for mode in ("affine+stats", "stats", "frozen") if mode not in modes]
    if not missing:
        return []
    return [f"not tried: {', '.join(missing)}. The paper's rows are read as affine+stats; report all three."]


def _markdown(page: ReportPage) -> str:
    lines = [f"# {page.title}", "", *([f"**{page.warning}**", ""] if page.warning else [])]
    lines += [f"**Warning: {line}**\n" for line in page.alarms]
    lines += [page.scope, "", f"**{page.verdict.best}** {' '.join(page.verdict.lines)}", ""]
    lines += [f"- {line}" for line in page.told]
    lines += ["", *(as_markdown(table) for table in page.tables), "## What was tested", ""]
    lines += [f"- {name}: {value}" for name, value in page.facts]
    lines += [f"- {line}" for line in (*page.counts, *page.notes)]
    return "\n".join(lines) + "\n"
