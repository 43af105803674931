"""A study in numbers: what each person showed under each condition, and mean curves around its start."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mien.detect.quality import QualitySettings
from mien.detect.statistics import faces_of, units_left_blank
from mien.detect.table import Detections
from mien.findings.events import EventSettings, Series, find_events, followed
from mien.findings.quality import judged, quality_report
from mien.findings.study import faces_of_study, spans_of, with_people
from mien.io import write_csv

if TYPE_CHECKING:
    from pandas.core.groupby import SeriesGroupBy

GROUP = ["person", "condition", "stimulus", "unit"]
MEASURES = (
    *("trials", "seconds", "usable_seconds", "share", "rate", "mean", "peak"),
    *("mean_intensity", "peak_intensity", "responses", "latency"),
)
CHANGES = ("share", "rate", "mean", "mean_intensity")


@dataclass(frozen=True)
class CurveSettings:
    """Curves around the start of every condition, in bins."""

    before_seconds: float = 1.0
    after_seconds: float = 3.0
    bin_seconds: float = 0.1

    def __post_init__(self) -> None:
        if not (self.before_seconds >= 0 and self.after_seconds > 0 and self.bin_seconds > 0):
            raise ValueError(f"{self}: expected times above 0 (before_seconds may be 0)")

    @property
    def edges(self) -> NDArray[np.float64]:
        """Of the bins, in seconds from the start; 0 is one of them."""
        first = -int(np.ceil(self.before_seconds / self.bin_seconds - 1e-9))
        last = int(np.ceil(self.after_seconds / self.bin_seconds - 1e-9))
        return np.arange(first, last + 1, dtype=np.float64) * self.bin_seconds


@dataclass(frozen=True)
class SummarySettings:
    """How a study is summarised. `quality` None: `usable` as in the tables."""

    events: EventSettings = field(default_factory=EventSettings)
    quality: QualitySettings | None = None
    curves: CurveSettings = field(default_factory=CurveSettings)
    baseline: str = "baseline"  # the condition that holds a person's own baseline


@dataclass(frozen=True, eq=False)
class Summary:
    """`people`: one row per person, condition, stimulus and unit. `curves`: per condition, unit and bin.
    `quality`: per file and face. `units_left_out`: those whose presence is blank in a table."""

    people: pd.DataFrame
    curves: pd.DataFrame
    quality: pd.DataFrame
    units_left_out: tuple[str, ...]

    def save(self, folder: Path) -> None:
        """`summary.csv`, `curves.csv`, `quality.csv`. WriteError."""
        named = {"summary": self.people, "curves": self.curves, "quality": self.quality}
        for name, table in named.items():
            write_csv(folder / f"{name}.csv", table, float_format="%.6g")


def summarise(
    tables: Sequence[Path | Detections],
    conditions: Path | pd.DataFrame,
    *,
    people: Path | pd.DataFrame | None = None,
    combinations: Sequence[str] = (),
    settings: SummarySettings | None = None,
) -> Summary:
    """The study of these tables, one of which is held in memory at a time.

    `conditions` and `people` are CSV files or data frames (`mien.findings.study`). Of the time in which a
    person's face is usable: `share`, the share in which the unit is present; `rate`, events that begin per
    minute; `mean` and `peak` of the probability, and of the intensity where there is one. `latency` is the
    mean time in seconds from the start to the first event that begins after it, over the `responses` of
    `trials`. The columns `..._change` are differences from the person's own baseline condition; NaN without
    one. StudyError where conditions or people do not fit the tables.
    """
    settings = settings or SummarySettings()
    study = faces_of_study(_opened(tables))
    study = study if people is None else with_people(study, people)
    spans = dict(iter(spans_of(study, conditions).groupby(["file", "face"])))
    trials: list[dict[str, Any]] = []
    curves: list[pd.DataFrame] = []
    reports: list[pd.DataFrame] = []
    left_out: dict[str, None] = {}
    for detections in _opened(tables):
        table = detections.to_pandas()
        table = table if settings.quality is None else judged(table, settings.quality)
        reports.append(quality_report(table))
        left_out |= dict.fromkeys(units_left_blank(table) if detections.faces else ())
        thresholds = detections.metadata.get("thresholds", {})
        events = find_events(table, thresholds, combinations=combinations, settings=settings.events)
        of_face = dict(iter(events.groupby(["input", "face", "unit"])))
        for face in faces_of(table):
            which = (face.input, face.face_id)
            own = list(spans[which].itertuples()) if which in spans else []
            for name, units in followed(table, combinations).items() if own else ():
                series = Series(face, units)
                found = of_face.get((*which, name), events[:0])
                trials += _trials(own, series, name, found)
                curves.append(_curves(own, series, name, settings.curves))
    report = pd.concat(reports, ignore_index=True)
    person_of = study.set_index(["file", "face"])["person"]
    keys = pd.MultiIndex.from_frame(report[["input", "face"]])
    report.insert(2, "person", person_of.reindex(keys, fill_value="").to_numpy())
    people = _with_changes(_by_person(trials), settings.baseline)
    return Summary(people, _over_people(curves), report, tuple(left_out))


def _opened(tables: Sequence[Path | Detections]) -> Iterator[Detections]:
    for table in tables:
        yield table if isinstance(table, Detections) else Detections.load(table)


def _trials(
    spans: Sequence[Any], series: Series, name: str, events: pd.DataFrame
) -> Iterator[dict[str, Any]]:
    """Sums over each span (a row of `spans_of`), for `_by_person`."""
    probability_N, intensity_N = series.weakest(), series.weakest("_intensity")
    graded = np.isfinite(intensity_N).any()
    onset_E, offset_E = (events[time].to_numpy(np.float64) for time in ("onset", "offset"))
    latest_N = np.searchsorted(onset_E, series.time_N, side="right")  # 0: before the first event
    present_N = series.time_N < np.append(-np.inf, offset_E)[latest_N]
    for span in spans:
        inside = slice(*np.searchsorted(series.time_N, [span.start, span.end]))
        shown_N = series.shown_N[inside]
        begin_E = onset_E[(onset_E > span.start) & (onset_E < span.end)]
        yield {
            **dict(zip(GROUP, (span.person, span.condition, span.stimulus, name), strict=True)),
            "trials": 1,
            "seconds": span.end - span.start,
            "usable_seconds": shown_N.sum(),
            "share": (shown_N * present_N[inside]).sum(),
            "rate": 60.0 * len(begin_E),
            "mean": (shown_N * probability_N[inside]).sum(),
            "mean_intensity": (shown_N * intensity_N[inside]).sum() if graded else np.nan,
            "peak": probability_N[inside].max(initial=-np.inf),
            "peak_intensity": intensity_N[inside].max(initial=-np.inf),
            "responses": int(len(begin_E) > 0),
            "latency": begin_E[0] - span.start if len(begin_E) else 0.0,
        }


def _by_person(trials: Sequence[dict[str, Any]]) -> pd.DataFrame:
    """One row per person, condition, stimulus and unit; NaN where nothing was usable."""
    groups = pd.DataFrame(trials, columns=[*GROUP, *MEASURES]).groupby(GROUP, sort=False)
    table = groups.sum(min_count=1)  # NaN for a model without intensities
    for name in ("peak", "peak_intensity"):
        table[name] = groups[name].max()
    table = table.reset_index()
    usable = table["usable_seconds"].where(table["usable_seconds"] > 0)
    for name in ("share", "rate", "mean", "mean_intensity"):
        table[name] /= usable
    table["latency"] /= table["responses"].where(table["responses"] > 0)
    return table.replace(-np.inf, np.nan)


def _with_changes(table: pd.DataFrame, baseline: str) -> pd.DataFrame:
    """With the difference of each of CHANGES from the person's baseline condition."""
    rows = table[table["condition"] == baseline].set_index(["person", "unit"])
    weights = rows["usable_seconds"]  # by which stimuli within the baseline count
    weighted = rows[list(CHANGES)].mul(weights, axis=0).assign(usable_seconds=weights)
    sums = weighted.groupby(["person", "unit"]).sum(min_count=1)
    own = sums.div(sums["usable_seconds"], axis=0).reindex(
        pd.MultiIndex.from_frame(table[["person", "unit"]])
    )
    for name in CHANGES:
        table[f"{name}_change"] = table[name] - own[name].to_numpy()
    return table


