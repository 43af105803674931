"""The runs of a sweep, one process each, measured and scored; what is done is not done again."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from mien.commands.sweep_plan import PlannedRun, Sweep
from mien.commands.sweep_table import summary_table
from mien.data.labels import read_frame_labels
from mien.data.store import TrackStore
from mien.evaluate.predictions import write_predictions
from mien.evaluate.store_predictions import store_predictions
from mien.evaluate.store_scores import ScoredFrames, score_encoder, scored_frames
from mien.facs import ACTION_UNITS
from mien.train.encoder_file import load_encoder
from mien.train.recipe import to_toml
from mien.train.tensor_file import write_bytes_atomically


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


def run_sweep(
    sweep: Sweep, planned: Sequence[PlannedRun], places: Places, *, max_minutes: float = 0.0
) -> bool:
    """Every run that results.csv does not hold yet; True when it holds them all at the end.

    A run that fails is told and left out; the next sweep takes it up again from its last checkpoint.
    """
    scorer = _Scorer(sweep, places)
    (places.out / "logs").mkdir(parents=True, exist_ok=True)
    (places.out / "recipes").mkdir(exist_ok=True)
    began = time.monotonic()
    for number, run in enumerate(planned, start=1):
        if _is_done(run, places):
            continue
        if max_minutes and time.monotonic() - began > 60 * max_minutes:
            _say(f"--max-minutes {max_minutes:g} are over; the same command goes on")
            return False
        _say(f"[{number}/{len(planned)}] {run.key}: {run.steps} steps of {run.rows_per_step} rows")
        memory_mb = _train(run, places)
        if memory_mb is not None:
            _add_line(places, {**_measured(run, places), "memory_mb": round(memory_mb), **scorer.scores(run)})
    _write_summary(places)
    return all(_is_done(run, places) for run in planned)


def describe(planned: Sequence[PlannedRun]) -> str:
    """A line a run: what it is and what it costs."""
    lines = [
        f"{run.key:40} {run.method_name:24} {run.steps:7} steps x {run.rows_per_step:5} rows "
        f"({run.clips_per_step} clips) = {run.rows:9} rows"
        for run in planned
    ]
    return "\n".join(lines)


def _train(run: PlannedRun, places: Places) -> float | None:
    """The peak memory (MB) of the run's largest process; None when it failed, which is told."""
    if run.needs_labels and places.labels is None:
        raise SweepError(f"run {run.name!r} trains on labels: name a table of them by --labels")
    recipe = places.out / "recipes" / f"{run.key}.toml"
    write_bytes_atomically(recipe, to_toml(run.recipe).encode())
    words = [
        str(recipe),
        "--store",
        str(places.store),
        "--out",
        str(_folder(run, places)),
        "--resume",
        "auto",
    ]
    if run.needs_labels:
        words.append(f"data.labels={json.dumps(str(places.labels))}")
    log = places.out / "logs" / f"{run.key}.log"
    with log.open("a") as stream:
        process = subprocess.Popen(  # noqa: S603
            [sys.executable, "-m", "mien", "pretrain", *words], stderr=stream
        )
        try:
            _, status, usage = os.wait4(process.pid, 0)
        except BaseException:
            process.terminate()
            process.wait()
            raise
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode == 0:
        return usage.ru_maxrss / (1e6 if sys.platform == "darwin" else 1e3)
    _say(f"{run.key} failed ({process.returncode}): {_last_line(log)}; see {log}")
    return None


class _Scorer:
    """Scores encoders on a labelled store, when there is one, and keeps what each read-out said."""

    def __init__(self, sweep: Sweep, places: Places) -> None:
        self.sweep = sweep
        self.places = places
        self.columns: list[str] = []
        self.frames: ScoredFrames | None = None
        if places.score_store is not None and places.score_labels is not None:
            store = TrackStore.open(places.score_store)
            self.columns = _action_unit_columns(places.score_labels)
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
        predictions = store_predictions(
            self.frames,
            scores,
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


def _add_line(places: Places, line: dict[str, Any]) -> None:
    table = pd.concat([_read_results(places), pd.DataFrame([line])], ignore_index=True)
    write_bytes_atomically(places.results, table.to_csv(index=False).encode())
    _say(
        "    "
        + ", ".join(
            f"{name} {line[name]:.3f}" for name in ("loss", "auc", "f1", "identity_accuracy") if name in line
        )
    )


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


def _action_unit_columns(path: Path) -> list[str]:
    columns = (
        pd.read_parquet(path).columns if path.suffix == ".parquet" else pd.read_csv(path, nrows=0).columns
    )
    known = {unit.column for unit in ACTION_UNITS.values()}
    chosen = [column for column in columns if column in known]
    if not chosen:
        raise SweepError(f"{path}: no column is an action unit (AU01, AU12, ...); it has {list(columns)}")
    return chosen


def _folder(run: PlannedRun, places: Places) -> Path:
    return places.out / "runs" / run.key


def _last_line(log: Path) -> str:
    lines = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
    return lines[-1] if lines else "it said nothing"


def _say(text: str) -> None:
    print(f"sweep: {text}", file=sys.stderr, flush=True)
