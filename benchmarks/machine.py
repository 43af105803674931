"""How fast this machine does each part of the work, beside its physical limits.

    python benchmarks/machine.py CLIP [--device auto] [--rounds 3] [--cpu-time]

CLIP: a video of one face. Each part takes turns with the bare operation that bounds it, and the least time of
each counts. `--cpu-time` takes one thread and this process's seconds: steadier on a busy machine. The last
lines project the paper's run (8.63 million frames, 150 000 steps of 64 clips) from the rates.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import simplejpeg
import torch
from torch.utils.flop_counter import FlopCounterMode

from mien.backbones import build_backbone
from mien.data.prepare import prepare
from mien.data.sources import list_sources
from mien.data.store import TrackStore
from mien.data.store_writer import PrepareSettings
from mien.data.views import FaceViews, ViewSettings
from mien.evaluate.probe import OccurrenceTargets, ProbeSettings, fit_head
from mien.faces.track import FaceTracking
from mien.methods.clp import Clp, ClpSettings
from mien.train.encoder_file import pick_device
from mien.train.method import ClipBatch
from mien.train.optimiser import OptimiserSettings, build_optimiser
from mien.video import read_frames

BACKBONE, BANK_ROWS, FEATURES, UNITS, ROWS = "resnet34", 65536, 512, 12, 2048
LINE = "{:9} {:>12,.1f} {:>14,.1f} {:>6.2f}  {}"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("clip", type=Path)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--cpu-time", action="store_true")
    args = parser.parse_args()
    device = pick_device(args.device)
    if args.cpu_time:
        torch.set_num_threads(1)

    def least(**arms: Callable[[], object]) -> list[float]:
        return least_seconds(arms, rounds=args.rounds, cpu_time=args.cpu_time, device=device)

    threads, load = torch.get_num_threads(), os.getloadavg()[0]
    print(f"{device}, {os.cpu_count()} cores, load {load:.1f}, {threads} threads, torch {torch.__version__}")
    print(f"{'part':9} {'measured':>12} {'at most':>14} {'share':>6}  unit; limit")
    rates = data_parts(args.clip, least) | network_parts(device, least)
    hours = 8.63e6 / rates["prepare"] / 3600, 150_000 * 64 / rates["paper clips"] / 3600
    print(f"the paper's run: {hours[0]:,.0f} hours to prepare on one core, {hours[1]:,.0f} to pretrain")


def data_parts(clip: Path, least) -> dict[str, float]:
    """Decoding, preparing, reading from the store: one process."""
    num_frames = sum(1 for _ in read_frames(clip))
    with TemporaryDirectory() as folder:
        path = Path(folder) / "store"
        into_store(clip, path)
        store = TrackStore.open(path)
        positions = list(range(min(9, store.num_frames(0))))
        crops = store.read_frames(0, positions)
        jpegs = [simplejpeg.encode_jpeg(np.ascontiguousarray(crop), 90, "RGB", "420") for crop in crops]

        def anew() -> None:
            with TemporaryDirectory() as other:
                into_store(clip, Path(other) / "store")

        decode, prepared = least(decode=lambda: [f.image_HWC for f in read_frames(clip)], prepare=anew)
        bare, read = least(
            bare=lambda: [simplejpeg.decode_jpeg(jpeg, "RGB") for jpeg in jpegs],
            read=lambda: store.read_frames(0, positions),
        )
    report("prepare", num_frames / prepared, num_frames / decode, "frames/s; decoding to RGB")
    report("store", len(positions) / read, len(positions) / bare, "crops/s; decoding their JPEGs")
    return {"prepare": num_frames / prepared}


def network_parts(device: torch.device, least) -> dict[str, float]:
    """Views, a CLP step, embedding, fitting a probe: the paper's sizes on a GPU, smaller ones on a CPU."""
    gpu = device.type == "cuda"
    clips, view_px, frame_px = (64, 224, 256) if gpu else (4, 64, 72)
    flops, copied = peaks(device, least)
    generator = torch.Generator().manual_seed(0)
    frames = [
        torch.randint(0, 256, (clips, n, frame_px, frame_px, 3), dtype=torch.uint8, generator=generator)
        for n in (9, 2)
    ]
    identity_B = torch.arange(clips)
    batch = ClipBatch(*frames, identity_B, 8 * identity_B).to(device)
    settings = ViewSettings(output_size_px=view_px)
    clp = filled_clp(device)
    optimiser = build_optimiser(OptimiserSettings(), clp.parameters())

    def step() -> None:
        draws = torch.Generator().manual_seed(0)
        clp.before_step()
        with torch.autocast(device.type, torch.bfloat16, enabled=gpu):
            output = clp.training_step(batch, FaceViews(settings, draws), draws)
        output.loss.backward()
        optimiser.step()
        optimiser.zero_grad()
        clp.after_step()

    pictures = torch.randn(32, 3, view_px, view_px, device=device).to(memory_format=torch.channels_last)

    @torch.inference_mode()
    def embed() -> None:
        with torch.autocast(device.type, torch.bfloat16, enabled=gpu):
            clp.backbone(pictures)

    features = torch.randn(ROWS, FEATURES, generator=generator).to(device)
    labels = (torch.rand(ROWS, UNITS, generator=generator) < 0.3).float()
    probe = ProbeSettings(epochs=5, min_steps=1)
    seconds = least(
        views=lambda: FaceViews(settings, torch.Generator().manual_seed(0)).shared(batch.clip_BTHWC),
        step=step,
        embed=embed,
        probe=lambda: fit_head(features, OccurrenceTargets(labels), np.arange(ROWS), probe),
    )
    view_bytes = 3 * (frame_px**2 + 4 * view_px**2)
    unit = f"frames/s, {frame_px} to {view_px} px; reading uint8 and writing float32 once"
    report("views", 9 * clips / seconds[0], copied / view_bytes, unit)
    product = "the backbone's FLOPs as one matrix product"
    unit = f"clips/s, {BACKBONE}, {clips} clips of {view_px} px, {BANK_ROWS} rows; {product}"
    report("step", clips / seconds[1], flops / clip_flops(view_px), unit)
    report("embed", 32 / seconds[2], flops / picture_flops(view_px), f"pictures/s, {view_px} px; {product}")
    fitted = probe.epochs * ROWS / seconds[3]
    unit = f"rows/s, {FEATURES} features, {UNITS} units; reading the features six times"
    report("probe", fitted, copied / (6 * 4 * FEATURES), unit)
    return {"paper clips": clips / seconds[1] * clip_flops(view_px) / clip_flops(224)}


