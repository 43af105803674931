"""How far two codings of the same videos agree: frames, intensities and events, with intervals over people.

Every score is a function of sums over people, so that whole people are resampled by a matrix product
(Efron & Tibshirani, 1993, chapter 8), as frames of one person are not independent.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from mien.findings.coding import Coding, CodingError, Face, Floats, frames_of_video, paired_names, runs_of

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


def agree(a: Coding, b: Coding, *, tolerance_seconds: float = 0.5, seed: int = 0) -> Agreement:
    """Compare the units that both codings code, in the videos and faces that both have.

    Frames are those of a table of detections, else of A's video, else the labelled ones, else 25 per second
    up to the last event. Two events pair if their onsets are at most `tolerance_seconds` apart, each with one
    other at most, as many pairs as there can be. A person is named by A, else by B; else each face of each
    video is a person. CodingError where there is nothing in common, or where frames have no times.
    """
    names, faces, notes = _common(a, b)
    limits = {ours: both for ours, theirs in names.items() if (both := b.limits.get(theirs))} | dict(a.limits)
    of_b = {theirs: limits[ours] for ours, theirs in names.items() if ours in limits}
    a, b = a.in_file_time(limits), b.in_file_time(of_b)
    sums: dict[tuple[str, str], Floats] = {}
    differences: list[tuple[Any, ...]] = []
    apart: list[tuple[Any, ...]] = []
    for their, our in faces.items():
        timeline = _timeline(a, our, b, their)
        time_N = timeline["seconds"].to_numpy(np.float64)
        if np.isnan(time_N).any():
            raise CodingError(f"{a.path}: no times of the frames of {our[0]}; give its folder as --media")
        read_a, read_b = a.readings(our, timeline), b.readings(their, timeline)
        person = a.people.get(our) or b.people.get(their) or " ".join(our)
        for unit in sorted(read_a.keys() & read_b.keys()):
            (a_N, graded_a_N), (b_N, graded_b_N) = read_a[unit], read_b[unit]
            events_a, events_b = _events(a, our, unit, a_N, time_N), _events(b, their, unit, b_N, time_N)
            pairs = paired_events(events_a, events_b, tolerance_seconds)
            counts = len(events_a), len(events_b), len(pairs)
            sums_K = _sums(a_N, graded_a_N, b_N, graded_b_N, counts)
            sums[person, unit] = sums.get((person, unit), 0.0) + sums_K
            differences += [(unit, *_differences(*pair)) for pair in pairs]
            apart += [
                (*our, unit, run.onset, run.offset, "a" if run.value > 0 else "b")
                for run in runs_of(a_N - b_N, time_N)
                if run.value != 0
            ]
    if not sums:
        raise CodingError(f"{a.path} and {b.path}: no action unit is coded in both for the same face")
    apart.sort(key=lambda row: row[3] - row[4])
    return Agreement(
        _scores(sums, pd.DataFrame(differences, columns=["unit", "onset_ms", "offset_ms", "overlap"]), seed),
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


def _common(a: Coding, b: Coding) -> tuple[dict[str, str], dict[Face, Face], tuple[str, ...]]:
    """The videos of A in B, the faces of B in A, and notes on the choice.

    Faces of one name are the same, and so are those of two codings of one face each. A coding that names
    nobody is of the face with the most frames.
    """
    names = paired_names(list(a.faces), list(b.faces))
    notes = [f"{name} is in {a.path.name} only" for name in a.faces if name not in names]
    notes += [f"{name} is in {b.path.name} only" for name in b.faces if name not in names.values()]
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
    return names, {face: face_of[face] for face in b.units if face in face_of}, tuple(notes)


def _events(coding: Coding, face: Face, unit: str, present_N: Floats, time_N: Floats) -> list[Span]:
    """The coding's own; of a coding with frames the runs of frames in which the unit is present."""
    if coding.frames:
        return [(run.onset, run.offset) for run in runs_of(present_N, time_N) if run.value == 1]
    return [span[:2] for span in coding.spans(face, unit)]


def _timeline(a: Coding, our: Face, b: Coding, their: Face) -> pd.DataFrame:
    """`frame` and `seconds` of the coded frames of A or B, else of the video, else of a grid."""
    coded = [coding.frames[face] for coding, face in ((a, our), (b, their)) if face in coding.frames]
    known = [rows for rows in coded if rows["seconds"].notna().all()]
    given = [*known, *([frames_of_video(a.videos[our[0]])] if our[0] in a.videos else []), *coded]
    if given:
        return given[0][["frame", "seconds"]]
    offsets = [one.events.loc[one.events["input"] == of[0], "offset"] for one, of in ((a, our), (b, their))]
    seconds_N = np.arange(0, np.nan_to_num(pd.concat(offsets).max(), nan=_GRID_SECONDS), _GRID_SECONDS)
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
