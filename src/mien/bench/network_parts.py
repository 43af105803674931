"""The parts that take in clips: views, a CLP step, embedding, fitting a probe. On one device."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch.utils.flop_counter import FlopCounterMode

from mien.backbones import build_backbone
from mien.bench.clock import Turns
from mien.bench.figures import Figure
from mien.data.views import FaceViews, ViewSettings
from mien.evaluate.probe import OccurrenceTargets, ProbeSettings, fit_head
from mien.methods.clp import Clp, ClpSettings
from mien.train.method import ClipBatch
from mien.train.optimiser import OptimiserSettings, build_optimiser

BACKBONE = "resnet34"
PAPER_SIDE_PX = 224
ACTION_UNITS = 12
PROBE_ROWS = 2048


@dataclass(frozen=True)
class StepSize:
    """How much a measured step holds: the paper's on a GPU, less on a CPU."""

    clips: int
    view_px: int
    frame_px: int
    bank_rows: int

    @classmethod
    def for_device(cls, device: torch.device) -> StepSize:
        """64 clips of 224 px on a GPU; on a CPU 4 of 64 px, a second's work or so."""
        return cls(64, PAPER_SIDE_PX, 256, 65536) if device.type == "cuda" else cls(4, 64, 72, 65536)


@dataclass(frozen=True)
class Peaks:
    """What the device does at most."""

    flops: float
    copy_bytes: float


def measure_peaks(turns: Turns) -> Peaks:
    """FLOP/s of a large matrix product, in the step's precision, and bytes/s of a large copy."""
    device = turns.device
    side = 8192 if device.type == "cuda" else 1024
    left = torch.randn(side, side, device=device, dtype=step_dtype(device))
    source = torch.randn((1 << 28 if device.type == "cuda" else 1 << 24), device=device)
    target = torch.empty_like(source)
    seconds = turns.least_seconds({"multiply": lambda: left @ left, "copy": lambda: target.copy_(source)})
    return Peaks(2 * side**3 / seconds["multiply"], 2 * source.nbytes / seconds["copy"])


def step_dtype(device: torch.device) -> torch.dtype:
    """bf16 on a GPU, as `clp-one-gpu` has it; float32 on a CPU."""
    return torch.bfloat16 if device.type == "cuda" else torch.float32


def flops_of_picture(side_px: int) -> int:
    """FLOPs (a multiply-add is two) of the backbone's forward pass on one picture; nothing is computed."""
    with torch.device("meta"):
        backbone = build_backbone(BACKBONE).eval()
        picture = torch.empty(1, 3, side_px, side_px)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        backbone(picture)
    flops: int = counter.get_total_flops()
    return flops


def flops_of_clip(side_px: int) -> int:
    """Of a CLP step's share of one clip: 11 rows forward and back, 2 keys forward."""
    return (11 * 3 + 2) * flops_of_picture(side_px)


def measure_network(turns: Turns, peaks: Peaks) -> list[Figure]:
    """Views, step, embedding, probe."""
    device = turns.device
    size = StepSize.for_device(device)
    batch = _batch(size).to(device)
    clp = _clp(size, device)
    return [
        _views(batch, size, peaks, turns),
        _step(clp, batch, size, peaks, turns),
        _embedding(clp, size, peaks, turns),
        _probe(peaks, turns),
    ]


def _views(batch: ClipBatch, size: StepSize, peaks: Peaks, turns: Turns) -> Figure:
    settings = ViewSettings(output_size_px=size.view_px)
    frames = batch.clip_BTHWC
    num_frames = frames.shape[0] * frames.shape[1]
    seconds = turns.least_seconds(
        {"views": lambda: FaceViews(settings, torch.Generator().manual_seed(0)).shared(frames)}
    )
    bytes_each = 3 * (size.frame_px**2 + 4 * size.view_px**2)
    return Figure(
        "views",
        f"frames/s, {size.frame_px} px to {size.view_px} px",
        num_frames / seconds["views"],
        peaks.copy_bytes / bytes_each,
        "reading uint8 and writing float32 once",
    )


def _step(clp: Clp, batch: ClipBatch, size: StepSize, peaks: Peaks, turns: Turns) -> Figure:
    device = turns.device
    optimiser = build_optimiser(OptimiserSettings(), clp.parameters())
    settings = ViewSettings(output_size_px=size.view_px)

    def step() -> None:
        generator = torch.Generator().manual_seed(0)
        clp.before_step()
        with torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda"):
            output = clp.training_step(batch, FaceViews(settings, generator), generator)
        output.loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        optimiser.zero_grad()
        clp.after_step()

    seconds = turns.least_seconds({"step": step})["step"]
    return Figure(
        "step",
        f"clips/s, {BACKBONE}, {size.clips} clips of {size.view_px} px, bank {size.bank_rows}",
        size.clips / seconds,
        peaks.flops / flops_of_clip(size.view_px),
        "the backbone's FLOPs as one matrix product",
    )


def _embedding(clp: Clp, size: StepSize, peaks: Peaks, turns: Turns) -> Figure:
    device = turns.device
    pictures = torch.randn(32, 3, size.view_px, size.view_px, device=device)
    pictures = pictures.to(memory_format=torch.channels_last)

    @torch.inference_mode()
    def embed() -> None:
        with torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda"):
            clp.backbone(pictures)

    seconds = turns.least_seconds({"embed": embed})["embed"]
    return Figure(
        "embed",
        f"pictures/s, {BACKBONE}, {size.view_px} px",
        len(pictures) / seconds,
        peaks.flops / flops_of_picture(size.view_px),
        "the backbone's FLOPs as one matrix product",
    )


def _probe(peaks: Peaks, turns: Turns) -> Figure:
    device = turns.device
    generator = torch.Generator().manual_seed(0)
    width = 512
    features = torch.randn(PROBE_ROWS, width, generator=generator).to(device)
    labels = (torch.rand(PROBE_ROWS, ACTION_UNITS, generator=generator) < 0.3).float()
    settings = ProbeSettings(epochs=5, min_steps=1)
    rows = np.arange(PROBE_ROWS)
    seconds = turns.least_seconds(
        {"probe": lambda: fit_head(features, OccurrenceTargets(labels), rows, settings)}
    )["probe"]
    # The batch-norm before the map reads a row some six times in all, forward and back.
    return Figure(
        "probe",
        f"rows/s in fitting, {width} features, {ACTION_UNITS} action units",
        settings.epochs * PROBE_ROWS / seconds,
        peaks.copy_bytes / (6 * 4 * width),
        "reading the features six times, batch-norm forward and back",
    )


def _clp(size: StepSize, device: torch.device) -> Clp:
    clp = Clp(build_backbone(BACKBONE), ClpSettings(bank_size=size.bank_rows)).train()
    clp.diagnosing = False
    clp.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    generator = torch.Generator().manual_seed(0)
    rows = torch.nn.functional.normalize(torch.randn(size.bank_rows, 128, generator=generator), dim=1)
    identity = torch.randint(0, 6000, (size.bank_rows,), generator=generator)
    clp.bank.enqueue(rows.to(device), identity.to(device), 8 * identity.to(device))
    return clp


def _batch(size: StepSize) -> ClipBatch:
    generator = torch.Generator().manual_seed(0)
    side = size.frame_px
    clip, far = (
        torch.randint(0, 256, (size.clips, n, side, side, 3), dtype=torch.uint8, generator=generator)
        for n in (9, 2)
    )
    identity_B = torch.arange(size.clips)
    return ClipBatch(clip, far, identity_B, 8 * identity_B)
