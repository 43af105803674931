"""Device, precision and processes of a run, by Lightning Fabric; random generators of a step."""

from __future__ import annotations

import logging
import os
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, cast

import numpy as np
import torch
from lightning_fabric import Fabric
from lightning_fabric.strategies.ddp import DDPStrategy
from torch import Tensor, nn

from mien.config import SettingsError
from mien.layers.momentum import MomentumEncoder
from mien.train.method import Method, StepOutput
from mien.train.ranks import TIMEOUT

TakeStep = Callable[[Method], StepOutput]


@dataclass(frozen=True)
class RunSettings:
    """Length of a run, devices, and what is saved."""

    epochs: int = 200
    steps: int = 0  # above 0: that many steps instead of epochs
    seed: int = 0
    precision: Literal["32", "bf16-mixed"] = "32"
    accelerator: Literal["auto", "cpu", "gpu"] = "auto"
    devices: int = 1  # per machine, one process each
    nodes: int = 1  # machines
    batch_norm: Literal["device", "all_devices"] = "device"  # whose rows share the encoder's batch statistics
    compile: bool = False  # the backbone, by torch.compile; the first steps then take minutes
    threads: int = 0  # CPU threads of the training process; 0: torch's choice
    deterministic: bool = True  # bit-equal results from equal settings; slower on a GPU
    checkpoint_every_epochs: int = 1  # 0: only at the end and where checkpoint_every_steps says
    checkpoint_every_steps: int = 0  # 0: only where checkpoint_every_epochs says
    keep_checkpoints: int = 2
    log_every_steps: int = 10
    tensorboard: bool = True
    max_minutes: float = 0.0  # above 0: stop after so long, to be resumed

    def __post_init__(self) -> None:
        if self.steps < 0 or (self.steps == 0 and self.epochs < 1):
            raise ValueError(f"epochs = {self.epochs}, steps = {self.steps}: one of them at least 1")
        if self.keep_checkpoints < 2:
            raise ValueError(f"keep_checkpoints = {self.keep_checkpoints}: at least 2, one may get damaged")
        for name in ("devices", "nodes", "log_every_steps"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} = {getattr(self, name)}: at least 1")
        for name in ("seed", "threads", "checkpoint_every_epochs", "checkpoint_every_steps", "max_minutes"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} = {getattr(self, name)}: 0 or more")

    @property
    def processes(self) -> int:
        """One per device, on all machines together."""
        return self.devices * self.nodes


def start_engine(run: RunSettings) -> Fabric:
    """Fabric with the run's devices and precision; starts the processes and sets torch's global options."""
    _require_as_launched(run)
    if run.threads:
        torch.set_num_threads(run.threads)
    _set_deterministic(run.deterministic)
    _quieten()
    # Buffers are not broadcast: every rank gathers the same bank, and a difference must not be hidden.
    ddp = DDPStrategy(broadcast_buffers=False, gradient_as_bucket_view=True, timeout=TIMEOUT)
    strategy = ddp if run.processes > 1 else "auto"
    precision: Literal["32-true", "bf16-mixed"] = "32-true" if run.precision == "32" else "bf16-mixed"
    try:
        fabric = Fabric(
            accelerator=run.accelerator,
            devices=run.devices,
            num_nodes=run.nodes,
            strategy=strategy,
            precision=precision,
        )
    except RuntimeError as error:
        raise SettingsError(
            f"run.accelerator = {run.accelerator!r}, run.devices = {run.devices}: {error} "
            "Choose what this machine has, run.accelerator=cpu say."
        ) from error
    fabric.launch()
    return fabric


def precision_advice(run: RunSettings, device: torch.device) -> str:
    """A hint if bf16 is emulated, which is far slower than float32; otherwise empty."""
    asked = getattr(torch.cpu, "get_capabilities", None)  # not in torch 2.6
    able = asked is None or any("bf16" in name and able is True for name, able in asked().items())
    if run.precision != "bf16-mixed" or device.type != "cpu" or able:
        return ""
    return (
        "this CPU does not compute in bf16: run.precision=bf16-mixed is emulated and several times slower "
        "than float32. Set run.precision=32"
    )


def _require_as_launched(run: RunSettings) -> None:
    launched = int(os.environ["WORLD_SIZE"]) if "TORCHELASTIC_RUN_ID" in os.environ else 1
    if launched not in (1, run.processes):
        raise SettingsError(
            f"torchrun started {launched} processes, but run.devices = {run.devices} on run.nodes = "
            f"{run.nodes} are {run.processes}: set run.devices to --nproc-per-node and run.nodes to --nnodes"
        )


def _quieten() -> None:
    for name in ("lightning.fabric", "lightning_fabric"):
        logging.getLogger(name).setLevel(logging.WARNING)
    # The first names an option that torch 2.11 has only under its old name; the second 1 x 1 convolutions
    # in channels-last memory, which differ from the buckets' in name alone.
    for message in (".*`broadcast_buffers` is deprecated", "Grad strides do not match bucket view strides"):
        warnings.filterwarnings("ignore", message=message)


def _set_deterministic(on: bool) -> None:
    if on:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # required by cuBLAS
    torch.use_deterministic_algorithms(on, warn_only=True)
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    torch.backends.cudnn.benchmark = not on


class StepModule(nn.Module):
    """The module that Fabric wraps: its forward is a step of the method, inside autocast and DDP."""

    def __init__(self, method: Method) -> None:
        super().__init__()
        self.method = method

    def forward(self, take_step: TakeStep) -> tuple[Tensor, dict[str, Tensor]]:
        """The loss and the logs of `take_step(method)`."""
        output = take_step(self.method)
        return output.loss, output.logs


def compile_backbones(method: Method) -> None:
    """Compile the backbone and its momentum copies with torch.compile.

    Heads, losses and the bank are not compiled: they take a few per cent of a step.
    """
    method.backbone.compile()
    for part in method.modules():
        if isinstance(part, MomentumEncoder):
            part.backbone.compile()


def step_generator(seed: int, step: int, rank: int = 0) -> torch.Generator:
    """A CPU generator that depends only on the run's seed, the step and the rank.

    All processes draw views, splits and orders from that of rank 0, for the rows of all processes.
    """
    words = np.random.SeedSequence((seed, step, rank)).generate_state(1, np.uint64)
    return torch.Generator().manual_seed(cast(int, words[0].item()))
