"""The folder of a run: its settings, its checkpoints, the check that a continued run has the same settings.

A checkpoint has everything that a resumed run needs to continue bit for bit.
"""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from mien.config import Settings, load_recipe, require_same, to_toml
from mien.io import naming_write_errors, only_one, write_bytes
from mien.train.tensor_file import TensorFileError, read_tensors, write_tensors

KIND = "mien checkpoint"
MAY_CHANGE = {  # settings that do not affect what is learned
    "data": {"workers", "prefetch_steps", "in_memory"},
    "run": {
        *("accelerator", "devices", "nodes", "compile", "threads", "deterministic", "max_minutes"),
        *("checkpoint_every_epochs", "checkpoint_every_steps", "keep_checkpoints"),
        *("log_every_steps", "tensorboard"),
    },
}


class RunFolderError(ValueError):
    """A folder that cannot be used for this run; the message says why and what to do."""


@dataclass(frozen=True)
class Checkpoint:
    """The state after `step` steps, on the CPU. `record` is JSON: corpus and versions."""

    step: int
    method: dict[str, Tensor]
    optimiser: dict[int, dict[str, Tensor]]  # by the parameter's position, then by name
    window: dict[str, Tensor]  # sums of the log lines not yet written
    record: dict[str, Any]

    def restore(self, method: nn.Module, optimiser: Optimizer) -> None:
        """Restore the state; TensorFileError if it does not fit the method."""
        try:
            method.load_state_dict(self.method)
        except RuntimeError as error:
            raise TensorFileError(f"the checkpoint does not fit the method of this run: {error}") from error
        parameters = [parameter for group in optimiser.param_groups for parameter in group["params"]]
        state = {
            place: {name: _laid_out_like(parameters[place], value) for name, value in kept.items()}
            for place, kept in self.optimiser.items()
        }
        groups = optimiser.state_dict()["param_groups"]
        optimiser.load_state_dict({"state": state, "param_groups": groups})


class RunFolder:
    """settings.toml, checkpoints/, log.jsonl, tensorboard/ and encoder.safetensors of one run."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.settings = path / "settings.toml"
        self.log = path / "log.jsonl"
        self.tensorboard = path / "tensorboard"
        self.encoder = path / "encoder.safetensors"

    def require_usable(self, settings: Settings, *, resolve: Callable[[Settings], Settings] = dict) -> None:
        """RunFolderError or SettingsError, before anything is written, if this run cannot go here.

        An existing run must have the same settings, except for `MAY_CHANGE`. `resolve` adds the defaults of
        keys that an earlier version did not have.
        """
        if self.settings.is_file():
            # Through TOML and back, so that both sides have the same types.
            ours, theirs = (
                _that_matter(tomllib.loads(to_toml(each)))
                for each in (settings, resolve(load_recipe(self.settings)))
            )
            require_same(theirs, ours, where=f"the run in {self.path}")
        # hidden files: the lock, and remains of a run that was killed at its start
        elif self.path.exists() and not all(path.name.startswith(".") for path in self.path.iterdir()):
            raise RunFolderError(f"{self.path} holds other files than a run's; give an empty or new --out")

    @contextmanager
    def writing(self, settings: Settings) -> Iterator[None]:
        """Create the folder, lock it against other processes, write the resolved settings."""
        refusal = RunFolderError(f"another process is writing to {self.path}; wait for it or stop it")
        with naming_write_errors(self.path):
            self.path.mkdir(parents=True, exist_ok=True)
        with only_one(self.path / ".lock", refusal=refusal):
            header = "# The resolved settings of this run; `mien pretrain` takes this file as a recipe.\n\n"
            write_bytes(self.settings, (header + to_toml(settings)).encode())
            yield

    def save(
        self,
        step: int,
        method: nn.Module,
        optimiser: Optimizer,
        *,
        window: Mapping[str, Tensor],
        record: Mapping[str, Any],
        keep: int,
    ) -> None:
        """Write `step-NNNNNNNNN.safetensors` with the current state, then remove all but the newest `keep`.

        WriteError if it cannot be written; the older ones then stay.
        """
        tensors = {f"method/{name}": tensor for name, tensor in method.state_dict().items()}
        tensors |= {f"window/{name}": tensor for name, tensor in window.items()}
        for position, state in optimiser.state_dict()["state"].items():  # None: SGD without momentum
            tensors |= {f"optimiser/{position}/{key}": t for key, t in state.items() if t is not None}
        path = self.path / "checkpoints" / f"step-{step:09d}.safetensors"
        write_tensors(path, tensors, {"step": step, "run": dict(record)}, kind=KIND)
        for old in self.checkpoints()[:-keep]:
            old.unlink(missing_ok=True)

    def checkpoints(self) -> list[Path]:
        """Oldest first; an empty list when there is none."""
        return sorted((self.path / "checkpoints").glob("step-*.safetensors"))

    def newest_checkpoint(self) -> tuple[Checkpoint | None, list[str]]:
        """The newest usable checkpoint (None: none was written), and a line for each damaged one.

        TensorFileError if there are checkpoints but none can be read.
        """
        problems: list[str] = []
        for path in reversed(self.checkpoints()):
            try:
                return read_checkpoint(path), problems
            except (ValueError, KeyError, OSError) as error:
                problems.append(f"{path.name} cannot be used: {error}")
        if problems:
            raise TensorFileError(f"no checkpoint in {self.path} can be read:\n  " + "\n  ".join(problems))
        return None, problems

    def last_step_saved(self) -> str:
        """The newest checkpoint's name, for messages; 'none' if there is none."""
        return max((path.name for path in self.checkpoints()), default="none")


def read_checkpoint(path: Path) -> Checkpoint:
    """A checkpoint on the CPU; TensorFileError if the file is not a checkpoint or is damaged."""
    tensors, record = read_tensors(path, kind=KIND)
    parts: dict[str, dict[str, Tensor]] = {"method": {}, "optimiser": {}, "window": {}}
    for name, tensor in tensors.items():
        part, _, rest = name.partition("/")
        parts[part][rest] = tensor
    optimiser: dict[int, dict[str, Tensor]] = {}
    for name, tensor in parts["optimiser"].items():
        position, _, key = name.partition("/")
        optimiser.setdefault(int(position), {})[key] = tensor
    return Checkpoint(record["step"], parts["method"], optimiser, parts["window"], record["run"])


def _laid_out_like(parameter: Tensor, value: Tensor) -> Tensor:
    """In the parameter's memory order, which fused optimisers require."""
    if value.shape != parameter.shape:
        return value
    return torch.empty_like(parameter, dtype=value.dtype).copy_(value)


def _that_matter(settings: Settings) -> Settings:
    return {
        section: {key: value for key, value in values.items() if key not in MAY_CHANGE.get(section, ())}
        for section, values in settings.items()
    }
