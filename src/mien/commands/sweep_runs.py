"""A sweep file, its runs at equal budgets, and how they are trained, scored and tabulated."""

from __future__ import annotations

import hashlib
import itertools
import json
import math
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from mien.backbones import build_backbone
from mien.config import Settings, SettingsError, build, find_recipe, load_recipe, override, to_toml
from mien.data.jobs import Died, Environment, Progress, Report, run_jobs
from mien.data.labels import action_unit_columns, read_frame_labels
from mien.data.store import TrackStore
from mien.evaluate.predictions import write_predictions
from mien.evaluate.readout import ScoredFrames, readout_predictions, score_encoder, scored_frames
from mien.io import only_one, write_bytes
from mien.train.encoder_file import load_encoder
from mien.train.settings import PretrainSettings

SCORES = ("auc", "f1", "auc_video_centred", "identity_accuracy")
COSTS = ("rows", "rows_per_second", "memory_mb")


@dataclass(frozen=True)
class RunSpec:
    """One `[[runs]]` table: a run for each seed."""

    name: str
    method: dict[str, Any] = field(default_factory=dict)  # replaces the recipe's [method]
    set: tuple[str, ...] = ()  # section.key=value, after the sweep's own
    rate: float = 0.0  # learning rate of a step, whatever its number of clips; 0: the sweep's
    rows: int = 0  # 0: the sweep's
    seeds: tuple[int, ...] = ()  # empty: the sweep's
    start: str = ""  # the run of the same seed whose encoder this one starts from; "": the recipe's weights


@dataclass(frozen=True)
class Sweep:
    """What all runs share. Budgets are in encoder rows: pictures through the backbone with gradient."""

    recipe: str
    rows: int
    rows_per_step: int
    runs: tuple[RunSpec, ...]
    seeds: tuple[int, ...] = (0,)
    set: tuple[str, ...] = ()
    rate: float = 0.0  # 0: the recipe's
    occurs_at: float = 2.0  # a label of --score-labels counts as present from here
    score_every_frames: int = 1

    def __post_init__(self) -> None:
        if min(self.rows, self.rows_per_step, self.score_every_frames) < 1:
            raise ValueError("rows, rows_per_step and score_every_frames: at least 1")
        names = [run.name for run in self.runs]
        if not names or not self.seeds or len(set(names)) < len(names):
            raise ValueError(f"runs {names}, seeds {self.seeds}: at least one of each, no name twice")
        seeds_of = {run.name: set(run.seeds or self.seeds) for run in self.runs if not run.start}
        for run in self.runs:
            if run.start and not set(run.seeds or self.seeds) <= seeds_of.get(run.start, set()):
                raise ValueError(
                    f"run {run.name!r}: start = {run.start!r} is no run of these seeds without a start itself"
                )


@dataclass(frozen=True)
class PlannedRun:
    """A run whose budget has become whole steps."""

    name: str
    seed: int
    recipe: Settings
    steps: int
    clips_per_step: int
    rows_per_step: int
    needs_labels: bool
    start: str = ""

    @property
    def key(self) -> str:
        """Name of the run's folder."""
        return f"{self.name}-seed{self.seed}"

    @property
    def settings_hash(self) -> str:
        """Distinguishes a finished run from one of the same name with other settings."""
        return hashlib.sha256((to_toml(self.recipe) + self.start).encode()).hexdigest()[:12]


def read_sweep(name_or_path: str) -> tuple[Sweep, str]:
    """The sweep of a TOML file or of a shipped one's name, and its path; SettingsError if it is wrong."""
    path = find_recipe(name_or_path, section="runs")
    content = load_recipe(path)
    runs = content.pop("runs", [])
    if not isinstance(runs, list):
        raise SettingsError(f"{path}: runs: expected [[runs]] tables, got {runs!r}")
    specs = tuple(build(RunSpec, run, where=f"{path} [[runs]] {number}") for number, run in enumerate(runs))
    return build(Sweep, {**content, "runs": specs}, where=str(path)), str(path)


def plan_runs(sweep: Sweep, *, where: str) -> list[PlannedRun]:
    """Every run of every seed. All runs of one seed come before the next, so a partial table is useful."""
    base = load_recipe(find_recipe(sweep.recipe, section="method"))
    all_seeds = dict.fromkeys(seed for run in sweep.runs for seed in (run.seeds or sweep.seeds))
    return [
        _plan(sweep, run, seed, base, where=f"{where}, run {run.name!r}")
        for seed in all_seeds
        for run in sweep.runs
        if seed in (run.seeds or sweep.seeds)
    ]


