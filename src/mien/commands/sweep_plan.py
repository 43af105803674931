"""A sweep file, and the runs it stands for: each a whole recipe with a budget in encoder rows."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from mien.backbones import build_backbone
from mien.commands.pretrain_settings import PretrainSettings
from mien.config import Settings, SettingsError, build, load_recipe, override
from mien.registry import nearest
from mien.train.recipe import find_recipe, recipes_folder, to_toml


@dataclass(frozen=True)
class RunSpec:
    """One row of the table, times the seeds."""

    name: str
    method: dict[str, Any] = field(default_factory=dict)  # in place of the recipe's [method]
    set: tuple[str, ...] = ()  # section.key=value, after the sweep's own
    rate: float = 0.0  # the optimiser's rate a step, whatever the clips; 0: the recipe's
    rows: int = 0  # 0: the sweep's
    seeds: tuple[int, ...] = ()  # none: the sweep's
    start: str = ""  # a run whose encoder, of the same seed, this one begins with; "": the recipe's weights


@dataclass(frozen=True)
class Sweep:
    """What all runs share. Budgets count encoder rows: pictures through the backbone with gradient."""

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
        for name in ("rows", "rows_per_step", "score_every_frames"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} = {getattr(self, name)}: at least 1")
        names = [run.name for run in self.runs]
        twice = {name for name in names if names.count(name) > 1}
        if twice or not names or not self.seeds:
            raise ValueError(f"runs {names}, seeds {self.seeds}: at least one of each, no name twice")
        for run in self.runs:
            self._require_start(run)

    def _require_start(self, run: RunSpec) -> None:
        if not run.start:
            return
        starts = [one for one in self.runs if one.name == run.start and not one.start]
        if not starts or not set(run.seeds or self.seeds) <= set(starts[0].seeds or self.seeds):
            raise ValueError(
                f"run {run.name!r}: start = {run.start!r} is no run of these seeds without a start of its own"
            )


@dataclass(frozen=True)
class PlannedRun:
    """A run whose budget has become steps."""

    name: str
    seed: int
    recipe: Settings
    method_name: str
    clips_per_step: int
    rows_per_step: int
    steps: int
    needs_labels: bool
    start: str = ""  # the run that it begins with

    @property
    def key(self) -> str:
        """The run's folder."""
        return f"{self.name}-seed{self.seed}"

    @property
    def start_key(self) -> str:
        """The folder of the run that it begins with; "": none."""
        return f"{self.start}-seed{self.seed}" if self.start else ""

    @property
    def rows(self) -> int:
        """Encoder rows in all: the budget, rounded up to whole steps."""
        return self.steps * self.rows_per_step

    @property
    def settings_hash(self) -> str:
        """Tells a finished run from one of the same name under other settings."""
        return hashlib.sha256((to_toml(self.recipe) + self.start).encode()).hexdigest()[:12]


def read_sweep(name_or_path: str) -> tuple[Sweep, str]:
    """The sweep of a TOML file, or of a shipped one's name, and where it is; SettingsError if it is wrong."""
    path = _find(name_or_path)
    content = load_recipe(path)
    runs = content.pop("runs", [])
    if not isinstance(runs, list):
        raise SettingsError(f"{path}: runs: expected [[runs]] tables, got {runs!r}")
    specs = tuple(build(RunSpec, run, where=f"{path} [[runs]] {number}") for number, run in enumerate(runs))
    return build(Sweep, {**content, "runs": specs}, where=str(path)), str(path)


def plan_runs(sweep: Sweep, *, where: str) -> list[PlannedRun]:
    """Every run of every seed, the first seed of all runs first, so that a part of a table is a whole one."""
    base = load_recipe(find_recipe(sweep.recipe))
    all_seeds = dict.fromkeys(seed for run in sweep.runs for seed in (run.seeds or sweep.seeds))
    return [
        _plan(sweep, run, seed, base, where=f"{where}, run {run.name!r}")
        for seed in all_seeds
        for run in sweep.runs
        if seed in (run.seeds or sweep.seeds)
    ]


def _find(name_or_path: str) -> Path:
    path = Path(name_or_path)
    if path.suffix == ".toml" or path.is_file():
        return path
    shipped = {file.stem: file for file in (recipes_folder() / "sweeps").glob("*.toml")}
    if name_or_path not in shipped:
        raise SettingsError(f"no sweep {name_or_path!r} and no such file{nearest(name_or_path, shipped)}")
    return shipped[name_or_path]


def _plan(sweep: Sweep, run: RunSpec, seed: int, base: Mapping[str, Any], *, where: str) -> PlannedRun:
    recipe = override({**base, **({"method": run.method} if run.method else {})}, [*sweep.set, *run.set])
    settings = PretrainSettings.from_recipe(recipe, where=where)
    rows_per_clip = _rows_per_clip(settings)
    clips_per_step = max(2, sweep.rows_per_step // rows_per_clip)
    rows_per_step = clips_per_step * rows_per_clip
    steps = math.ceil((run.rows or sweep.rows) / rows_per_step)
    rate = run.rate or sweep.rate or settings.optimiser.rate_per_64_clips * settings.data.clips_per_step / 64
    fitted = {
        "data.clips_per_step": clips_per_step,
        "run.steps": steps,
        "run.seed": seed,
        "optimiser.rate_per_64_clips": rate * 64 / clips_per_step,
    }
    recipe = override(recipe, [f"{key}={value!r}" for key, value in fitted.items()])
    PretrainSettings.from_recipe(recipe, where=where)
    needs_labels = bool(settings.method_class.clip_request(settings.method).label_columns)
    return PlannedRun(
        run.name,
        seed,
        recipe,
        settings.method_name,
        clips_per_step,
        rows_per_step,
        steps,
        needs_labels,
        run.start,
    )


def _rows_per_clip(settings: PretrainSettings) -> int:
    """What the method itself says, asked of one around the smallest backbone."""
    method_settings = settings.fit_to_corpus(num_videos=1).method
    with torch.random.fork_rng(devices=[]):
        method = settings.method_class(build_backbone("resnet18", width=1), method_settings)  # type: ignore[call-arg]
    return method.encoder_rows(1)
