"""A model's card: what it is for, what it was fitted on, how it scores, and its limits.

The same parts make the text of `mien card` and its page.
"""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from mien.facs import action_unit

if TYPE_CHECKING:
    from mien.detect.au_model import AuModel

LICENCE_NOT_STATED = "not stated; check the licence of the labelled set"
_FEW_PEOPLE = 10
_FEW_FRAMES = 50
_TOYS = {"rendered": "was fitted on rendered faces, not on people, and is untested on real ones"}
_SCORES = ("", "F1", "always on", "ROC-AUC", "ECE before", "ECE", "ICC", "base rate", "present", "people")


@dataclass(frozen=True)
class Card:
    """Sections of lines. scores: the measured ones, a header, a row per unit, the mean; (): not measured."""

    title: str
    warning: str
    use: tuple[str, ...]
    facts: tuple[tuple[str, str], ...]
    scores: tuple[tuple[str, ...], ...]
    scores_note: str
    limits: tuple[str, ...]
    scores_title: str = "Measured on people it had not seen, %"

    def __str__(self) -> str:
        """Plain text of 100 columns."""
        lines = [self.title, "=" * len(self.title), ""]
        lines += [*_wrapped(self.warning), ""] if self.warning else []
        for line in self.use:
            lines += _wrapped(line)
        lines.append("")
        width = max(len(name) for name, _ in self.facts)
        for name, value in self.facts:
            lines += _wrapped(f"{name:{width}}  {value}", indent=width + 2)
        if self.scores:
            widths = [max(map(len, column)) for column in zip(*self.scores, strict=True)]
            padded = (
                (f"{text:>{width}}" for text, width in zip(row, widths, strict=True)) for row in self.scores
            )
            lines += ["", self.scores_title, "", *map("  ".join, padded), "", *_wrapped(self.scores_note)]
        lines += ["", "Limits", ""]
        for line in self.limits:
            lines += _wrapped(f"- {line}", indent=2)
        return "\n".join(lines)


def card_of(model: AuModel) -> Card:
    """The card of any model, also of one with an almost empty record."""
    record = model.record
    units = ", ".join(f"AU{number} {action_unit(number).name}" for number in model.units)
    adapted = [("adapted", _adapted(one)) for one in record.get("adaptations", [])]
    measured = bool(record.get("scores"))
    return Card(
        title=model.source.rpartition("/")[2],
        warning=warning_of(record, model.columns),
        use=(
            f"Says for every face which of {len(model.units)} action units are present: {units}.",
            "For research on facial behaviour where people agreed to be recorded. An action unit is a "
            "movement, not an emotion, a thought or a trait; do not decide about a person by it.",
        ),
        facts=(*_data_facts(record), *_making_facts(model), *adapted),
        scores=_scores(model) if measured else (),
        scores_note=_scores_note(record["scores"]) if measured else "",
        limits=_limits(record, unproven_units(record, model.columns)),
    )


def warning_of(record: Mapping[str, Any], columns: Sequence[str]) -> str:
    """The sentence at the top of every output: fitted on a toy, or units without presence; "" for neither."""
    unproven = unproven_units(record, columns)
    known_for = _TOYS.get(str(record.get("training_data", {}).get("name", "")), "")
    parts = [str(record.get("known_for", known_for))]
    if unproven:
        every = len(unproven) == len(columns)
        parts.append(
            f"was not shown to read {'any action unit' if every else ', '.join(unproven)} better than "
            f"chance, so {'' if every else 'their '}presence is left blank"
        )
    known = [part for part in parts if part]
    return f"This model {'; it '.join(known)}." if known else ""


def units_above_chance(record: Mapping[str, Any]) -> list[str]:
    """Columns of the units whose 95 % interval of ROC-AUC on held-out people lies above .5."""
    return [name for name, unit in _units(record).items() if (unit["roc_auc"]["low"] or 0.0) > 0.5]


def unproven_units(record: Mapping[str, Any], columns: Sequence[str]) -> list[str]:
    """The units of these columns whose presence is left blank in every output.

    They were never measured, their 95 % interval of ROC-AUC on held-out people includes .5, their F1 is no
    better than that of saying present everywhere, or the record lists them as `unproven`.
    """
    above, units, listed = units_above_chance(record), _units(record), record.get("unproven", ())

    def is_always_on(unit: Mapping[str, Any]) -> bool:
        f1, floor = unit["f1"]["value"], unit["always_on_f1"]
        return None not in (f1, floor) and bool(f1 <= floor)

    return [name for name in columns if name not in above or name in listed or is_always_on(units[name])]


def shown_thresholds(model: AuModel) -> NDArray[np.float32]:
    """(A,): the thresholds of presence; NaN for units whose presence is left blank."""
    blank_A = np.isin(model.columns, unproven_units(model.record, model.columns))
    return np.where(blank_A, np.float32(np.nan), model.threshold_A)


def _units(record: Mapping[str, Any]) -> Mapping[str, Any]:
    units: Mapping[str, Any] = (record.get("scores") or {}).get("units", {})
    return units


def _data_facts(record: Mapping[str, Any]) -> list[tuple[str, str]]:
    data, protocol = record.get("training_data", {}), record.get("protocol", {})
    words = str(data.get("name", "not recorded"))
    if "num_frames" in data:
        words += (
            f": {data['num_frames']:,} faces of {data['num_subjects']:,} people "
            f"({data['num_without_face']:,} coded frames without a face left out; frame list "
            f"{data['frames_digest']})"
        )
    facts = [("training data", words), ("left out", _listed(data.get("units_left_out", {})))]
    facts.append(("licence", str(data.get("licence") or LICENCE_NOT_STATED) if data else ""))
    if protocol:
        facts.append(("protocol", f"{protocol['name']}, hash {protocol['digest']} ({protocol['source']})"))
    return [(name, value) for name, value in facts if value]


