"""The parts of `mien bench` put together."""

from __future__ import annotations

import os
from pathlib import Path
from tempfile import TemporaryDirectory

import torch

from mien.bench.clock import Turns
from mien.bench.data_parts import measure_data
from mien.bench.detect_part import measure_detecting
from mien.bench.figures import Bench, Machine, project
from mien.bench.network_parts import (
    PAPER_SIDE_PX,
    StepSize,
    flops_of_clip,
    measure_network,
    measure_peaks,
    step_dtype,
)


def bench(device: torch.device, *, rounds: int, cpu_time: bool = False) -> Bench:
    """Measure everything on `device`; half a minute on two calm cores."""
    turns = Turns(rounds, device, cpu_time=cpu_time)
    load = os.getloadavg()[0]
    with TemporaryDirectory() as folder:
        figures = measure_data(Path(folder), turns)
        detecting = measure_detecting(Path(folder), turns)
    peaks = measure_peaks(turns)
    figures += [*measure_network(turns, peaks), detecting]
    clips_per_second = next(figure.per_second for figure in figures if figure.part == "step")
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else _cpu_name()
    machine = Machine(
        device=name,
        cores=len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1,
        threads=torch.get_num_threads(),
        load=load,
        clock="CPU seconds" if cpu_time else "seconds",
        multiply_flops=peaks.flops,
        copy_bytes=peaks.copy_bytes,
        precision=str(step_dtype(device)).removeprefix("torch."),
        torch=torch.__version__,
    )
    projection = project(
        figures,
        step_flops=clips_per_second * flops_of_clip(StepSize.for_device(device).view_px),
        flops_of_paper_clip=flops_of_clip(PAPER_SIDE_PX),
    )
    return Bench(machine, tuple(figures), projection)


def _cpu_name() -> str:
    asked = getattr(torch.cpu, "get_capabilities", None)
    return str(asked().get("cpu_name", "CPU")) if asked else "CPU"
