"""A report from results: report.html, which needs no other file, report.md, tables.tex and scores.csv."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import pandas as pd

from mien.evaluate import tables
from mien.evaluate.metrics import Interval
from mien.evaluate.predictions import MEAN, Comparison, Predictions, compare, confusion_of, scores_table
from mien.io import write_bytes
from mien.visualise import charts
from mien.visualise.page_parts import picture_url, template

if TYPE_CHECKING:
    from mien.evaluate.feature_content import ReportPictures

_RENDERED = (
    "These faces are rendered from a face model, with known action units. The figures compare encoders; they "
    "say little about real faces."
)
_PUBLISHED_ABOVE = ("CLP", "ResNet-34 (ImageNet init, supervised)")
"""Published rows ranked with ours at the top of the page; the table has all of them."""

_ABOVE_FIGURES = ("modes", "f1", "expressions")


class Bar(NamedTuple):
    """One line of the ranking, in percent; published scores have no interval (low = high)."""

    label: str
    text: str
    score: float
    low: float
    high: float
    style: str  # "s0", "s1", ... as in the figures, or "published"


@dataclass(frozen=True)
class Report:
    """Results in order (see `in_order`), and what they lack; the properties are the report's content.

    persons: of `people_in_features`. given_comparisons: None for the first system of each mode with the
    others. alarms: what makes the figures doubtful; shown first.
    """

    results: Sequence[Predictions]
    persons: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    given_comparisons: Sequence[Comparison] | None = None
    alarms: Sequence[str] = ()
    more_facts: Mapping[str, str] = field(default_factory=dict)
    counts: Sequence[str] = ()
    pictures: ReportPictures | None = None

    def write(self, out: Path) -> None:
        """All files, into `out`; measures.json keeps what the predictions do not contain."""
        out.mkdir(parents=True, exist_ok=True)
        texts = {
            "report.html": template("evaluation.html").render(report=self, **self._figures()),
            "report.md": self._markdown(),
            "tables.tex": "\n".join(tables.as_latex(table) for table in self.tables),
            "scores.csv": scores_table(self.results).to_csv(index=False, lineterminator="\n", na_rep="nan"),
        }
        if self.persons or self.more_facts:
            kept = {"persons": self.persons, "facts": list(self.more_facts.items()), "counts": self.counts}
            texts["measures.json"] = json.dumps(kept, indent=2)
        for name, text in texts.items():
            write_bytes(out / name, text.encode(), temporary_folder=out)

    @property
    def title(self) -> str:
        """The data set."""
        return self.results[0].about.dataset

    @property
    def warning(self) -> str:
        """What to keep in mind about the data set; mostly ""."""
        return _RENDERED if self.title == "rendered" else ""

    @property
    def score_name(self) -> str:
        """The score by which systems are ranked."""
        return "mean F1" if self.results[0].action_units else "mean accuracy of the classes"

    @property
    def scope(self) -> str:
        """On what it was tested: one sentence, and the digests."""
        first, about = self.results[0], self.results[0].about
        what = "action units" if first.action_units else "expressions"
        folds = len(set(first.fold_N.tolist()))
        how = f"{folds} folds" if folds > 1 else "one test part"
        return (
            f"{len(first.path_N):,} frames of {len(set(first.subject_N.tolist())):,} people, "
            f"{len(first.outputs)} {what}, {how}, nobody both in training and in test. "
            f"Protocol {about.protocol} ({about.protocol_digest}), frames {about.frames_digest}."
        )

    @cached_property
    def headline(self) -> list[Predictions]:
        """One result per system, all labels: frozen if that was run, else its first mode."""
        found: dict[str, Predictions] = {}
        for result in self.results:
            about = result.about
            if about.share_of_labels == 1 and (about.mode == "frozen" or about.system not in found):
                found[about.system] = result
        return list(found.values())

    @cached_property
    def comparisons(self) -> list[Comparison]:
        """The first system against each other one, all labels, in the same mode, unless others were given.

        A system in a mode in which the first was not run (supervised ones) is compared with the headline
        result of the first.
        """
        whole = [one for one in self.results if one.about.share_of_labels == 1]
        if self.given_comparisons is not None or not whole:
            return list(self.given_comparisons or ())
        system = whole[0].about.system
        by_mode = {one.about.mode: one for one in whole if one.about.system == system}
        default = by_mode.get("frozen", whole[0])
        return [
            compare(one, by_mode.get(one.about.mode, default)) for one in whole if one.about.system != system
        ]

    @cached_property
    def _by_score(self) -> list[Predictions]:
        """The headline results, best first."""
        return sorted(self.headline, key=lambda one: -_or_least(one.mean_score.value))

    @cached_property
    def lead(self) -> Comparison | None:
        """The best system against the next one; None for a single system."""
        return compare(self._by_score[1], self._by_score[0]) if len(self._by_score) > 1 else None

    @property
    def best(self) -> str:
        """A sentence on the best system."""
        best = self._by_score[0]
        among = f"Best of {len(self._by_score)}: " if self.lead else ""
        return f"{among}{best.label}, {self.score_name} {_interval(best.mean_score)}."

    @property
    def lines(self) -> list[str]:
        """Sentences that qualify the best system: its lead, the floor, and how well persons are named."""
        best, lines = self._by_score[0], []
        if self.lead:
            gain, p_value = self.lead.mean.difference, self.lead.mean.p_value
            ends = "more than chance explains" if p_value < 0.05 else "which may be chance"
            p = "p < 0.001" if p_value < 0.001 else f"p = {p_value:.3f}"  # as exact as the number of swaps
            lines.append(
                f"It leads the next, {self.lead.a}, by {100 * gain.value:+.1f} points "
                f"({100 * gain.low:+.1f} to {100 * gain.high:+.1f}; {p}): {ends}."
            )
        if best.action_units:
            floor = best.average("always_on")
            above = 100 * (best.mean_score.value - floor)
            verdict = (
                f"the best lies {above:.1f} points above that" if above > 0 else "no system reaches that"
            )
            lines.append(
                f"Predicting every action unit in every frame gives {100 * floor:.1f} %: {verdict}. "
                f"ROC-AUC of the best is {100 * best.average('roc_auc'):.1f} %, where chance is 50."
            )
        measured = {n: one for n, one in self.persons.items() if math.isfinite(one["identity_accuracy"])}
        if measured:
            order = sorted(measured, key=lambda name: name != best.about.system)
            shares = ", ".join(f"{100 * measured[one]['identity_accuracy']:.0f} % ({one})" for one in order)
            chance = 100 * measured[order[0]]["identity_chance"]
            lines.append(
                f"Identity leak: in frames of other videos a linear read-out names the person in {shares}; "
                f"chance is {chance:.0f} %. At equal F1, less is better."
            )
        return lines

    @property
    def ranking(self) -> list[Bar]:
        """The headline results and the paper's two reference rows, best first."""
        styles = charts.styles_of(self.results)
        bars = []
        for one in self.headline:
            mean = one.mean_score
            value, low, high = 100 * mean.value, 100 * mean.low, 100 * mean.high
            bars.append(Bar(one.label, _interval(mean), value, low, high, styles[one.about.system]))
        for row in tables.paper_rows(self.title):
            if row.method in _PUBLISHED_ABOVE:
                label, text = f"{row.method}, as published", f"{row.average:.1f} %"
                bars.append(Bar(label, text, row.average, row.average, row.average, "published"))
        return sorted(bars, key=lambda bar: -_or_least(bar.score))

    @cached_property
    def tables(self) -> list[tables.Table]:
        """All tables, in the order of report.md."""
        first = self.results[0]
        names = [f"AU{number}" for number in first.action_units] or first.outputs
        differences = [tables.comparison_table(self.comparisons, names)] if self.comparisons else []
        if not first.action_units:
            return [tables.expression_table(self.results), *differences]
        several = len({one.about.mode for one in self.results}) > 1
        return [
            *([tables.modes_table(self.results)] if several else []),
            tables.f1_table(self.results),
            *differences,
            *([tables.person_table(self.persons)] if self.persons else []),
            tables.summary_table(self.results),
            tables.auc_table(self.results),
            *tables.ablation_table(self.title),
        ]

    @property
    def facts(self) -> dict[str, str]:
        """What was tested, and how."""
        about = self.results[0].about
        encoders = {
            f"encoder {one.about.system}": f"{one.about.encoder} {one.about.encoder_sha256[:16]}"
            for one in self.results
        }
        return {
            "protocol": f"{about.protocol}, hash {about.protocol_digest} ({about.protocol_source})",
            "crop contract": about.contract_digest,
            **encoders,
            "settings": ", ".join(f"{key} {value}" for key, value in about.settings.items() if key != "mode"),
            "mien": about.mien_version,
            **self.more_facts,
        }

    @property
    def notes(self) -> list[str]:
        """Scores that are nowhere defined for some output, but for optional ones; modes that were not run."""
        rows = pd.concat([one.scores for one in self.results])
        wanted = rows["value"].isna() & ~rows["score"].isin(["f1_chosen", "icc"]) & (rows["output"] != MEAN)
        notes = [
            f"{str(score).replace('_', ' ')} is undefined (NaN) for {', '.join(dict.fromkeys(outputs))}"
            for score, outputs in rows[wanted].groupby("score", sort=False)["output"]
        ]
        run = {one.about.mode for one in self.results}
        if missing := [mode for mode in ("affine+stats", "stats", "frozen") if mode not in run]:
            notes.append(
                f"not run: {', '.join(missing)}. The paper's rows are read as affine+stats; report all three."
            )
        return notes

    def _figures(self) -> dict[str, Any]:
        """What the template shows besides: figures and faces, empty where they do not apply."""
        styles = charts.styles_of(self.results)
        has_units = bool(self.results[0].action_units)
        share_figure, share_key = charts.f1_against_share(self.results, styles) if has_units else ("", ())
        highest = [bar.high for bar in self.ranking if math.isfinite(bar.high)]
        return {
            "axis_end": min(100, max(25, 25 * math.ceil(max(highest, default=100.0) / 25))),
            "floor": 100 * self.headline[0].average("always_on") if has_units else None,
            "first_tables": _ABOVE_FIGURES,
            "identity_figure": charts.identity_plane(self.persons, styles),
            "identity_key": [(styles[name], name) for name in self.persons],
            "confusions": [
                (one.label, charts.confusion(confusion_of(one), one.outputs))
                for one in self.results
                if not has_units and one.about.share_of_labels == 1
            ],
            "share_figure": share_figure,
            "share_key": share_key,
            "feature_map": charts.feature_map,
            "picture_url": picture_url,
            "overlay": charts.overlay,
        }

    def _markdown(self) -> str:
        lines = [f"# {self.title}", "", *([f"**{self.warning}**", ""] if self.warning else [])]
        lines += [f"**Warning: {line}**\n" for line in self.alarms]
        lines += [self.scope, "", f"**{self.best}** {' '.join(self.lines)}", ""]
        lines += [*(tables.as_markdown(table) for table in self.tables), "## What was tested", ""]
        lines += [f"- {name}: {value}" for name, value in self.facts.items()]
        lines += [f"- {line}" for line in (*self.counts, *self.notes)]
        return "\n".join(lines) + "\n"


def _interval(interval: Interval) -> str:
    return f"{100 * interval.value:.1f} % ({100 * interval.low:.1f} to {100 * interval.high:.1f})"


def _or_least(score: float) -> float:
    return score if math.isfinite(score) else -math.inf
