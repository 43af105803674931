"""A measured figure with its physical limit, what a machine is, and what both say of the paper's full run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

FRAMES_OF_PAPER = 8_630_000
CLIPS_OF_PAPER = 150_000 * 64  # steps of 64 clips


@dataclass(frozen=True)
class Figure:
    """A rate, and the rate that the bare operation, the bytes or the FLOPs would allow."""

    part: str
    unit: str
    per_second: float
    limit_per_second: float
    limit: str  # what the limit is

    @property
    def share(self) -> float:
        """Of the limit."""
        return self.per_second / self.limit_per_second


@dataclass(frozen=True)
class Machine:
    """What was measured on."""

    device: str
    cores: int
    threads: int
    clock: str  # what seconds are
    load: float  # processes that wanted a core in the last minute, ours among them
    multiply_flops: float  # FLOP/s of a large matrix product, in the precision of the step
    copy_bytes: float  # bytes/s read and written by a copy
    precision: str
    torch: str

    @property
    def busy(self) -> bool:
        """Whether others want the cores too; the figures are then lower than the machine's own."""
        return self.load > self.cores + 0.5 and self.clock == "seconds"


@dataclass(frozen=True)
class Projection:
    """The paper's full run at the rates measured: 8.63 million frames, 150 000 steps of 64 clips."""

    prepare_hours_a_core: float
    pretrain_hours: float  # 224 px, ResNet-34, at the FLOP/s that the measured step reached
    clips_per_second: float  # that training would then take in
    reading_cores: float  # that must read them from the store


@dataclass(frozen=True)
class Bench:
    """All of it."""

    machine: Machine
    figures: tuple[Figure, ...]
    projection: Projection

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        figures = [{**asdict(figure), "share": figure.share} for figure in self.figures]
        return {
            "machine": asdict(self.machine),
            "figures": figures,
            "projection": asdict(self.projection),
        }


def project(figures: Sequence[Figure], *, step_flops: float, flops_of_paper_clip: float) -> Projection:
    """What the rates of `figures` mean for the paper's run.

    `step_flops` FLOP/s were reached in a step, on the paper's clips on a GPU, on smaller ones on a CPU.
    """
    rate = {figure.part: figure.per_second for figure in figures}
    clips_per_second = step_flops / flops_of_paper_clip
    return Projection(
        prepare_hours_a_core=FRAMES_OF_PAPER / rate["prepare"] / 3600,
        pretrain_hours=CLIPS_OF_PAPER / clips_per_second / 3600,
        clips_per_second=clips_per_second,
        reading_cores=clips_per_second / rate["store"],
    )


def in_words(bench: Bench) -> str:
    """The table and what it means, for a terminal."""
    machine, projection = bench.machine, bench.projection
    lines = [
        f"{machine.device}, {machine.cores} cores, {machine.threads} threads, {machine.precision}, torch "
        f"{machine.torch}, {machine.clock}: {machine.multiply_flops / 1e9:,.0f} GFLOP/s in a matrix product, "
        f"{machine.copy_bytes / 1e9:,.1f} GB/s in a copy",
        "",
        f"{'part':10} {'measured':>12} {'at most':>12} {'share':>6}  unit; limit",
    ]
    for figure in bench.figures:
        lines.append(
            f"{figure.part:10} {figure.per_second:12,.1f} {figure.limit_per_second:12,.1f} "
            f"{figure.share:6.2f}  {figure.unit}; {figure.limit}"
        )
    lines += [
        "",
        "At these rates the paper's full run (8.63 million frames, 150 000 steps of 64 clips) takes",
        f"  prepare   {projection.prepare_hours_a_core:,.0f} hours on one core",
        f"  pretrain  {projection.pretrain_hours:,.0f} hours: {projection.clips_per_second:,.2f} clips/s, "
        f"which {projection.reading_cores:,.3f} cores read from the store",
    ]
    if machine.busy:
        lines.append(
            f"This machine is busy: {machine.load:.1f} processes want {machine.cores} cores. All rates are "
            "too low; measure again when it is calm, or with --cpu-time."
        )
    return "\n".join(lines)