def _making_facts(model: AuModel) -> list[tuple[str, str]]:
    record, inputs, contract = model.record, model.inputs, model.contract
    encoder, settings = record.get("encoder"), record.get("settings", {})
    network = model.network_settings.get("backbone", {}).get("name", model.network)
    if model.uses_points:
        network += ", a network of pixels and of the face mesh's points"
    if encoder:
        network += f" from {encoder['file']} (sha256 {encoder['sha256'][:16]}), {encoder['mode']}"
    method = ", ridge regression on the features" if model.network == "encoder" else ""
    kinds = [curve.kind for curve in model.calibration.curves]
    chosen = ", ".join(f"{kind} ({kinds.count(kind)})" for kind in dict.fromkeys(kinds))
    counts = (
        (len(model.side_columns) // 2, "units with intensities of the left and the right"),
        (len(model.block("blendshape")), "blendshapes (--blendshapes)"),
        (len(model.block("gaze")), "angles of gaze (--gaze)"),
    )
    crops = (
        f"contract {contract.digest}: {contract.detector}, {contract.landmarker}, "
        f"{contract.crop_size_px} px, resized to {inputs.frame_size_px}, the middle "
        f"{inputs.input_size_px} used"
    )
    facts = [
        ("network", network),
        ("calibration", f"chosen per action unit by log-loss on people left out: {chosen}"),
        ("crops", crops),
        ("intensity", "none" if model.coded is None else f"0 to 5{method}"),
        ("also", "; ".join(f"{count} {words}" for count, words in counts if count)),
        ("settings", ", ".join(f"{name} {value}" for name, value in settings.items()) or "not recorded"),
        ("model", f"digest {model.digest}, mien {record.get('mien_version', 'unknown')}"),
    ]
    return [(name, value) for name, value in facts if value]


def _adapted(one: Mapping[str, Any]) -> str:
    start = f"from {one['from']['file']} (digest {one['from']['digest']})"
    if "num_unlabelled_faces" in one:
        steps = one.get("self_training_steps")
        what = f"{steps} steps of self-training on" if steps else "batch-norm statistics of"
        return f"{start}: {what} {one['num_unlabelled_faces']:,} unlabelled faces"
    return (
        f"{start} to {one['num_frames']:,} faces of {one['num_subjects']:,} people, {one['data']} "
        f"(frame list {one['frames_digest']}; licence {one['licence'] or LICENCE_NOT_STATED}). Recalibrated: "
        f"{', '.join(one['recalibrated']) or 'nothing'}. Left alone: "
        f"{_listed(one['left_alone']) or 'nothing'}"
    )


def _scores(model: AuModel) -> tuple[tuple[str, ...], ...]:
    scores = model.record["scores"]
    mean, rows = scores["mean"], list[tuple[str, ...]]([_SCORES])
    errors = ("calibration_error_before", "calibration_error")
    for column in model.columns:
        unit = scores["units"][column]
        cells = [_interval(unit["f1"]), _percent(unit["always_on_f1"]), _interval(unit["roc_auc"])]
        cells += [_percent(unit[name]) for name in (*errors, "intensity_icc", "base_rate")]
        rows.append((column, *cells, f"{unit['num_present']:,}", f"{unit['num_people_showing_it']:,}"))
    shares = [_percent(mean[name]) for name in ("roc_auc", *errors)]
    return (*rows, ("mean", _interval(mean["f1"]), "-", *shares, "-", "-", "-", "-"))


def _scores_note(scores: Mapping[str, Any]) -> str:
    of_the_file = (
        "These are the scores of the model in this file."
        if scores["num_folds"] == 1
        else "Each fold had a model of its own; the one in this file was fitted in the same way on "
        "everybody, and has not itself been tested."
    )
    return (
        f"{scores['num_frames']:,} faces of {scores['num_subjects']:,} people, {scores['num_folds']} folds, "
        "nobody in training and test at once; 95 % intervals draw people. F1: at the chosen thresholds, mean "
        "of the folds. Always on: F1 of saying present everywhere. ECE: calibration error, before by the "
        "plain sigmoid. ICC: of intensities. Present: coded frames that show it; people: who show it. "
    ) + of_the_file


def _limits(record: Mapping[str, Any], unproven: Sequence[str]) -> tuple[str, ...]:
    lines = [
        "Scores hold for faces like those it was measured on: other cameras, light, ages, skin, poses and "
        "occlusions can be worse, and the card cannot tell by how much. Measure on your own faces; "
        "`mien adapt` recalibrates.",
        "Faces must be cropped by the contract above; mien does that and refuses others.",
    ]
    units = _units(record)
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
    if unproven:
        lines.append(
            "Not shown to be better than chance (by ROC-AUC), or than saying present everywhere (by F1), so "
            f"presence is left blank: {', '.join(unproven)}."
        )
    lines += [*record.get("notes", ()), str((record.get("encoder") or {}).get("warning") or "")]
    if not units:
        lines.append("Nothing was measured.")
    elif record.get("adaptations"):
        lines.append("The scores are those of the model before it was adapted.")
    return tuple(line for line in lines if line)


def _interval(score: Mapping[str, float | None]) -> str:
    value, low, high = score["value"], score["low"], score["high"]
    if value is None or low is None or high is None:
        return _percent(value)
    return f"{100 * value:.1f} ({100 * low:.0f}-{100 * high:.0f})"


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:.1f}"


def _listed(reasons: Mapping[str, str]) -> str:
    return "; ".join(f"{name}: {why}" for name, why in reasons.items())


def _wrapped(text: str, *, indent: int = 0) -> list[str]:
    return textwrap.wrap(text, 100, subsequent_indent=" " * indent, break_long_words=False)
