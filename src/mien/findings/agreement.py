"""How far two codings of the same videos agree: frames, intensities and events, with intervals over people.

Every score is a function of sums over people, so that whole people are resampled by a matrix product
(Efron & Tibshirani, 1993, chapter 8), as frames of one person are not independent.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from mien.findings.coding import Coding, CodingError, Face, Floats, Run, limits_of, paired_names, runs_of

Span = tuple[float, float]  # onset, offset

NUM_RESAMPLES = 2000
_GRID_SECONDS = 0.04  # where neither coding nor a video has frames

# Sums per person and unit: frames that both mark, A alone, B alone, neither; frames with both intensities and
# their moments; events of A, of B, and pairs of them.
_BOTH, _ONLY_A, _ONLY_B, _NEITHER = range(4)
_ROWS, _A, _B, _AA, _BB, _AB = range(4, 10)
_EVENTS_A, _EVENTS_B, _PAIRS = range(10, 13)
_NUM_SUMS = 13


@dataclass(frozen=True, eq=False)
class Agreement:
    """Two codings compared.

    `scores`: one row per unit and one, `mean`, over units. Columns: unit, people, frames, share_a, share_b;
    kappa, f1, icc, event_f1 with `_low` and `_high` (95 % over people; NaN below two people); events_a,
    events_b, events_paired; onset_ms, offset_ms (median of B less A over the pairs), overlap (mean share of
    a pair's joint duration that both cover). `disagreements`: one row per stretch that one coding alone
    marks: input, face, unit, onset, offset, only (a or b), the longest first.
    """

    scores: pd.DataFrame
    disagreements: pd.DataFrame
    notes: tuple[str, ...]  # which faces were compared, what was left out


def agree(
    a: Coding,
    b: Coding,
    *,
    tolerance_seconds: float = 0.5,
    timelines: Mapping[str, pd.DataFrame] | None = None,
    people: Mapping[tuple[str, str], str] | None = None,
    seed: int = 0,
) -> Agreement:
    """Compare the units that both codings code, in the videos and faces that both have.

    Frames are those of a table of detections, else of the video (`timelines`, by input of `a`), else the
    labelled ones, else 25 per second up to the last event. Two events pair if their onsets are at most
    `tolerance_seconds` apart, each with one other at most, as many pairs as there can be. `people` are who is
    behind (input, face) of `a`; else the labels' subjects, else each face of each video is a person.
    CodingError where there is nothing in common.
    """
    b, notes = _with_names_of(a, b)
    videos = dict(timelines or {})
    limits = {**b.limits, **a.limits} | {name: limits_of(rows) for name, rows in videos.items()}
    a, b = a.in_file_time(limits), b.in_file_time(limits)
    found = [
        each for face in b.units for each in _compared(a, b, face, videos.get(face[0]), tolerance_seconds)
    ]
    if not found:
        raise CodingError(f"{a.path} and {b.path}: no action unit is coded in both for the same face")
    sums: dict[tuple[str, str], Floats] = {}
    for each in found:
        named = (people or {}).get(each.face) or a.subjects.get(each.face[0]) or b.subjects.get(each.face[0])
        key = named or " ".join(each.face), each.unit
        sums[key] = sums.get(key, 0.0) + each.sums_K
    pairs = [(each.unit, *_differences(*pair)) for each in found for pair in each.pairs]
    apart = [
        (*each.face, each.unit, run.onset, run.offset, "a" if run.value > 0 else "b")
        for each in found
        for run in each.apart
    ]
    apart.sort(key=lambda row: row[3] - row[4])
    return Agreement(
        _scores(sums, pd.DataFrame(pairs, columns=["unit", "onset_ms", "offset_ms", "overlap"]), seed),
        pd.DataFrame(apart, columns=["input", "face", "unit", "onset", "offset", "only"]),
        notes,
    )


def kappa(sums: Floats) -> Floats:
    """Cohen's kappa (1960) along the last axis; NaN where chance agreement is 1 or nothing was coded."""
    both, only_a, only_b, neither = np.moveaxis(sums[..., :4], -1, 0)
    with np.errstate(invalid="ignore", divide="ignore"):
        total = both + only_a + only_b + neither
        marked_a, marked_b = (both + only_a) / total, (both + only_b) / total
        chance = marked_a * marked_b + (1 - marked_a) * (1 - marked_b)
        found: Floats = np.where(chance < 1, ((both + neither) / total - chance) / (1 - chance), np.nan)
    return found


def f1(sums: Floats) -> Floats:
    """F1 of either coding against the other, 2 both / (2 both + only A + only B); NaN where neither marks."""
    return _ratio(2 * sums[..., _BOTH], 2 * sums[..., _BOTH] + sums[..., _ONLY_A] + sums[..., _ONLY_B])


def icc(sums: Floats) -> Floats:
    """ICC(3,1) (Shrout & Fleiss, 1979), of two raters 2 cov(A, B) / (var(A) + var(B)); NaN if none varies."""
    rows = sums[..., _ROWS]
    covariance = sums[..., _AB] - _ratio(sums[..., _A] * sums[..., _B], rows)
    variances = sums[..., _AA] + sums[..., _BB] - _ratio(sums[..., _A] ** 2 + sums[..., _B] ** 2, rows)
    return _ratio(2 * covariance, np.where(variances > 1e-9, variances, 0))


def event_f1(sums: Floats) -> Floats:
    """2 pairs / (events of A + events of B); NaN where neither has one."""
    return _ratio(2 * sums[..., _PAIRS], sums[..., _EVENTS_A] + sums[..., _EVENTS_B])


SCORES: dict[str, Callable[[Floats], Floats]] = {"kappa": kappa, "f1": f1, "icc": icc, "event_f1": event_f1}


def paired_events(a: Sequence[Span], b: Sequence[Span], tolerance_seconds: float) -> list[tuple[Span, Span]]:
    """Pairs whose onsets are at most the tolerance apart; in order of time, so as many as there can be."""
    pairs, at_a, at_b = [], 0, 0
    while at_a < len(a) and at_b < len(b):
        later = b[at_b][0] - a[at_a][0]
        if abs(later) <= tolerance_seconds + 1e-9:
            pairs.append((a[at_a], b[at_b]))
        at_a, at_b = at_a + (later >= -tolerance_seconds - 1e-9), at_b + (later <= tolerance_seconds + 1e-9)
    return pairs


def _with_names_of(a: Coding, b: Coding) -> tuple[Coding, tuple[str, ...]]:
    """B with the inputs and faces of A, without those that A has not; and notes on the choice.

    Faces of one name are the same, and so are those of two codings of one face each. A coding that names
    nobody is of the face with the most frames.
    """
    names = paired_names(a.inputs, b.inputs)
    notes = [f"{name} is in {a.path.name} only" for name in a.inputs if name not in names]
    notes += [f"{name} is in {b.path.name} only" for name in b.inputs if name not in names.values()]
    face_of: dict[Face, Face] = {}
    for name, other in names.items():
        ours, theirs = a.faces[name], b.faces[other]
        same = {face: face for face in theirs if face in ours}
        if "" in (*ours, *theirs) or len(ours) == 1 == len(theirs):
            same = {theirs[0]: ours[0]}
            if len(ours) + len(theirs) > 2:
                chosen = ours[0] or theirs[0]
                notes.append(f"{name}: face {chosen}, seen longest, is compared; one coding names no face")
        face_of |= {(other, their): (name, our) for their, our in same.items()}
    return b.renamed(face_of), tuple(notes)


@dataclass(frozen=True, eq=False)
class _Compared:
    """One unit of one face."""

    face: Face
    unit: str
    sums_K: Floats
    pairs: list[tuple[Span, Span]]
    apart: list[Run]  # 1: A alone marks it, -1: B alone


def _compared(
    a: Coding, b: Coding, face: Face, video: pd.DataFrame | None, tolerance_seconds: float
) -> Iterator[_Compared]:
    timeline = _timeline(a, b, face, video)
    time_N = timeline["seconds"].to_numpy(np.float64)
    of_a, of_b = a.readings(face, timeline), b.readings(face, timeline)
    for unit in sorted(of_a.keys() & of_b.keys()):
        (a_N, graded_a_N), (b_N, graded_b_N) = of_a[unit], of_b[unit]
        events_a, events_b = _events(a, face, unit, a_N, time_N), _events(b, face, unit, b_N, time_N)
        pairs = paired_events(events_a, events_b, tolerance_seconds)
        counts = len(events_a), len(events_b), len(pairs)
        apart = [run for run in runs_of(a_N - b_N, time_N) if run.value != 0]
        yield _Compared(face, unit, _sums(a_N, graded_a_N, b_N, graded_b_N, counts), pairs, apart)


def _events(coding: Coding, face: Face, unit: str, present_N: Floats, time_N: Floats) -> list[Span]:
    """The coding's own; of a coding with frames the runs of frames in which the unit is present."""
    if coding.frames:
        return [(run.onset, run.offset) for run in runs_of(present_N, time_N) if run.value == 1]
    return [span[:2] for span in coding.spans(face, unit)]


def _timeline(a: Coding, b: Coding, face: Face, video: pd.DataFrame | None) -> pd.DataFrame:
    """`frame` and `seconds` of the coded frames of A or B, else of the video, else of a grid."""
    coded = [coding.frames[face] for coding in (a, b) if face in coding.frames]
    known = [rows for rows in coded if rows["seconds"].notna().all()]
    given = [*known, *([] if video is None else [video]), *coded]
    if given:
        return given[0][["frame", "seconds"]]
    last = pd.concat([a.of_input(face[0]).events, b.of_input(face[0]).events])["offset"].max()
    seconds_N = np.arange(0, np.nan_to_num(last, nan=_GRID_SECONDS), _GRID_SECONDS)
    return pd.DataFrame({"frame": np.arange(len(seconds_N)), "seconds": seconds_N})


def _sums(
    a_N: Floats, graded_a_N: Floats, b_N: Floats, graded_b_N: Floats, counts: tuple[int, int, int]
) -> Floats:
    """(13,) of one face and unit."""
    coded_N = ~np.isnan(a_N) & ~np.isnan(b_N)
    cells_4 = np.bincount((3 - 2 * a_N[coded_N] - b_N[coded_N]).astype(int), minlength=4)
    graded_N = ~np.isnan(graded_a_N) & ~np.isnan(graded_b_N)
    x, y = graded_a_N[graded_N], graded_b_N[graded_N]
    return np.array([*cells_4, len(x), x.sum(), y.sum(), x @ x, y @ y, x @ y, *counts], np.float64)


def _differences(a: Span, b: Span) -> tuple[float, float, float]:
    """B less A at the onset and at the offset, in ms; the share of their joint duration that both cover."""
    common = max(0.0, min(a[1], b[1]) - max(a[0], b[0]))
    joint = a[1] - a[0] + b[1] - b[0] - common
    return 1000 * (b[0] - a[0]), 1000 * (b[1] - a[1]), common / joint


def _scores(sums: Mapping[tuple[str, str], Floats], differences: pd.DataFrame, seed: int) -> pd.DataFrame:
    units = sorted({unit for _, unit in sums})
    people = sorted({person for person, _ in sums})
    none = np.zeros(_NUM_SUMS)
    sums_SAK = np.array([[sums.get((person, unit), none) for unit in units] for person in people])
    S = len(people)
    weight_RS = np.random.default_rng(seed).multinomial(S, np.full(S, 1 / S), NUM_RESAMPLES)
    total_AK, drawn_RAK = sums_SAK.sum(axis=0), np.tensordot(weight_RS.astype(float), sums_SAK, axes=1)
    frames_A = total_AK[:, :4].sum(axis=1)
    table = pd.DataFrame(index=units)
    table["people"] = (sums_SAK[..., :4].sum(axis=2) > 0).sum(axis=0)
    table["frames"] = frames_A
    for name, alone in (("share_a", _ONLY_A), ("share_b", _ONLY_B)):
        table[name] = _ratio(total_AK[:, _BOTH] + total_AK[:, alone], frames_A)
    table = table.reindex([*units, "mean"]).fillna({"people": S}).astype({"people": int})
    for name, score in SCORES.items():
        value_A, drawn_RA = score(total_AK), score(drawn_RAK)
        drawn = pd.DataFrame(np.column_stack([drawn_RA, _mean(drawn_RA)]))
        table[name] = np.append(value_A, _mean(value_A))
        bounds = drawn.loc[:, (table["people"] > 1).to_numpy()].quantile([0.025, 0.975])
        bounds = bounds.reindex(columns=drawn.columns).to_numpy()
        table[f"{name}_low"], table[f"{name}_high"] = bounds
    table[["events_a", "events_b", "events_paired"]] = np.vstack([total_AK[:, _EVENTS_A:], [[np.nan] * 3]])
    times = differences.groupby("unit").agg({"onset_ms": "median", "offset_ms": "median", "overlap": "mean"})
    return table.join(times).rename_axis("unit").reset_index()


def _mean(values: Floats) -> Floats:
    """The mean of what is defined along the last axis; NaN where nothing is."""
    return _ratio(np.nansum(values, axis=-1), (~np.isnan(values)).sum(axis=-1))


def _ratio(upper: Any, lower: Any) -> Floats:
    """NaN where the lower is 0."""
    with np.errstate(invalid="ignore", divide="ignore"):
        found: Floats = np.where(np.asarray(lower) != 0, upper / lower, np.nan)
    return found
