"""Checkpoints of a run: everything that a resumed run needs to continue bit for bit."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from mien.train.tensor_file import TensorFileError, read_tensors, write_tensors

KIND = "mien checkpoint"


@dataclass(frozen=True)
class Checkpoint:
    """The state after `step` steps. `record` is JSON: corpus and versions."""

    step: int
    method: dict[str, Tensor]
    optimiser: dict[int, dict[str, Tensor | float | bool]]  # by the parameter's position, then by name
    window: dict[str, Tensor]  # sums of the log lines not yet written
    record: dict[str, Any]


def take_checkpoint(
    step: int,
    method: nn.Module,
    optimiser: Optimizer,
    *,
    window: Mapping[str, Tensor],
    record: Mapping[str, Any],
) -> Checkpoint:
    """The current state; tensors are not copied, so write it before the next step."""
    return Checkpoint(step, method.state_dict(), optimiser.state_dict()["state"], dict(window), dict(record))


def restore(checkpoint: Checkpoint, method: nn.Module, optimiser: Optimizer) -> None:
    """Restore the state; TensorFileError if it does not fit the method or the optimiser."""
    try:
        method.load_state_dict(checkpoint.method)
    except RuntimeError as error:
        raise TensorFileError(f"the checkpoint does not fit the method of this run: {error}") from error
    parameters = [parameter for group in optimiser.param_groups for parameter in group["params"]]
    state = {place: _laid_out_like(parameters[place], kept) for place, kept in checkpoint.optimiser.items()}
    groups = optimiser.state_dict()["param_groups"]
    optimiser.load_state_dict({"state": state, "param_groups": groups})


def write_checkpoint(folder: Path, checkpoint: Checkpoint, *, keep: int) -> Path:
    """Write `step-NNNNNNNNN.safetensors` into `folder`, then remove all but the newest `keep`.

    Older ones are removed only after the new one is on the disk. WriteError if it cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"step-{checkpoint.step:09d}.safetensors"
    tensors, numbers = _flatten(checkpoint)
    record = {"step": checkpoint.step, "optimiser_numbers": numbers, "run": checkpoint.record}
    write_tensors(path, tensors, record, kind=KIND)
    for old in list_checkpoints(folder)[:-keep]:
        old.unlink(missing_ok=True)
    return path


def list_checkpoints(folder: Path) -> list[Path]:
    """The checkpoints of a folder, oldest first; an empty list when there is none."""
    return sorted(folder.glob("step-*.safetensors"))


def read_checkpoint(path: Path) -> Checkpoint:
    """A checkpoint on the CPU; TensorFileError if the file is not a checkpoint or is damaged."""
    tensors, record = read_tensors(path, kind=KIND)
    parts: dict[str, dict[str, Tensor]] = {"method": {}, "optimiser": {}, "window": {}}
    for name, tensor in tensors.items():
        part, _, rest = name.partition("/")
        parts[part][rest] = tensor
    optimiser: dict[int, dict[str, Tensor | float | bool]] = {}
    for name, value in [*parts["optimiser"].items(), *record["optimiser_numbers"].items()]:
        position, _, key = name.partition("/")
        optimiser.setdefault(int(position), {})[key] = value
    return Checkpoint(record["step"], parts["method"], optimiser, parts["window"], record["run"])


def newest_readable(folder: Path) -> tuple[Checkpoint | None, list[str]]:
    """The newest checkpoint that can be read (None: there is none), and a line for each that cannot."""
    problems: list[str] = []
    for path in reversed(list_checkpoints(folder)):
        try:
            return read_checkpoint(path), problems
        except (TensorFileError, json.JSONDecodeError, KeyError, OSError) as error:
            problems.append(f"{path.name} cannot be used: {error}")
    return None, problems


def _laid_out_like(parameter: Tensor, state: dict[str, Tensor | float | bool]) -> dict[str, Any]:
    """The state with its tensors in the parameter's memory order, which fused optimisers require."""
    return {
        name: torch.empty_like(parameter, dtype=value.dtype).copy_(value)
        if isinstance(value, torch.Tensor) and value.shape == parameter.shape
        else value
        for name, value in state.items()
    }


def _flatten(checkpoint: Checkpoint) -> tuple[dict[str, Tensor], dict[str, float | bool]]:
    tensors = {f"method/{name}": tensor for name, tensor in checkpoint.method.items()}
    tensors |= {f"window/{name}": tensor for name, tensor in checkpoint.window.items()}
    numbers: dict[str, float | bool] = {}
    for position, state in checkpoint.optimiser.items():
        for key, value in state.items():
            if isinstance(value, torch.Tensor):
                tensors[f"optimiser/{position}/{key}"] = value
            elif value is not None:
                numbers[f"{position}/{key}"] = value
    return tensors, numbers
