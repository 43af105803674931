"""The runs of a sweep, one process each, measured and scored; what is done is not done again."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from mien.commands.side_by_side import Slot, Stop, work_off
from mien.commands.sweep_claim import Claim, alone_in
from mien.commands.sweep_plan import PlannedRun, Sweep
from mien.commands.sweep_table import summary_table
from mien.data.labels import action_unit_columns, read_frame_labels
from mien.data.store import TrackStore
from mien.evaluate.predictions import write_predictions
from mien.evaluate.readout import ScoredFrames, readout_predictions, score_encoder, scored_frames
from mien.train.encoder_file import load_encoder
from mien.train.recipe import to_toml
from mien.train.tensor_file import write_bytes_atomically

LEFT_TO_OTHERS = 3  # the exit status where nothing else is missing
_SECONDS_BETWEEN_LOOKS = 0.1
_TOLD = ("loss", "auc", "f1", "identity_accuracy")


class SweepError(ValueError):
    """A sweep that cannot run as asked."""


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
            raise SweepError("--score-store and --score-labels go together: name both, or neither")

    @property
    def results(self) -> Path:
        """One line a run."""
        return self.out / "results.csv"


@dataclass(frozen=True)
class Means:
    """How much a sweep may use: a slot a run at a time, minutes (0: no limit)."""

    slots: Sequence[Slot] = (Slot(),)
    max_minutes: float = 0.0


def run_sweep(
    sweep: Sweep,
    planned: Sequence[PlannedRun],
    mine: Sequence[PlannedRun],
    places: Places,
    means: Means = Means(),
) -> int:
    """Those of `mine` that results.csv does not hold yet; the exit status.

    0: it holds all of `mine` now. LEFT_TO_OTHERS: all but those that other sweeps are at. 1: not even these.

    `planned` are all runs of the sweep, in the order of the table. Several sweeps may share the folder: a run
    that another one is at is left to it. A run that was killed is taken up once more, after the others; one
    that fails is told and left out. The next sweep takes both up again from their last checkpoints.
    """
    (places.out / "logs").mkdir(parents=True, exist_ok=True)
    (places.out / "recipes").mkdir(exist_ok=True)
    _refuse_missing_labels(planned, places)
    todo = [run for run in mine if not _is_done(run, places)]
    work = _Work(planned, places, _Scorer(sweep, places), means.max_minutes)
    # Those that begin with another's encoder come second, when a killed start has had its second try.
    for part in ([run for run in todo if not run.start], [run for run in todo if run.start]):
        work.retrying = False
        work_off(part, means.slots, work)
        work.retrying = True
        work_off([run for run in part if run.key in work.killed], means.slots, work)
    if work.out_of_time:
        _say(f"--max-minutes {means.max_minutes:g} are over; the same command goes on")
    missing = {run.key for run in mine if not _is_done(run, places)}
    if left := missing & work.elsewhere:
        _say(
            f"left to whoever is at them: {', '.join(sorted(left))}. Should that be the runs of a "
            "sweep that was killed, the same command takes in what is missing when they have ended"
        )
    _write_summary(places)
    return 0 if not missing else LEFT_TO_OTHERS if missing == left else 1


@dataclass
class _Work:
    """A run trained, measured, scored and written down; called from several threads."""

    planned: Sequence[PlannedRun]
    places: Places
    scorer: _Scorer
    max_minutes: float
    began: float = field(default_factory=time.monotonic)
    retrying: bool = False
    out_of_time: bool = False
    killed: set[str] = field(default_factory=set)
    elsewhere: set[str] = field(default_factory=set)
    one_at_a_time: threading.Lock = field(default_factory=threading.Lock)

    def __call__(self, run: PlannedRun, slot: Slot, stop: Stop) -> None:
        if self.max_minutes and time.monotonic() - self.began > 60 * self.max_minutes:
            self.out_of_time = True
            return
        with Claim(self.places.out / "claims" / run.key) as claim:
            if not claim.held:
                self.elsewhere.add(run.key)
            elif not _is_done(run, self.places):  # another sweep has done it meanwhile
                self._do(run, slot, stop, claim)

    def _do(self, run: PlannedRun, slot: Slot, stop: Stop, claim: Claim) -> None:
        if run.start and not _start(run, self.places).is_file():
            _say(f"{run.key} begins with {run.start_key}, which is not done: the same command does it then")
            return
        _say(
            f"[{self.planned.index(run) + 1}/{len(self.planned)}] {run.key}: {run.steps} steps of "
            f"{run.rows_per_step} rows"
        )
        trained = _train(run, self.places, slot, stop, claim)
        if stop.is_set():
            return
        if trained.exit_code:
            self._tell_failure(run, trained.exit_code)
            return
        with self.one_at_a_time:  # torch's generators and its threads are shared
            scores = self.scorer.scores(run)
        line = {**_measured(run, self.places), "memory_mb": round(trained.memory_mb), **scores}
        _add_line(self.planned, self.places, line)

    def _tell_failure(self, run: PlannedRun, exit_code: int) -> None:
        log = _log(run, self.places)
        if exit_code < 0 and not self.retrying:
            self.killed.add(run.key)
            _say(f"{run.key} was killed by signal {-exit_code}; it goes on when the others are done")
        else:
            _say(f"{run.key} failed ({exit_code}): {_last_line(log)}; see {log}")


def describe(planned: Sequence[PlannedRun]) -> str:
    """A line a run: what it is and what it costs."""
    lines = [
        f"{run.key:40} {run.method_name:24} {run.steps:7} steps x {run.rows_per_step:5} rows "
        f"({run.clips_per_step} clips) = {run.rows:9} rows"
        for run in planned
    ]
    return "\n".join(lines)


def _refuse_missing_labels(planned: Sequence[PlannedRun], places: Places) -> None:
    for run in planned:
        if run.needs_labels and places.labels is None:
            raise SweepError(f"run {run.name!r} trains on labels: name a table of them by --labels")


@dataclass(frozen=True)
class _Trained:
    exit_code: int
    memory_mb: float  # the peak of the run's largest process


def _train(run: PlannedRun, places: Places, slot: Slot, stop: Stop, claim: Claim) -> _Trained:
    """Until the process ends; it is told to when the sweep stops, and keeps the claim should we be killed."""
    recipe = places.out / "recipes" / f"{run.key}.toml"
    write_bytes_atomically(recipe, to_toml(run.recipe).encode())
    words = ["--store", str(places.store), "--out", str(_folder(run, places)), "--resume", "auto"]
    if run.needs_labels:
        words.append(f"data.labels={json.dumps(str(places.labels))}")
    if run.start:
        words.append(f"backbone.weights={json.dumps(str(_start(run, places)))}")
    with _log(run, places).open("a") as stream:
        process = subprocess.Popen(  # noqa: S603
            [sys.executable, "-m", "mien", "pretrain", str(recipe), *words],
            stderr=stream,
            env={**os.environ, **slot.environment},
            pass_fds=claim.handles,
        )
        while True:
            pid, status, usage = os.wait4(process.pid, os.WNOHANG)
            if pid:
                break
            if stop.wait(_SECONDS_BETWEEN_LOOKS):
                process.terminate()
                _, status, usage = os.wait4(process.pid, 0)
                break
    process.returncode = os.waitstatus_to_exitcode(status)
    return _Trained(process.returncode, usage.ru_maxrss / (1e6 if sys.platform == "darwin" else 1e3))


class _Scorer:
    """Scores encoders on a labelled store, when there is one, and keeps what each read-out said."""

    def __init__(self, sweep: Sweep, places: Places) -> None:
        self.sweep = sweep
        self.places = places
        self.columns: list[str] = []
        self.frames: ScoredFrames | None = None
        if places.score_store is not None and places.score_labels is not None:
            store = TrackStore.open(places.score_store)
            self.columns = action_unit_columns(places.score_labels)
            labels = read_frame_labels(places.score_labels, self.columns, store)
            self.frames = scored_frames(
                store, labels, occurs_at=sweep.occurs_at, every_frames=sweep.score_every_frames
            )

    def scores(self, run: PlannedRun) -> dict[str, float]:
        """The means, then one AUC an action unit; nothing without labels."""
        if self.frames is None:
            return {}
        path = _folder(run, self.places) / "encoder.safetensors"
        encoder = load_encoder(path)
        scores = score_encoder(encoder, self.frames)
        predictions = readout_predictions(
            self.frames,
            scores.out_of_fold,
            outputs=tuple(self.columns),
            system=run.key,
            encoder=encoder,
            encoder_sha256=hashlib.sha256(path.read_bytes()).hexdigest(),
            settings=run.recipe,
        )
        write_predictions(self.places.out / "predictions" / f"{run.key}.parquet", predictions)
        per_unit = {f"auc_{name}": float(auc) for name, auc in zip(self.columns, scores.auc_A, strict=True)}
        return scores.means | per_unit


def _measured(run: PlannedRun, places: Places) -> dict[str, Any]:
    lines = [json.loads(line) for line in (_folder(run, places) / "log.jsonl").read_text().splitlines()]
    settled = lines[len(lines) // 4 :]  # the first steps warm caches up
    seconds = float(np.mean([line["seconds_per_step"] for line in settled]))
    return {
        "run": run.name,
        "method": run.method_name,
        "seed": run.seed,
        "settings_hash": run.settings_hash,
        "rows": run.rows,
        "steps": run.steps,
        "clips_per_step": run.clips_per_step,
        "loss": lines[-1]["loss"],
        "warnings": "; ".join(lines[-1]["warnings"]),
        "rows_per_second": round(run.rows_per_step / seconds, 1),
        "minutes": round(sum(line["seconds_per_step"] for line in lines) * run.steps / len(lines) / 60, 2),
    }


def _add_line(planned: Sequence[PlannedRun], places: Places, line: dict[str, Any]) -> None:
    """Into the table, in the order of the plan; other sweeps in this folder wait meanwhile."""
    place = {(run.name, str(run.seed)): number for number, run in enumerate(planned)}
    ours = {name: "" if pd.isna(value) else str(value) for name, value in line.items()}
    with alone_in(places.out):
        table = pd.DataFrame()
        if places.results.is_file():  # as text: what is written stays as it is, to the digit
            table = pd.read_csv(places.results, dtype=str, keep_default_na=False)
        lines = [*table.to_dict("records"), ours]
        lines.sort(key=lambda one: place.get((one["run"], one["seed"]), len(place)))
        write_bytes_atomically(places.results, pd.DataFrame(lines).to_csv(index=False).encode())
    scores = [f"{name} {line[name]:.3f}" for name in _TOLD if name in line]
    _say(f"    {line['run']}-seed{line['seed']}: {', '.join(scores)}")


def _write_summary(places: Places) -> None:
    results = _read_results(places)
    if len(results):
        write_bytes_atomically(places.out / "summary.md", summary_table(results).encode())
        _say(f"{len(results)} runs in {places.results}; means over seeds in {places.out / 'summary.md'}")


def _read_results(places: Places) -> pd.DataFrame:
    return pd.read_csv(places.results) if places.results.is_file() else pd.DataFrame()


def _is_done(run: PlannedRun, places: Places) -> bool:
    results = _read_results(places)
    if results.empty:
        return False
    same = results[(results["run"] == run.name) & (results["seed"] == run.seed)]
    if same.empty:
        return False
    if (same["settings_hash"] == run.settings_hash).any():
        return True
    raise SweepError(
        f"{places.results} holds run {run.key} under other settings; name another --out, or remove that line "
        f"and {_folder(run, places)}"
    )


def _folder(run: PlannedRun, places: Places) -> Path:
    return places.out / "runs" / run.key


def _start(run: PlannedRun, places: Places) -> Path:
    return places.out / "runs" / run.start_key / "encoder.safetensors"


def _log(run: PlannedRun, places: Places) -> Path:
    return places.out / "logs" / f"{run.key}.log"


def _last_line(log: Path) -> str:
    lines = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
    return lines[-1] if lines else "it said nothing"


def _say(text: str) -> None:
    print(f"sweep: {text}", file=sys.stderr, flush=True)
