"""Where the time of a CLP step goes, by torch.profiler: the share of each part, and the largest operations.

    python benchmarks/profile_step.py                        # ResNet-18, 64 px, 8 clips, bank of 65 536 rows
    python benchmarks/profile_step.py --device cuda --backbone resnet34 --side 224 --clips 64 --bf16 --trace T

On a CPU the figures are the wall's; on a GPU the device's own, from a part's first kernel to its last, pauses
included. A trace can be looked at in Perfetto.
"""

from __future__ import annotations

import argparse
import functools
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from clp_step import filled_clp, random_batch, step_parser, wait_for
from torch.profiler import ProfilerActivity, profile, record_function

from mien.data.views import FaceViews, ViewSettings
from mien.methods.clp import Clp
from mien.train.method import ClipBatch
from mien.train.optimiser import OptimiserSettings, build_optimiser
from mien.train.recorder import LogWindow

PARTS = (
    "copy to the device",
    "momentum update",
    "views",
    "backbone, forward",
    "keys, forward",
    "losses and diagnostics, forward",
    "backward",
    "gradient norm",
    "optimiser",
    "enqueuing",
    "log",
)


class Parts:
    """Milliseconds of each part; on a GPU by CUDA's events, for autograd has a thread of its own there."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.taken: dict[str, list[tuple[Any, Any]]] = defaultdict(list)

    @contextmanager
    def of(self, name: str) -> Iterator[None]:
        """Times the block, and tells the profiler its name."""
        with record_function(name):
            began = self._now()
            yield
            self.taken[name].append((began, self._now()))

    def milliseconds(self, name: str) -> float:
        """All blocks of that name together; the device must have done its work."""
        if self.device.type == "cuda":
            return sum(began.elapsed_time(ended) for began, ended in self.taken[name])
        return 1e3 * sum(ended - began for began, ended in self.taken[name])

    def _now(self) -> Any:
        if self.device.type != "cuda":
            return time.perf_counter()
        event = torch.cuda.Event(enable_timing=True)
        event.record()
        return event


def main() -> None:
    args = _arguments()
    device = torch.device(args.device)
    if device.type == "cuda" and device.index is not None:
        torch.cuda.set_device(device)  # else events are recorded on the first
    if args.threads:
        torch.set_num_threads(args.threads)
    parts = Parts(device)
    clp = _clp(args, device, parts)
    optimiser = build_optimiser(OptimiserSettings(), clp.parameters())
    batch, window = random_batch(args), LogWindow()
    activities = [ProfilerActivity.CPU] + [ProfilerActivity.CUDA] * (device.type == "cuda")
    _step(clp, optimiser, batch, window, args, parts=parts, number=0)  # warms up
    parts.taken.clear()
    with profile(activities=activities) as profiler:
        for number in range(args.steps):
            _step(clp, optimiser, batch, window, args, parts=parts, number=number)
        wait_for(device)
    _report(profiler, parts, args)
    if args.trace:
        profiler.export_chrome_trace(str(args.trace))


def _step(
    clp: Clp,
    optimiser: torch.optim.Optimizer,
    batch: ClipBatch,
    window: LogWindow,
    args: argparse.Namespace,
    *,
    parts: Parts,
    number: int,
) -> None:
    device = parts.device
    generator = torch.Generator().manual_seed(number)
    views = FaceViews(ViewSettings(output_size_px=args.side), generator)
    with parts.of("step"):
        with parts.of("copy to the device"):
            batch = batch.to(device)
        with parts.of("momentum update"):
            clp.before_step()
        with torch.autocast(device.type, torch.bfloat16, enabled=args.bf16):
            output = clp.training_step(batch, views, generator)
        with parts.of("backward"):
            output.loss.backward()
        with parts.of("gradient norm"):
            norm = torch.nn.utils.get_total_norm([p.grad for p in clp.parameters() if p.grad is not None])
        with parts.of("optimiser"):
            optimiser.step()
            optimiser.zero_grad()
        with parts.of("enqueuing"):
            clp.after_step()
        with parts.of("log"):
            window.add({"loss": output.loss, **output.logs, "gradient_norm": norm})


def _report(profiler: profile, parts: Parts, args: argparse.Namespace) -> None:
    on_device = args.device != "cpu"
    total = {name: parts.milliseconds(name) / args.steps for name in ("step", *PARTS)}
    print(
        f"{args.backbone} width {args.width}, {args.side} px, {args.clips} clips, bank {args.bank}, "
        f"{'bf16' if args.bf16 else 'fp32'}, {args.device}, {args.steps} steps of {total['step']:.1f} ms"
    )
    for name in PARTS:
        print(f"{name:34} {total[name]:9.1f} ms  {total[name] / total['step']:6.1%}")
    rest = total["step"] - sum(total[name] for name in PARTS)
    print(f"{'else':34} {rest:9.1f} ms  {rest / total['step']:6.1%}")
    by = "self_device_time_total" if on_device else "self_cpu_time_total"
    print(profiler.key_averages().table(sort_by=by, row_limit=12, max_name_column_width=40))


def _named(name: str, work: Callable[..., object], parts: Parts) -> Callable[..., object]:
    @functools.wraps(work)
    def recorded(*args: object, **kwargs: object) -> object:
        with parts.of(name):
            return work(*args, **kwargs)

    return recorded


def _clp(args: argparse.Namespace, device: torch.device, parts: Parts) -> Clp:
    """CLP whose parts are timed."""
    clp = filled_clp(args, device)
    clp._pictures = _named("views", clp._pictures, parts)
    clp._encoded = _named("keys, forward", clp._encoded, parts)
    clp._losses = _named("losses and diagnostics, forward", clp._losses, parts)
    clp.backbone.forward = _named("backbone, forward", clp.backbone.forward, parts)
    return clp


def _arguments() -> argparse.Namespace:
    parser = step_parser(__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=3)
    parser.add_argument("--trace", type=Path, help="write the profile here, for a viewer")
    parser.set_defaults(clips=8, threads=1)
    return parser.parse_args()


if __name__ == "__main__":
    main()
