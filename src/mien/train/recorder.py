"""The record of a run between its steps: log lines, warnings, checkpoints, the decision to stop."""

from __future__ import annotations

import contextlib
import json
import math
import os
import re
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from lightning_fabric import Fabric
from torch import Tensor
from torch.optim import Optimizer

from mien.data.loader import EpochPlan
from mien.data.progress import progress_bar
from mien.io import naming_write_errors, write_bytes
from mien.train.engine import RunSettings
from mien.train.method import Method
from mien.train.ranks import Ranks
from mien.train.run_folder import Checkpoint, RunFolder
from mien.train.stop import StopRequest

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

SHARE_OF_WAITING_TO_WARN = 0.2  # of the time


class TrainingDivergedError(ValueError):
    """The loss is not finite; the checkpoints are from before."""


class LogWindow:
    """Means over the steps since the last line. NaN means "undefined at this step" and is left out.

    Sums and counts stay on their device until they are read, so adding does not synchronise.
    """

    def __init__(self) -> None:
        self._sums: dict[str, Tensor] = {}  # sum and count, float64

    def add(self, values: Mapping[str, Tensor | float]) -> None:
        """Add the values of one step."""
        for name, value in values.items():
            scalar = torch.as_tensor(value).detach().to(torch.float64)
            defined = ~scalar.isnan()
            pair = torch.stack([scalar.where(defined, 0.0), defined.to(torch.float64)])
            self._sums[name] = self._sums[name].to(pair.device) + pair if name in self._sums else pair

    def take_means(self) -> dict[str, float]:
        """The mean of each name, NaN where it was never defined; the window is empty afterwards."""
        pairs = {name: pair.tolist() for name, pair in self._sums.items()}
        self._sums = {}
        return {name: total / count if count else math.nan for name, (total, count) in pairs.items()}

    def share(self, mean_over_processes: Callable[[Tensor], Tensor]) -> None:
        """Replace the sums and counts by their means over all processes, on each of them."""
        if self._sums:
            pairs_N2 = torch.stack([pair.cpu() for pair in self._sums.values()])
            self._sums = dict(zip(self._sums, mean_over_processes(pairs_N2), strict=True))

    def state(self) -> dict[str, Tensor]:
        """The part of a checkpoint."""
        sums = {f"sum.{name}": pair[0] for name, pair in self._sums.items()}
        return sums | {f"count.{name}": pair[1] for name, pair in self._sums.items()}

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """Restore what `state` returned."""
        names = [name.removeprefix("sum.") for name in state if name.startswith("sum.")]
        self._sums = {name: torch.stack([state[f"sum.{name}"], state[f"count.{name}"]]) for name in names}


class JsonLines:
    """An append-only file with one JSON object per line; NaN and infinities are written as null."""

    def __init__(self, path: Path, *, after_step: int) -> None:
        """Remove lines of steps after `after_step`, and an incomplete last line."""
        if path.exists():
            write_bytes(path, _lines_until(path, after_step).encode())
        self._file = path.open("a", encoding="utf-8")

    def write(self, values: Mapping[str, Any]) -> None:
        """Append one line; WriteError when the disk is full."""
        finite = {
            name: None if isinstance(value, float) and not math.isfinite(value) else value
            for name, value in values.items()
        }
        with naming_write_errors(Path(self._file.name)):
            self._file.write(json.dumps(finite) + "\n")
            self._file.flush()

    def sync(self) -> None:
        """Flush to the disk, before a checkpoint that relies on the lines."""
        os.fsync(self._file.fileno())

    def close(self) -> None:
        """Close the file."""
        with contextlib.suppress(OSError):
            self._file.close()


