"""What an evaluation says in a few sentences: which system is best, how sure that is, what it leaks."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from mien.evaluate.intervals import Interval
from mien.evaluate.metrics import mean_defined
from mien.evaluate.person_independence import PersonIndependence
from mien.evaluate.scoring import Comparison, Result, compare

Persons = Sequence[tuple[str, PersonIndependence]]


@dataclass(frozen=True)
class Verdict:
    """`best` is a sentence, `lines` what has to be known with it, first of all the lead over a rival.

    is_sure: p of the lead is below 0.05.
    """

    best: str
    lines: tuple[str, ...]
    has_rival: bool
    is_sure: bool


def headline(results: Sequence[Result]) -> list[Result]:
    """One result a system, all labels: frozen where that was tried, else its first mode."""
    found: dict[str, Result] = {}
    for result in results:
        about = result.predictions.about
        if about.share_of_labels == 1 and (about.mode == "frozen" or about.system not in found):
            found[about.system] = result
    return list(found.values())


def verdict_of(results: Sequence[Result], persons: Persons) -> Verdict:
    """The sentences of the page's top."""
    ranked = sorted(headline(results), key=lambda result: -_sortable(result.mean_score.value))
    best, *others = ranked
    lines, is_sure = [], True
    if others:
        next_best = others[0]
        comparison = compare(next_best.predictions, best.predictions, names=(next_best.label, best.label))
        is_sure = comparison.mean.p_value < 0.05
        lines.append(_lead(comparison))
    lines += [*_floor(best), *_identity(best, persons)]
    return Verdict(_best(best, len(ranked)), tuple(lines), bool(others), is_sure)


def score_name(result: Result) -> str:
    """What `mean_score` is called."""
    return "mean accuracy of the classes" if result.expressions is not None else "mean F1"


def told(comparison: Comparison) -> str:
    """One comparison as a sentence."""
    gain, p_value = comparison.mean.difference, comparison.mean.p_value
    sure = "" if p_value < 0.05 else " (may be chance)"
    return (
        f"{comparison.b} against {comparison.a}: {_signed(gain.value)} points of {comparison.score} "
        f"({_signed(gain.low)} to {_signed(gain.high)}), {_p(p_value)}{sure}."
    )


def in_words(result: Result) -> str:
    """One system's scores as a sentence."""
    mean = result.mean_score
    line = f"{result.label}: {score_name(result)} {_interval(mean)}"
    if result.occurrences is None:
        return line + "."
    return line + f"; ROC-AUC {100 * result.occurrences.roc_auc_mean:.1f} %."


def _signed(share: float) -> str:
    return f"{100 * share:+.1f}"


def _p(p_value: float) -> str:
    """Not more exact than the number of swaps allows."""
    return "p < 0.001" if p_value < 0.001 else f"p = {p_value:.3f}"


def _interval(interval: Interval) -> str:
    return f"{100 * interval.value:.1f} % ({100 * interval.low:.1f} to {100 * interval.high:.1f})"


def _best(result: Result, num_systems: int) -> str:
    among = f"Best of {num_systems}: " if num_systems > 1 else ""
    return f"{among}{result.label}, {score_name(result)} {_interval(result.mean_score)}."


def _lead(comparison: Comparison) -> str:
    gain, p_value = comparison.mean.difference, comparison.mean.p_value
    ends = "more than chance explains" if p_value < 0.05 else "which may be chance"
    return (
        f"It leads the next, {comparison.a}, by {_signed(gain.value)} points ({_signed(gain.low)} to "
        f"{_signed(gain.high)}; {_p(p_value)}): {ends}."
    )


def _floor(best: Result) -> list[str]:
    if best.occurrences is None:
        return []
    floor = mean_defined(best.occurrences.always_on)
    above = 100 * (best.mean_score.value - floor)
    verdict = f"the best lies {above:.1f} points above that" if above > 0 else "no system reaches that"
    auc = 100 * best.occurrences.roc_auc_mean
    return [
        f"Saying of every action unit that it is always there gives {100 * floor:.1f} %: {verdict}. "
        f"ROC-AUC of the best is {auc:.1f} %, where chance is 50."
    ]


def _identity(best: Result, persons: Persons) -> list[str]:
    """How well the person is named from the features, best system first; one sentence, or none."""
    measured = {name: one for name, one in persons if math.isfinite(one.identity_accuracy)}
    if not measured:
        return []
    name = best.predictions.about.system
    order = [*([name] if name in measured else []), *(other for other in measured if other != name)]
    shares = ", ".join(f"{100 * measured[one].identity_accuracy:.0f} % ({one})" for one in order)
    chance = 100 * measured[order[0]].identity_chance
    return [
        f"Identity leak: in frames of other videos a linear read-out names the person in {shares}; chance is "
        f"{chance:.0f} %. At equal F1, less is better."
    ]


def _sortable(value: float) -> float:
    return value if math.isfinite(value) else -math.inf
