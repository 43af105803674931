"""The training loop. It is the same for all methods."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn
from torch.optim import Optimizer

from mien.train.engine import step_generator
from mien.train.method import ClipBatch, Method, Views
from mien.train.ranks import Ranks
from mien.train.recorder import Recorder

WARM_START_STEP = 2**40  # the step numbers that seed warm-start views lie beyond any real one


@dataclass
class Trainer:
    """The state of training. `forward` is the method wrapped by Fabric (engine.StepModule)."""

    fabric: Fabric
    method: Method
    forward: nn.Module
    optimiser: Optimizer
    views_for: Callable[[torch.Generator], Views]
    rate_at: Callable[[int], float]
    seed: int

    def take_step(self, step: int, batch: ClipBatch, *, diagnosing: bool = True) -> dict[str, Tensor | float]:
        """Forward, backward, update; returns the values to log, still on the device."""
        generator = step_generator(self.seed, step)
        # For code that draws from the global state, such as dropout; there each process has its own.
        torch.manual_seed(step_generator(self.seed, step, self.fabric.global_rank).initial_seed())
        self.method.diagnosing = diagnosing
        views = self.views_for(generator)
        rate = self.rate_at(step)
        for group in self.optimiser.param_groups:
            group["lr"] = rate
        self.method.before_step()
        loss, logs = self.forward(lambda method: method.training_step(batch, views, generator))
        self.fabric.backward(loss)
        gradient_norm = _gradient_norm(self.optimiser)
        self.optimiser.step()
        self.optimiser.zero_grad(set_to_none=True)
        self.method.after_step()
        return {"loss": loss.detach(), **logs, "gradient_norm": gradient_norm, "rate": rate}


def train(trainer: Trainer, batches: Iterator[ClipBatch], recorder: Recorder, *, steps: range) -> int:
    """Take `steps` until the recorder stops the run; return the number of steps of the run so far."""
    trainer.method.train()
    step_began = time.perf_counter()
    for step in steps:
        asked = time.perf_counter()
        batch = next(batches).to(trainer.fabric.device)
        waited = time.perf_counter() - asked
        values = trainer.take_step(step, batch, diagnosing=recorder.line_due(step + 1))
        step_ended = time.perf_counter()
        seconds = {"seconds_waiting_for_data": waited, "seconds_per_step": step_ended - step_began}
        step_began = step_ended
        if recorder.step_done(step + 1, values | seconds):
            return step + 1
    return steps.start


def warm_start(
    trainer: Trainer, batches: Iterator[ClipBatch], *, ranks: Ranks, stop_requested: Callable[[], bool]
) -> int:
    """Give the method batches without training until it needs no more; return their number."""
    trainer.method.train()
    for number, batch in enumerate(batches):
        generator = step_generator(trainer.seed, WARM_START_STEP + number)
        with torch.no_grad(), trainer.fabric.autocast():
            full = trainer.method.warm_start(batch.to(trainer.fabric.device), trainer.views_for(generator))
        if ranks.any(full or stop_requested()):
            return number + 1
    return 0


def _gradient_norm(optimiser: Optimizer) -> Tensor:
    parameters = [parameter for group in optimiser.param_groups for parameter in group["params"]]
    return nn.utils.get_total_norm([p.grad for p in parameters if p.grad is not None])