def _curves(spans: Sequence[Any], series: Series, name: str, settings: CurveSettings) -> pd.DataFrame:
    """Per condition and bin of one face and unit: the sum of its trials' means, and how many trials.

    Of the intensity where there is one, else of the probability.
    """
    intensity_N = series.weakest("_intensity")
    graded = np.isfinite(intensity_N).any()
    value_N = intensity_N if graded else series.weakest()
    edges, seconds_B = settings.edges, (settings.edges[:-1] + settings.edges[1:]) / 2
    rows = []
    for trial, span in enumerate(spans):
        near = slice(*np.searchsorted(series.time_N, span.start + edges[[0, -1]] + [-0.001, 0.001]))
        bin_N = np.floor((series.time_N[near] - span.start - edges[0]) / settings.bin_seconds + 1e-6)
        columns = {"condition": span.condition, "trial": trial, "bin": bin_N, "value": value_N[near]}
        rows.append(pd.DataFrame(columns))
    inside = pd.concat(rows)[lambda frames: frames["bin"].between(0, len(seconds_B) - 1)]
    means = inside.groupby(["condition", "trial", "bin"])["value"].mean().dropna()
    sums = means.groupby(["condition", "bin"]).agg(["sum", "count"]).reset_index()
    seconds = seconds_B[sums.pop("bin").to_numpy(np.int64)]
    measure = "intensity" if graded else "probability"
    return sums.assign(seconds=seconds, unit=name, measure=measure, person=spans[0].person)


