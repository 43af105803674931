"""A model's card: what it is for, what it was fitted on, how it does, and where it ends.

The same parts make the text of `mien card` and its page.
"""

from __future__ import annotations

import textwrap
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from mien.detect.au_model import AuModel
from mien.evaluate.table import MEASURED, Cell, Row, Table
from mien.facs import action_unit

LICENCE_NOT_STATED = "not stated; check the licence of the labelled set"
_FEW_PEOPLE = 10
_FEW_FRAMES = 50
_TOYS = {
    "rendered": "It was fitted on rendered faces, not on people. What it says of real faces is untested.",
}
_MISSING = Cell("-")


@dataclass(frozen=True)
class Card:
    """Sections of lines, and the table of measured scores; the table is None where nothing was measured."""

    title: str
    warning: str
    use: tuple[str, ...]
    facts: tuple[tuple[str, str], ...]
    scores: Table | None
    limits: tuple[str, ...]


def card_of(model: AuModel) -> Card:
    """The card of any model, also of one whose record says little."""
    record = model.record
    units = ", ".join(f"AU{number} {action_unit(number).name}" for number in model.units)
    return Card(
        title=model.source.rpartition("/")[2],
        warning=warning_of(record),
        use=(
            f"Says for every face which of {len(model.units)} action units are present: {units}.",
            "For research on facial behaviour where people agreed to be recorded. An action unit is a "
            "movement, not an emotion, a thought or a trait; do not decide about a person by it.",
        ),
        facts=(*_data_facts(record), *_making_facts(model), *_adaptation_facts(record)),
        scores=_score_table(model) if record.get("scores") else None,
        limits=_limits(model),
    )


def warning_of(record: Mapping[str, Any]) -> str:
    """A sentence to stand above all else where the model was fitted on a toy; else ""."""
    return _TOYS.get(str(record.get("training_data", {}).get("name", "")), "")


def unproven_units(record: Mapping[str, Any]) -> list[str]:
    """The columns of units whose F1 on people not seen was no better than saying present everywhere."""
    units: Mapping[str, Any] = (record.get("scores") or {}).get("units", {})
    return [name for name, unit in units.items() if _is_no_better_than_always_on(unit)]


def card_in_words(model: AuModel) -> str:
    """Plain text of 100 columns."""
    card = card_of(model)
    lines = [card.title, "=" * len(card.title), ""]
    lines += [*_wrapped(card.warning), ""] if card.warning else []
    for line in card.use:
        lines += _wrapped(line)
    lines.append("")
    width = max(len(name) for name, _ in card.facts)
    for name, value in card.facts:
        lines += _wrapped(f"{name:{width}}  {value}", indent=width + 2)
    if card.scores is not None:
        lines += ["", card.scores.title, "", *_table_lines(card.scores), "", *_wrapped(card.scores.note)]
    lines += ["", "Limits", ""]
    for line in card.limits:
        lines += _wrapped(f"- {line}", indent=2)
    return "\n".join(lines)


def _data_facts(record: Mapping[str, Any]) -> tuple[tuple[str, str], ...]:
    data, protocol = record.get("training_data", {}), record.get("protocol", {})
    if not data:
        return (("training data", "not recorded"),)
    facts = [("training data", str(data.get("name", "not recorded")))]
    if "num_frames" in data:
        facts[0] = (
            "training data",
            f"{data['name']}: {data['num_frames']:,} faces of {data['num_subjects']:,} people "
            f"({data['num_without_face']:,} coded frames without a face left out; frame list "
            f"{data['frames_digest']})",
        )
    if data.get("units_left_out"):
        left_out = "; ".join(f"{unit}: {why}" for unit, why in data["units_left_out"].items())
        facts.append(("left out", left_out))
    facts.append(("licence", str(data.get("licence") or LICENCE_NOT_STATED)))
    if protocol:
        facts.append(("protocol", f"{protocol['name']}, hash {protocol['digest']} ({protocol['source']})"))
    return tuple(facts)


def _making_facts(model: AuModel) -> tuple[tuple[str, str], ...]:
    record, inputs = model.record, model.encoder.inputs
    encoder, settings = record.get("encoder", {}), record.get("settings", {})
    source = f" from {encoder['file']} (sha256 {encoder['sha256'][:16]})" if encoder else ""
    mode = f", {encoder['mode']}" if encoder else ""
    kinds = [curve.kind for curve in model.calibration.curves]
    chosen = ", ".join(f"{kind} ({kinds.count(kind)})" for kind in dict.fromkeys(kinds))
    return (
        ("encoder", f"{model.encoder.backbone_name}{source}{mode}; {model.encoder.feature_dim} features"),
        ("calibration", f"chosen an action unit by log-loss on people left out: {chosen}"),
        (
            "crops",
            f"contract {model.contract.digest}: {model.contract.detector}, {model.contract.landmarker}, "
            f"{model.contract.crop_size_px} px, resized to {inputs.frame_size_px}, the middle "
            f"{inputs.input_size_px} used",
        ),
        ("intensity", "none" if model.intensity is None else "0 to 5, ridge regression on the features"),
        ("settings", ", ".join(f"{name} {value}" for name, value in settings.items()) or "not recorded"),
        ("model", f"digest {model.digest}, mien {record.get('mien_version', 'unknown')}"),
    )


