"""Events and summaries where the truth is known: timing, a planted difference, a planted null, two hours.

    python benchmarks/findings.py [--people 12] [--studies 100] [--seed 0]
    python benchmarks/findings.py --detector

Intensities go in as they are: tables whose probabilities are intensity / 5 and whose thresholds are those of
presence, FACS B. What comes out is compared with the labels of the shipped clips and, between their frames,
with the motion that the renderer draws, which is known at any time. With --detector the shipped model reads
the shipped clips, and its events are compared with the labels instead.
"""

from __future__ import annotations

import argparse
import resource
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from scipy.stats import ttest_rel

from mien import Detector
from mien.datasets.rendered import Rendered, shipped_clips
from mien.detect.statistics import units_with_presence
from mien.detect.table import MEASURES, PLACE, Detections
from mien.facs import ACTION_UNITS
from mien.findings.events import EventSettings, find_events
from mien.findings.summary import summarise
from mien_render.actions import UNIT_NUMBERS
from mien_render.motion import MotionSettings, draw_motion

PRESENT_FROM = 2.0  # FACS B
BETWEEN_SECONDS = 0.001


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--people", type=int, default=12)
    parser.add_argument("--studies", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--detector", action="store_true", help="the shipped model's events alone")
    args = parser.parse_args()
    if args.detector:
        print("shipped model on the shipped clips, part main:", *timing_of_detector(), sep="\n  ")
        return
    print("shipped clips, labels per frame:", *timing_on_clips(), sep="\n  ")
    print("drawn motion, true crossing to the millisecond:", *timing_on_motion(args.seed), sep="\n  ")
    print("studies:", *studies(args.people, args.studies, args.seed), sep="\n  ")
    print("two hours:", *two_hours(args.seed), sep="\n  ")


def timing_on_clips() -> list[str]:
    """Events of every labelled clip against the runs of frames labelled as present."""
    errors: list[tuple[float, float]] = []
    numbers = np.zeros(5, int)
    for _, clip in labelled_clips("main", "shifted", "pretraining"):
        seconds = clip["seconds"].to_numpy(np.float64)
        units = [ACTION_UNITS[number].column for number in Rendered.action_units]
        intensity = {
            unit: clip[[f"{unit}_left", f"{unit}_right"]].max(axis=1).to_numpy(np.float64) for unit in units
        }
        found = events_of(table_of(intensity, seconds))
        for unit in units:
            runs = _runs(clip[unit].to_numpy() == 1, seconds)
            more, counted = compared(runs, found[found["unit"] == unit], length=seconds.max())
            errors += more
            numbers += counted
    return in_words(errors, numbers)


def timing_of_detector() -> list[str]:
    """Events of the shipped model against the runs of frames labelled as present, by unit and over all.

    A blink is a run of closed eyes, AU43 or AU45, of at most half a second.
    """
    detector = Detector()
    errors: dict[str, list[tuple[float, float]]] = defaultdict(list)
    numbers: dict[str, np.ndarray] = defaultdict(lambda: np.zeros(5, int))
    minutes, true_blinks, found_blinks = 0.0, 0, 0
    for path, clip in labelled_clips("main"):
        table = detector.detect(path)
        found, seconds = table.events(), clip["seconds"].to_numpy(np.float64)
        closed = (clip["AU43"] == 1) | (clip["AU45"] == 1)
        for unit in units_with_presence(table.to_pandas()):
            present = closed if unit == "AU43" else clip[unit] == 1
            more, counted = compared(
                _runs(present.to_numpy(), seconds), found[found["unit"] == unit], length=seconds.max()
            )
            for name in (unit, "all"):
                errors[name] += more
                numbers[name] += counted
        blinks = [end - start for start, end in _runs(closed.to_numpy(), seconds)]
        true_blinks += sum(length <= EventSettings().longest_blink_seconds + 1e-6 for length in blinks)
        found_blinks += int((found["unit"] == "blink").sum())
        minutes += (seconds.max() + seconds[1]) / 60
    units = [f"{name}: {'; '.join(in_words(errors[name], numbers[name]))}" for name in sorted(numbers)]
    return [
        *units,
        f"blinks: {true_blinks / minutes:.1f} a minute, found {found_blinks / minutes:.1f} a minute "
        f"({true_blinks} and {found_blinks} in {60 * minutes:.0f} s)",
    ]


def labelled_clips(*parts: str) -> Iterator[tuple[Path, pd.DataFrame]]:
    """Each clip of these parts of the shipped ones and its labels, frame by frame."""
    for part in parts:
        folder = shipped_clips() / part
        labels = pq.read_table(folder / "labels.parquet").to_pandas()
        for path, of_clip in labels.groupby("path", observed=True):
            yield folder / str(path), of_clip.sort_values("frame")


def timing_on_motion(seed: int, *, num_clips: int = 60, seconds: float = 20.0, rate: int = 25) -> list[str]:
    """Events at 25 frames/s against the crossing of the same motion at 1000 frames/s."""
    errors: list[tuple[float, float]] = []
    numbers = np.zeros(5, int)
    fine = round(1 / BETWEEN_SECONDS)
    for clip in range(num_clips):
        random = np.random.default_rng([seed, clip])
        motion_TA2 = draw_motion(
            random, MotionSettings(), num_frames=round(seconds * fine), frames_per_second=fine
        )
        strongest_TA = motion_TA2.max(axis=2).astype(np.float64)
        fine_T = np.arange(len(strongest_TA)) / fine
        coarse_TA, coarse_T = strongest_TA[:: fine // rate], fine_T[:: fine // rate]
        names = [ACTION_UNITS[number].column for number in UNIT_NUMBERS]
        found = events_of(table_of(dict(zip(names, coarse_TA.T, strict=True)), coarse_T))
        for at, name in enumerate(names):
            runs = _runs(strongest_TA[:, at] > PRESENT_FROM, fine_T)
            more, counted = compared(runs, found[found["unit"] == name], length=fine_T[-1])
            errors += more
            numbers += counted
    return in_words(errors, numbers)


def studies(num_people: int, num_studies: int, seed: int) -> list[str]:
    """How often a difference in smiles is found: where there is none, and where they are twice as frequent.

    A person rests for half a minute and sees a film for half a minute, and moves as the renderer draws it.
    """
    lines = []
    for name, more, number in (("planted null", 1.0, num_studies), ("planted: twice", 2.0, num_studies // 4)):
        people = people_of(num_people * number, more, seed)
        smiles = people[people["unit"] == "AU12"]
        pairs = smiles.pivot(index="person", columns="condition", values="share")
        parts = [pairs.iloc[study::number] for study in range(number)]
        tests = [ttest_rel(part["film"], part["rest"]) for part in parts]
        found = np.mean([test.pvalue < 0.05 for test in tests])
        low, high = np.median([test.confidence_interval() for test in tests], axis=0)
        lines.append(
            f"{name}: p < .05 in {found:.0%} of {number} studies of {num_people} people; difference in "
            f"share of time {(pairs['film'] - pairs['rest']).mean():+.3f}, "
            f"median interval {low:+.3f} to {high:+.3f}"
        )
    return lines


def people_of(num_people: int, more: float, seed: int) -> pd.DataFrame:
    """The summary of so many people; the film has `more` times the rate of smiles."""
    random = np.random.default_rng([seed, round(10 * more)])
    tables, rows = [], []
    for person in range(num_people):
        rate = 0.15 * random.lognormal(0, 0.4)  # people differ
        halves = [
            draw_motion(
                random,
                MotionSettings(base_rates={"12": min(0.8, rate * times)}, speech_share=0, still_share=0),
                num_frames=750,
                frames_per_second=25,
            ).max(axis=2)[:, UNIT_NUMBERS.index(12)]
            for times in (1.0, more)
        ]
        name = f"p{person:04d}.mp4"
        table = table_of({"AU12": np.concatenate(halves)}, np.arange(1500) / 25, name=name)
        tables.append(detections_of(table))
        rows += [(name, "rest", 0, 30), (name, "film", 30, 60)]
    return summarise(tables, pd.DataFrame(rows, columns=["file", "condition", "start", "end"])).people


def two_hours(seed: int) -> list[str]:
    """The time and memory of summarising 180 000 rows with 21 units and 200 markers."""
    random = np.random.default_rng(seed)
    clip = draw_motion(random, MotionSettings(), num_frames=1500, frames_per_second=25).max(axis=2)
    whole = np.tile(clip, (120, 1))
    names = [ACTION_UNITS[number].column for number in UNIT_NUMBERS]
    seconds = np.arange(len(whole)) / 25
    table = table_of(dict(zip(names, whole.T, strict=True)), seconds, name="long.mp4", with_intensity=True)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "long.parquet"
        detections_of(table).save(path)
        markers = pd.DataFrame({"file": "long.mp4", "start": np.arange(200) * 36.0})
        markers["condition"] = np.where(np.arange(200) % 2, "a", "b")
        num_rows = len(table)
        del table, whole
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        began, began_cpu = time.perf_counter(), time.process_time()
        summarise([path], markers, combinations=("6+12",))
        wall, cpu = time.perf_counter() - began, time.process_time() - began_cpu
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return [
        f"{num_rows:,} rows, {len(names)} units, 200 markers: {wall:.1f} s ({cpu:.1f} s of processor time)",
        f"peak memory of the process {peak / 1024:,.0f} MB (before it {before / 1024:,.0f} MB)",
    ]


def table_of(
    intensity: dict[str, np.ndarray],
    seconds: np.ndarray,
    *,
    name: str = "clip.mp4",
    with_intensity: bool = False,
) -> pd.DataFrame:
    """A table of one face that is always usable; a probability is a fifth of the intensity."""
    good = dict.fromkeys(PLACE, np.float32(0)) | dict.fromkeys(MEASURES, np.float32(100))
    good |= {"box_right": np.float32(100), "box_bottom": np.float32(100), "inside": np.float32(1)}
    probability = {unit: (values / 5).astype(np.float32) for unit, values in intensity.items()}
    more = {f"{unit}_intensity": values.astype(np.float32) for unit, values in intensity.items()}
    return pd.DataFrame(
        {
            **{"input": name, "frame": np.arange(len(seconds)), "timestamp": seconds},
            **{"face_id": pd.array(np.zeros(len(seconds), int), "Int64"), "success": np.int8(1)},
            **{"confidence": np.float32(1), "reason": "", "usable": np.int8(1), **good},
            **probability,
            **{
                f"{unit}_present": (values > PRESENT_FROM).astype(np.int8)
                for unit, values in intensity.items()
            },
            **(more if with_intensity else {}),
        }
    )


def detections_of(table: pd.DataFrame) -> Detections:
    """The table as the detector would give it."""
    thresholds = {name: PRESENT_FROM / 5 for name in table if f"{name}_present" in table}
    return Detections(pa.Table.from_pandas(table, preserve_index=False), {"thresholds": thresholds})


def events_of(table: pd.DataFrame) -> pd.DataFrame:
    """Events of all units; frames of no interest to timing are as they are."""
    units = [name for name in table if f"{name}_present" in table]
    return find_events(table, dict.fromkeys(units, PRESENT_FROM / 5), settings=EventSettings())


def compared(
    runs: list[tuple[float, float]], found: pd.DataFrame, *, length: float
) -> tuple[list[tuple[float, float]], np.ndarray]:
    """Errors in seconds of the runs that begin and end within the clip, and five numbers.

    The numbers: such runs, those with an error, all runs, those that an event overlaps, and events that
    overlap none. A run and an event belong together where they are each other's only overlap.
    """
    inside = [(a, b) for a, b in runs if a > 0 and b < length]
    errors = []
    for onset, offset in inside:
        over = found[(found["onset"] < offset) & (found["offset"] > onset)]
        if len(over) != 1:
            continue
        event = over.iloc[0]
        if sum(a < event["offset"] and event["onset"] < b for a, b in runs) == 1:
            errors.append((event["onset"] - onset, event["offset"] - offset))
    met = sum(any(event.onset < b and a < event.offset for event in found.itertuples()) for a, b in runs)
    invented = sum(
        not any(a < event.offset and event.onset < b for a, b in runs) for event in found.itertuples()
    )
    return errors, np.array([len(inside), len(errors), len(runs), met, invented])


def in_words(errors: list[tuple[float, float]], numbers: np.ndarray) -> list[str]:
    """Milliseconds: the median of signed and of absolute errors, and 95 % of the latter."""
    lines = [
        f"{numbers[0]:,} whole events, {numbers[1]:,} matched by one event each; of {numbers[2]:,} with cut "
        f"ones {numbers[3]:,} are met; {numbers[4]} without a true one"
    ]
    if not errors:
        return lines
    for name, error in zip(("onset", "offset"), 1000 * np.array(errors).T, strict=True):
        middle, size, most = np.median(error), *np.quantile(np.abs(error), [0.5, 0.95])
        lines.append(f"{name}: median {middle:+.1f} ms, absolute {size:.1f} ms, 95 % below {most:.1f} ms")
    return lines


def _runs(present: np.ndarray, seconds: np.ndarray) -> list[tuple[float, float]]:
    """(first, end) of each run: the time of its first frame, and of the first frame after it."""
    edges = np.diff(np.concatenate([[0], present.astype(int), [0]]))
    times = np.append(seconds, seconds[-1] + (seconds[1] - seconds[0]))
    return list(zip(times[edges == 1].tolist(), times[edges == -1].tolist(), strict=True))


if __name__ == "__main__":
    main()