def peaks(device: torch.device, least) -> tuple[float, float]:
    """FLOP/s of a large matrix product in the step's precision, and bytes/s of a large copy."""
    gpu = device.type == "cuda"
    side = 8192 if gpu else 1024
    left = torch.randn(side, side, device=device, dtype=torch.bfloat16 if gpu else torch.float32)
    source = torch.randn(1 << (28 if gpu else 24), device=device)
    target = torch.empty_like(source)
    multiply, copy = least(multiply=lambda: left @ left, copy=lambda: target.copy_(source))
    return 2 * side**3 / multiply, 2 * source.nbytes / copy


def picture_flops(side_px: int) -> int:
    """FLOPs (a multiply-add is two) of a forward pass on one picture; nothing is computed."""
    with torch.device("meta"):
        backbone, picture = build_backbone(BACKBONE).eval(), torch.empty(1, 3, side_px, side_px)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        backbone(picture)
    return counter.get_total_flops()


def clip_flops(side_px: int) -> int:
    """A CLP step's share of one clip: 11 rows forward and back, 2 keys forward."""
    return (11 * 3 + 2) * picture_flops(side_px)


def filled_clp(device: torch.device) -> Clp:
    clp = Clp(build_backbone(BACKBONE), ClpSettings(bank_size=BANK_ROWS)).train()
    clp.diagnosing = False
    clp.to(device, memory_format=torch.channels_last)
    generator = torch.Generator().manual_seed(0)
    rows = torch.nn.functional.normalize(torch.randn(BANK_ROWS, 128, generator=generator), dim=1)
    identity = torch.randint(0, 6000, (BANK_ROWS,), generator=generator).to(device)
    clp.bank.enqueue(rows.to(device), identity, 8 * identity)
    return clp


def into_store(clip: Path, store: Path) -> None:
    sources = list_sources([clip]).sources
    prepare(sources, store, FaceTracking(), settings=PrepareSettings(), workers=0)


def least_seconds(arms, *, rounds: int, cpu_time: bool, device: torch.device) -> list[float]:
    """The least time of each arm; the arms take turns, and a first turn, not counted, warms up."""
    now = time.process_time if cpu_time else time.perf_counter
    seconds = {name: [] for name in arms}
    for _ in range(rounds + 1):
        for name, work in arms.items():
            began = now()
            work()
            if device.type == "cuda":
                torch.cuda.synchronize(device)
            seconds[name].append(now() - began)
    return [min(times[1:]) for times in seconds.values()]


def report(part: str, rate: float, limit: float, unit: str) -> None:
    print(LINE.format(part, rate, limit, rate / limit, unit), flush=True)


if __name__ == "__main__":
    main()