def _adaptation_facts(record: Mapping[str, Any]) -> tuple[tuple[str, str], ...]:
    facts = []
    for one in record.get("adaptations", []):
        left = "; ".join(f"{name}: {why}" for name, why in one["left_alone"].items())
        facts.append(
            (
                "adapted",
                f"from {one['from']['file']} (digest {one['from']['digest']}) to {one['num_frames']:,} faces "
                f"of {one['num_subjects']:,} people, {one['data']} (frame list {one['frames_digest']}; "
                "licence "
                f"{one['licence'] or LICENCE_NOT_STATED}). Recalibrated: "
                f"{', '.join(one['recalibrated']) or 'nothing'}. Left alone: {left or 'nothing'}",
            )
        )
    return tuple(facts)


def _score_table(model: AuModel) -> Table:
    scores = model.record["scores"]
    rows = [_score_row(column, scores["units"][column]) for column in model.columns]
    mean = scores["mean"]
    cells = [_interval(mean["f1"]), _MISSING, _share(mean["roc_auc"])]
    cells += [_share(mean["calibration_error_before"]), _share(mean["calibration_error"])]
    rows.append(Row("mean", MEASURED, (*cells, *[_MISSING] * 4)))
    columns = ("F1", "always on", "ROC-AUC", "ECE before", "ECE", "ICC", "base rate", "present", "people")
    return Table(
        "card",
        "Measured on people it had not seen, %",
        columns,
        tuple(rows),
        _how_measured(scores),
    )


def _how_measured(scores: Mapping[str, Any]) -> str:
    return (
        f"{scores['num_frames']:,} faces of {scores['num_subjects']:,} people, {scores['num_folds']} folds, "
        "nobody in training and test at once; 95 % intervals draw people. F1: at the chosen thresholds, mean "
        "of the folds. Always on: F1 of saying present everywhere. ECE: calibration error, before by the "
        "plain sigmoid. ICC: of intensities. Present: coded frames that show it; people: who show it. Each "
        "fold had a model of its own; the one in this file was fitted in the same way on everybody, and has "
        "not itself been tested."
    )


def _score_row(column: str, unit: Mapping[str, Any]) -> Row:
    cells = (
        _interval(unit["f1"]),
        _share(unit["always_on_f1"]),
        _interval(unit["roc_auc"]),
        _share(unit["calibration_error_before"]),
        _share(unit["calibration_error"]),
        _share(unit["intensity_icc"]),
        _share(unit["base_rate"]),
        Cell(f"{unit['num_present']:,}"),
        Cell(f"{unit['num_people_showing_it']:,}"),
    )
    return Row(column, MEASURED, cells)


def _limits(model: AuModel) -> tuple[str, ...]:
    lines = [
        "Scores hold for faces like those it was measured on: other cameras, light, ages, skin, poses and "
        "occlusions can be worse, and the card cannot tell by how much. Measure on your own faces; "
        "`mien adapt` recalibrates.",
        "Faces must be cropped by the contract above; mien does that and refuses others.",
    ]
    units: Mapping[str, Any] = (model.record.get("scores") or {}).get("units", {})
    thin = [
        name
        for name, unit in units.items()
        if unit["num_people_showing_it"] < _FEW_PEOPLE or unit["num_present"] < _FEW_FRAMES
    ]
    if thin:
        lines.append(
            f"Rarely seen (fewer than {_FEW_PEOPLE} people or {_FEW_FRAMES} frames show it), so the figures "
            f"are loose: {', '.join(thin)}."
        )
    poor = unproven_units(model.record)
    if poor:
        lines.append(f"No better by F1 than saying present everywhere: {', '.join(poor)}.")
    known = str((model.record.get("encoder") or {}).get("warning") or "")
    if known:
        lines.append(known)
    if not units:
        lines.append("Nothing was measured.")
    elif model.record.get("adaptations"):
        lines.append("The scores are those of the model before it was adapted.")
    return tuple(lines)


def _is_no_better_than_always_on(unit: Mapping[str, Any]) -> bool:
    value, floor = unit["f1"]["value"], unit["always_on_f1"]
    return value is not None and floor is not None and value <= floor


def _interval(score: Mapping[str, float | None]) -> Cell:
    low, high = score["low"], score["high"]
    if score["value"] is None or low is None or high is None:
        return _share(score["value"])
    return Cell(f"{100 * score['value']:.1f} ({100 * low:.0f}-{100 * high:.0f})")


def _share(value: float | None) -> Cell:
    return _MISSING if value is None else Cell(f"{100 * value:.1f}")


def _table_lines(table: Table) -> list[str]:
    rows = [["", *table.columns], *([row.label, *(cell.text for cell in row.cells)] for row in table.rows)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return ["  ".join(f"{text:>{width}}" for text, width in zip(row, widths, strict=True)) for row in rows]


def _wrapped(text: str, *, indent: int = 0) -> list[str]:
    return textwrap.wrap(text, 100, subsequent_indent=" " * indent, break_long_words=False)