@dataclass
class Recorder:
    """One for each process; only the first (rank 0) writes."""

    fabric: Fabric
    ranks: Ranks
    folder: RunFolder
    run: RunSettings
    plan: EpochPlan
    total_steps: int
    stop: StopRequest
    method: Method
    optimiser: Optimizer
    record: Mapping[str, Any]  # stored in every checkpoint: corpus and versions
    window: LogWindow = field(default_factory=LogWindow)

    def open(self, resumed: Checkpoint | None) -> None:
        """Open log, TensorBoard and progress bar; with a checkpoint, truncated to its step."""
        done = resumed.step if resumed else 0
        if resumed:
            self.window.load_state(resumed.window)
        self._printed: set[str] = set()
        self._lines_written = 0
        if self.fabric.global_rank == 0:
            self._lines = JsonLines(self.folder.log, after_step=done)
            self._board: SummaryWriter | None = None
            if self.run.tensorboard:
                from torch.utils import tensorboard

                self._board = tensorboard.SummaryWriter(str(self.folder.tensorboard), purge_step=done + 1)
            self._bar = progress_bar(total=self.total_steps, unit="steps", done=done)

    def step_done(self, done: int, values: Mapping[str, Tensor | float]) -> bool:
        """Record the values of step number `done` (from 1); True if the run must stop here.

        TrainingDivergedError when the loss is not finite.
        """
        # NaN means "undefined at this step" in the log, so a NaN loss becomes infinite.
        self.window.add({**values, "loss": torch.nan_to_num(torch.as_tensor(values["loss"]), nan=math.inf)})
        last = done == self.total_steps
        if self.fabric.global_rank == 0:
            self._bar.update()
        if self.line_due(done):
            self._write_line(done)
        ending = last or self.ranks.any(self.stop.requested())
        if ending or self._save_due(done):
            self._save(done, loss=values["loss"])
        return ending

    def line_due(self, done: int) -> bool:
        """Whether a line is written after step number `done`."""
        return done == self.total_steps or done % self.run.log_every_steps == 0

    def close(self) -> None:
        """Close what `open` opened."""
        if self.fabric.global_rank == 0:
            self._bar.close()
            self._lines.close()
            if self._board:
                self._board.close()

    def _write_line(self, done: int) -> None:
        self.window.share(self.ranks.mean)
        means = self.window.take_means()
        _require_finite(means["loss"], done)
        if self.fabric.global_rank != 0:
            return
        means["clips_per_second"] = self.plan.clips_per_step / means["seconds_per_step"]
        # Before the first line of a session, the workers were still starting.
        warnings = self.method.warnings(means) + (_loader_warnings(means) if self._lines_written else [])
        epoch = done / self.plan.steps_per_epoch
        self._lines.write({"step": done, "epoch": round(epoch, 4), **means, "warnings": warnings})
        if self._board:
            for name, value in means.items():
                self._board.add_scalar(name, value, done)
        self._bar.set_postfix_str(
            f"loss {means['loss']:.4f}, {means['clips_per_second']:.1f} clips/s", refresh=False
        )
        self._lines_written += 1
        for text in warnings:
            gist = re.sub(r"\d+", "#", text)  # a warning is printed once, whatever its numbers
            if gist not in self._printed:
                self._bar.write(f"step {done}: {text}", file=sys.stderr)
            self._printed.add(gist)

    def _save_due(self, done: int) -> bool:
        steps = self.run.checkpoint_every_steps
        epochs = self.run.checkpoint_every_epochs * self.plan.steps_per_epoch
        return (steps > 0 and done % steps == 0) or (epochs > 0 and done % epochs == 0)

    def _save(self, done: int, *, loss: Tensor | float) -> None:
        # On every process, otherwise those with a finite loss would wait for the one that raised.
        if self.ranks.any(not math.isfinite(float(loss))):
            _require_finite(math.inf, done)
        self.window.share(self.ranks.mean)
        self.ranks.require_same(self.method.state_dict(), step=done)
        if self.fabric.global_rank == 0:
            self._lines.sync()
            state, keep = self.window.state(), self.run.keep_checkpoints
            self.folder.save(done, self.method, self.optimiser, window=state, record=self.record, keep=keep)


def _require_finite(loss: float, step: int) -> None:
    if not math.isfinite(loss):
        raise TrainingDivergedError(
            f"the loss is not a finite number at step {step} or just before. Lower "
            "optimiser.rate_per_64_clips, or take run.precision = 32, in a new run"
        )


def _loader_warnings(means: Mapping[str, float]) -> list[str]:
    share = means["seconds_waiting_for_data"] / means["seconds_per_step"]
    if share < SHARE_OF_WAITING_TO_WARN:
        return []
    return ["more than a fifth of the time is spent waiting for data: raise data.workers"]


def _lines_until(path: Path, step: int) -> str:
    """The lines up to a step. Later ones may be incomplete if the run was killed."""
    kept = []
    with contextlib.suppress(ValueError), path.open(encoding="utf-8", errors="replace") as file:
        for line in file:
            if json.loads(line)["step"] > step:
                break
            kept.append(line)
    return "".join(kept)