def _plan(sweep: Sweep, run: RunSpec, seed: int, base: Settings, *, where: str) -> PlannedRun:
    recipe = override({**base, **({"method": run.method} if run.method else {})}, [*sweep.set, *run.set])
    settings = PretrainSettings.from_recipe(recipe, where=where)
    method_settings = settings.fit_to_corpus(num_videos=1).method
    with torch.random.fork_rng(devices=[]):
        backbone = build_backbone("resnet18", width=1)  # the rows of a step do not depend on it
        method = settings.method_class(backbone, method_settings)  # type: ignore[call-arg]
    clips = max(2, sweep.rows_per_step * 1000 // method.encoder_rows(1000))
    rows_per_step = method.encoder_rows(clips)
    steps = math.ceil((run.rows or sweep.rows) / rows_per_step)
    rate = run.rate or sweep.rate or settings.optimiser.rate_per_64_clips * settings.data.clips_per_step / 64
    fitted = {
        "data.clips_per_step": clips,
        "run.steps": steps,
        "run.seed": seed,
        "optimiser.rate_per_64_clips": rate * 64 / clips,
    }
    recipe = override(recipe, [f"{key}={value!r}" for key, value in fitted.items()])
    PretrainSettings.from_recipe(recipe, where=where)
    labelled = bool(settings.method_class.clip_request(settings.method).label_columns)
    return PlannedRun(run.name, seed, recipe, steps, clips, rows_per_step, labelled, run.start)


@dataclass(frozen=True)
class Places:
    """Where a sweep reads and writes."""

    store: Path
    out: Path
    labels: Path | None = None
    score_store: Path | None = None
    score_labels: Path | None = None

    def __post_init__(self) -> None:
        if (self.score_store is None) != (self.score_labels is None):
            raise ValueError("--score-store and --score-labels go together: name both, or neither")

    def folder(self, run_key: str) -> Path:
        """Folder of a run."""
        return self.out / "runs" / run_key

    def log(self, run: PlannedRun) -> Path:
        """What the run printed."""
        return self.out / "logs" / f"{run.key}.log"

    def result(self, run: PlannedRun) -> dict[str, Any] | None:
        """The line of a finished run, None before; ValueError where it was made with other settings."""
        path = self.folder(run.key) / "result.json"
        if not path.is_file():
            return None
        line: dict[str, Any] = json.loads(path.read_text())
        if line["settings_hash"] != run.settings_hash:
            raise ValueError(f"{path} is of other settings; name another --out, or remove {path.parent}")
        return line


def run_sweep(
    sweep: Sweep,
    planned: Sequence[PlannedRun],
    mine: Sequence[PlannedRun],
    places: Places,
    *,
    environments: Sequence[Environment] = ({},),
    max_minutes: float = 0.0,
) -> int:
    """Train and score the runs `mine` that have no result yet; the exit status.

    0: all of `mine` have one now. 3: all but those that another sweep is working on. 1: else.

    `planned`: all runs of the sweep, in the order of the table. A run that was killed is continued once more
    after the others; one that fails is reported and left out. environments: one per process that trains.
    No run starts after `max_minutes` (0: no limit).
    """
    for run in planned:
        if run.needs_labels and places.labels is None:
            raise ValueError(f"run {run.name!r} trains on labels: name a table of them by --labels")
        places.result(run)
    for name in ("logs", "recipes", "locks", "runs"):
        (places.out / name).mkdir(parents=True, exist_ok=True)
    deadline = time.monotonic() + 60 * max_minutes if max_minutes else math.inf
    elsewhere: set[str] = set()

    def work_off(todo: Iterable[PlannedRun]) -> list[PlannedRun]:
        """The runs that were killed."""
        in_time = itertools.takewhile(lambda _run: time.monotonic() <= deadline, todo)
        return _work_off(_TrainAndScore(sweep, planned, places), in_time, environments, elsewhere)

    for has_start in (False, True):  # those that start from another's encoder come second
        killed = work_off(run for run in mine if bool(run.start) == has_start and not places.result(run))
        if killed:
            _say(f"{', '.join(run.key for run in killed)}: continued now that the others are done")
            work_off(killed)
    num_done = write_tables(planned, places)
    missing = {run.key for run in mine if not places.result(run)}
    if time.monotonic() > deadline and missing:
        _say(f"--max-minutes {max_minutes:g} are over; the same command continues")
    if left := missing & elsewhere:
        _say(f"another sweep is working on {', '.join(sorted(left))}; the same command adds them later")
    if num_done:
        _say(f"{num_done} runs in {places.out / 'results.csv'}; means over seeds in summary.md beside it")
    return 0 if not missing else 3 if missing == left else 1


def write_tables(planned: Sequence[PlannedRun], places: Places) -> int:
    """results.csv and summary.md of the finished runs; their number."""
    lines = [line for run in planned if (line := places.result(run))]
    if lines:
        table = pd.DataFrame(lines)
        with only_one(places.out / ".lock"):
            write_bytes(places.out / "results.csv", table.to_csv(index=False).encode())
            write_bytes(places.out / "summary.md", summary_table(table).encode())
    return len(lines)


def summary_table(results: pd.DataFrame) -> str:
    """Markdown, the best mean AUC first where there are scores; `±` is the standard deviation over seeds."""
    scores, runs = [name for name in SCORES if name in results], results.groupby("run", sort=False)
    means, spreads = runs[scores].mean(), runs[scores].std()
    spread_texts = spreads.map(lambda spread: "" if pd.isna(spread) else f" ± {spread:.3f}")
    texts = means.map(lambda mean: "undefined" if pd.isna(mean) else f"{mean:.3f}") + spread_texts
    costs = runs[list(COSTS)].mean().map("{:.0f}".format)
    table = pd.concat([runs.size().rename("seeds"), texts, costs], axis=1)
    if "auc" in scores:
        table = table.loc[means["auc"].sort_values(ascending=False).index]
    header, *rows = table.to_csv(sep="|").splitlines()
    lines = [header, "|".join("---" for _ in header.split("|")), *rows]
    return "".join(f"| {line.replace('|', ' | ')} |\n" for line in lines)


def _work_off(
    work: _TrainAndScore,
    runs: Iterable[PlannedRun],
    environments: Sequence[Environment],
    elsewhere: set[str],
) -> list[PlannedRun]:
    """The runs that were killed. Those that another sweep is working on are added to `elsewhere`."""
    killed = []
    for event in run_jobs(
        work, runs, workers=len(environments), environments=environments, max_deaths_in_a_row=math.inf
    ):
        run = event.job
        if isinstance(event, Progress):
            _say(event.report)
        elif isinstance(event, Died):
            _say(f"{run.key} failed: {event.how}")
            killed += [] if event.by_exception else [run]
        elif event.result is None:
            elsewhere.add(run.key)
        elif event.result < 0:
            _say(f"{run.key} was killed by signal {-event.result}")
            killed.append(run)
        elif event.result:
            log = work.places.log(run)
            last = ["no output", *log.read_text(encoding="utf-8", errors="replace").splitlines()][-1]
            _say(f"{run.key} failed ({event.result}): {last}; see {log}")
        else:
            write_tables(work.planned, work.places)
    return killed


class _TakenError(Exception):
    """Another sweep is working on the run."""


@dataclass(frozen=True)
class _TrainAndScore:
    """The work of one process: runs, each trained in a process of its own that may start one per device."""

    sweep: Sweep
    planned: Sequence[PlannedRun]
    places: Places

    def __call__(self, run: PlannedRun, report: Report, /) -> int | None:
        """Exit code of the training; None: another sweep is working on the run or has done it."""
        try:
            with only_one(self.places.out / "locks" / run.key, refusal=_TakenError()):
                return None if self.places.result(run) else self._do(run, report)
        except _TakenError:
            return None

    def _do(self, run: PlannedRun, report: Report) -> int:
        start = f"{run.start}-seed{run.seed}" if run.start else ""
        weights = self.places.folder(start) / "encoder.safetensors" if start else None
        if weights and not weights.is_file():
            report(f"{run.key} starts from {start}, which is not done: the same command does it then")
            return 0
        place = f"[{self.planned.index(run) + 1}/{len(self.planned)}]"
        report(f"{place} {run.key}: {run.steps} steps of {run.rows_per_step} rows")
        exit_code, used = _train(run, self.places, weights)
        if exit_code == 0:
            line = {**_measured(run, self.places), **used, **self._scores(run)}
            write_bytes(self.places.folder(run.key) / "result.json", json.dumps(line).encode())
            shown = [name for name in ("loss", "auc", "f1", "identity_accuracy") if name in line]
            report(f"    {run.key}: {', '.join(f'{name} {line[name]:.3f}' for name in shown)}")
        return exit_code

    @cached_property
    def _labelled(self) -> tuple[list[str], ScoredFrames] | None:
        """Action units and frames of the labelled store, where there is one."""
        if self.places.score_store is None or self.places.score_labels is None:
            return None
        store = TrackStore.open(self.places.score_store)
        columns = action_unit_columns(self.places.score_labels)
        labels = read_frame_labels(self.places.score_labels, columns, store)
        every, occurs_at = self.sweep.score_every_frames, self.sweep.occurs_at
        return columns, scored_frames(store, labels, occurs_at=occurs_at, every_frames=every)

    def _scores(self, run: PlannedRun) -> dict[str, float]:
        """Means, then one AUC per action unit; nothing without labels. The predictions are kept."""
        if self._labelled is None:
            return {}
        columns, frames = self._labelled
        path = self.places.folder(run.key) / "encoder.safetensors"
        encoder = load_encoder(path)
        scores = score_encoder(encoder, frames)
        predictions = readout_predictions(
            frames,
            scores.out_of_fold,
            outputs=tuple(columns),
            system=run.key,
            encoder=encoder,
            encoder_sha256=hashlib.sha256(path.read_bytes()).hexdigest(),
            settings=run.recipe,
        )
        write_predictions(self.places.out / "predictions" / f"{run.key}.parquet", predictions)
        aucs = {f"auc_{name}": float(auc) for name, auc in zip(columns, scores.auc_A, strict=True)}
        return scores.means | aucs


def _train(run: PlannedRun, places: Places, weights: Path | None) -> tuple[int, dict[str, float]]:
    """Exit code, and what the training took. Where we are stopped, so is the training."""
    recipe = places.out / "recipes" / f"{run.key}.toml"
    write_bytes(recipe, to_toml(run.recipe).encode())
    words = ["--store", str(places.store), "--out", str(places.folder(run.key))]
    if run.needs_labels:
        words.append(f"--set=data.labels={json.dumps(str(places.labels))}")
    if weights:
        words.append(f"--set=backbone.weights={json.dumps(str(weights))}")
    command = [sys.executable, "-m", "mien", "pretrain", str(recipe), *words]
    with places.log(run).open("a") as stream:
        # In a session of its own, so that Ctrl-C reaches it once, through us.
        process = subprocess.Popen(command, stderr=stream, start_new_session=True)  # noqa: S603

    def stop(_number: int, _frame: object) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        process.terminate()
        process.wait()  # it finishes its step and saves
        sys.exit(128 + signal.SIGTERM)

    before = signal.signal(signal.SIGTERM, stop)
    _, status, usage = os.wait4(process.pid, 0)
    signal.signal(signal.SIGTERM, before)
    process.returncode = os.waitstatus_to_exitcode(status)
    memory_mb = usage.ru_maxrss / (1e6 if sys.platform == "darwin" else 1e3)
    minutes = (usage.ru_utime + usage.ru_stime) / 60
    return process.returncode, {"processor_minutes": round(minutes, 2), "memory_mb": round(memory_mb)}


def _measured(run: PlannedRun, places: Places) -> dict[str, Any]:
    lines = [json.loads(line) for line in (places.folder(run.key) / "log.jsonl").read_text().splitlines()]
    seconds = [line["seconds_per_step"] for line in lines]
    settled = float(np.mean(seconds[len(lines) // 4 :]))  # the first steps warm caches up
    return {
        "run": run.name,
        "method": run.recipe["method"]["name"],
        "seed": run.seed,
        "settings_hash": run.settings_hash,
        "rows": run.steps * run.rows_per_step,
        "steps": run.steps,
        "clips_per_step": run.clips_per_step,
        "loss": lines[-1]["loss"],
        "warnings": "; ".join(lines[-1]["warnings"]),
        "rows_per_second": round(run.rows_per_step / settled, 1),
        "minutes": round(sum(seconds) * run.steps / len(lines) / 60, 2),
    }


def _say(text: str) -> None:
    print(f"sweep: {text}", file=sys.stderr, flush=True)
