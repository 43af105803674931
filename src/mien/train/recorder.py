"""The record of a run between its steps: log lines, warnings, checkpoints, the decision to stop."""

from __future__ import annotations

import math
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
from lightning_fabric import Fabric
from torch import Tensor
from torch.optim import Optimizer

from mien.data.progress import progress_bar
from mien.train.checkpoint import Checkpoint, take_checkpoint, write_checkpoint
from mien.train.engine import RunSettings
from mien.train.log import JsonLines, LogWindow
from mien.train.method import Method
from mien.train.ranks import Ranks, module_state
from mien.train.run_folder import RunFolder
from mien.train.stop import StopRequest

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

SHARE_OF_WAITING_TO_WARN = 0.2  # of the time
QUIET_LINES = 10  # a warning is repeated after so many log lines without it


class TrainingDivergedError(ValueError):
    """The loss is not finite; the checkpoints are from before."""


@dataclass(frozen=True)
class Length:
    """Length of the run in steps."""

    total_steps: int
    steps_per_epoch: int
    clips_per_step: int


@dataclass
class Recorder:
    """One for each process; only the first (rank 0) writes."""

    fabric: Fabric
    ranks: Ranks
    folder: RunFolder
    run: RunSettings
    length: Length
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
        self._seen: dict[str, int] = {}  # a warning without its numbers -> the last line that had it
        self._lines_written = 0
        if self.fabric.global_rank == 0:
            self._lines = JsonLines(self.folder.log, after_step=done)
            self._board = _tensorboard(self.folder, after_step=done) if self.run.tensorboard else None
            self._bar = progress_bar(total=self.length.total_steps, unit="steps", done=done)

    def step_done(self, done: int, values: Mapping[str, Tensor | float]) -> bool:
        """Record the values of step number `done` (from 1); True if the run must stop here.

        TrainingDivergedError when the loss is not finite.
        """
        # NaN means "undefined at this step" in the log, so a NaN loss becomes infinite.
        self.window.add({**values, "loss": torch.nan_to_num(torch.as_tensor(values["loss"]), nan=math.inf)})
        last = done == self.length.total_steps
        if self.fabric.global_rank == 0:
            self._bar.update()
        if self.line_due(done):
            self._write_line(done)
        ending = last or self.ranks.any_lately(self.stop.requested())
        if ending or self._save_due(done):
            self._save(done, loss=values["loss"])
        return ending

    def line_due(self, done: int) -> bool:
        """Whether a line is written after step number `done`."""
        return done == self.length.total_steps or done % self.run.log_every_steps == 0

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
        means["clips_per_second"] = self.length.clips_per_step / means["seconds_per_step"]
        # Before the first line of a session, the workers were still starting.
        warnings = self.method.warnings(means) + (_loader_warnings(means) if self._lines_written else [])
        epoch = done / self.length.steps_per_epoch
        self._lines.write({"step": done, "epoch": round(epoch, 4), **means, "warnings": warnings})
        if self._board:
            for name, value in means.items():
                self._board.add_scalar(name, value, done)
        self._bar.set_postfix_str(
            f"loss {means['loss']:.4f}, {means['clips_per_second']:.1f} clips/s", refresh=False
        )
        self._lines_written += 1
        for text in warnings:
            self._warn(done, text)

    def _warn(self, done: int, text: str) -> None:
        """Print it, unless it was printed recently; numbers are ignored in the comparison."""
        gist = re.sub(r"\d+", "#", text)
        if self._lines_written - self._seen.get(gist, -QUIET_LINES) >= QUIET_LINES:
            self._bar.write(f"step {done}: {text}", file=sys.stderr)
        self._seen[gist] = self._lines_written

    def _save_due(self, done: int) -> bool:
        steps = self.run.checkpoint_every_steps
        epochs = self.run.checkpoint_every_epochs * self.length.steps_per_epoch
        return (steps > 0 and done % steps == 0) or (epochs > 0 and done % epochs == 0)

    def _save(self, done: int, *, loss: Tensor | float) -> None:
        # On every process, otherwise those with a finite loss would wait for the one that raised.
        self.ranks.settle()
        if self.ranks.any(not math.isfinite(float(loss))):
            _require_finite(math.inf, done)
        self.window.share(self.ranks.mean)
        self.ranks.require_same(module_state(self.method), step=done)
        if self.fabric.global_rank == 0:
            self._lines.sync()
            checkpoint = take_checkpoint(
                done, self.method, self.optimiser, window=self.window.state(), record=self.record
            )
            write_checkpoint(self.folder.checkpoints, checkpoint, keep=self.run.keep_checkpoints)


def _tensorboard(folder: RunFolder, *, after_step: int) -> SummaryWriter:
    from torch.utils.tensorboard import SummaryWriter

    return SummaryWriter(str(folder.tensorboard), purge_step=after_step + 1)


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
