"""Where the time of a CLP step goes, by torch.profiler: the share of each part, and the largest operations.

    python benchmarks/profile_step.py                        # ResNet-18, 64 px, 8 clips, bank of 65 536 rows
    python benchmarks/profile_step.py --device cuda --backbone resnet34 --side 224 --clips 64 --bf16 --trace T

On a CPU the figures are the training thread's time; on a GPU, device time. A trace can be looked at in
Perfetto.
"""

from __future__ import annotations

import argparse
import functools
from collections.abc import Callable
from pathlib import Path

import torch
from clp_step import filled_clp, random_batch, step_parser, wait_for
from torch.profiler import ProfilerActivity, profile, record_function

from mien.data.views import FaceViews, ViewSettings
from mien.methods.clp import Clp
from mien.train.log import LogWindow
from mien.train.method import ClipBatch
from mien.train.optimiser import OptimiserSettings, build_optimiser

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


def main() -> None:
    args = _arguments()
    device = torch.device(args.device)
    if args.threads:
        torch.set_num_threads(args.threads)
    clp = _clp(args, device)
    optimiser = build_optimiser(OptimiserSettings(), clp.parameters())
    batch, window = random_batch(args), LogWindow()
    activities = [ProfilerActivity.CPU] + [ProfilerActivity.CUDA] * (device.type == "cuda")
    _step(clp, optimiser, batch, window, args, number=0)  # warms up
    with profile(activities=activities) as profiler:
        for number in range(args.steps):
            _step(clp, optimiser, batch, window, args, number=number)
        wait_for(device)
    _report(profiler, args)
    if args.trace:
        profiler.export_chrome_trace(str(args.trace))


def _step(
    clp: Clp,
    optimiser: torch.optim.Optimizer,
    batch: ClipBatch,
    window: LogWindow,
    args: argparse.Namespace,
    *,
    number: int,
) -> None:
    device = torch.device(args.device)
    generator = torch.Generator().manual_seed(number)
    views = FaceViews(ViewSettings(output_size_px=args.side), generator)
    with record_function("step"):
        with record_function("copy to the device"):
            batch = batch.to(device)
        with record_function("momentum update"):
            clp.before_step()
        with torch.autocast(device.type, torch.bfloat16, enabled=args.bf16):
            output = clp.training_step(batch, views, generator)
        with record_function("backward"):
            output.loss.backward()
        with record_function("gradient norm"):
            norm = torch.nn.utils.get_total_norm([p.grad for p in clp.parameters() if p.grad is not None])
        with record_function("optimiser"):
            optimiser.step()
            optimiser.zero_grad()
        with record_function("enqueuing"):
            clp.after_step()
        with record_function("log"):
            window.add({"loss": output.loss, **output.logs, "gradient_norm": norm})


def _report(profiler: profile, args: argparse.Namespace) -> None:
    on_device = args.device != "cpu"
    events = {event.key: event for event in profiler.key_averages()}
    total = {
        name: (event.device_time_total if on_device else event.cpu_time_total) / args.steps / 1e3
        for name, event in events.items()
    }
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


def _named(name: str, work: Callable[..., object]) -> Callable[..., object]:
    @functools.wraps(work)
    def recorded(*args: object, **kwargs: object) -> object:
        with record_function(name):
            return work(*args, **kwargs)

    return recorded


def _clp(args: argparse.Namespace, device: torch.device) -> Clp:
    """CLP whose parts tell the profiler their names."""
    clp = filled_clp(args, device)
    clp._pictures = _named("views", clp._pictures)
    clp._keys = _named("keys, forward", clp._keys)
    clp._losses = _named("losses and diagnostics, forward", clp._losses)
    clp.backbone.forward = _named("backbone, forward", clp.backbone.forward)
    return clp


def _arguments() -> argparse.Namespace:
    parser = step_parser(__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=3)
    parser.add_argument("--trace", type=Path, help="write the profile here, for a viewer")
    parser.set_defaults(clips=8, threads=1)
    return parser.parse_args()


if __name__ == "__main__":
    main()