def _over_people(curves: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """Columns: condition, unit, measure, seconds (of the bin's middle), mean, low, high, people."""
    if not curves:
        return pd.DataFrame()
    keys = ["condition", "unit", "measure", "seconds"]
    every = pd.concat(curves, ignore_index=True)
    for name in ("condition", "unit"):  # in their order, not the alphabet's
        every[name] = pd.Categorical(every[name], categories=every[name].unique())
    sums = every.groupby([*keys, "person"], observed=True)[["sum", "count"]].sum()
    found = mean_with_interval((sums["sum"] / sums["count"]).groupby(keys, observed=True))
    return found.reset_index().astype({"condition": str, "unit": str})


def mean_with_interval(values: SeriesGroupBy[Any, Any]) -> pd.DataFrame:
    """Mean over people, the bounds of its 95 % interval by Student's t, and the number of people, per group.

    NaN is a person without a value. The interval of fewer than two people is NaN.
    """
    found = values.agg(["mean", "sem", "count"])
    half = found["sem"] * found["count"].map(lambda people: _student(max(1, people - 1)))
    mean = found["mean"]
    return pd.DataFrame({"mean": mean, "low": mean - half, "high": mean + half, "people": found["count"]})


@cache
def _student(freedom: int) -> float:
    """The t that |T| stays below with probability .95, by halving an angle.

    With T = sqrt(freedom) tan(angle) the density of the angle is proportional to cos(angle) ** (freedom - 1);
    Gauss-Legendre quadrature gives its integral. SciPy has the same, and is not among what the detector
    installs.
    """
    node_Q, weight_Q = np.polynomial.legendre.leggauss(200)

    def below(angle: float) -> float:
        return float(angle * (weight_Q * np.cos(angle / 2 * (1 + node_Q)) ** (freedom - 1)).sum())

    low, high = 0.0, np.pi / 2
    for _ in range(60):
        angle = (low + high) / 2
        low, high = (angle, high) if below(angle) < 0.95 * below(np.pi / 2) else (low, angle)
    return float(np.sqrt(freedom) * np.tan(low))
