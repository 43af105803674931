"""Does torch.compile pay? A CLP step whose backbones are compiled against one whose backbones are not.

    python benchmarks/compiled_step.py --width 16 --clips 16 --threads 1 --cpu-time
    python benchmarks/compiled_step.py --backbone resnet34 --side 224 --clips 64 --bf16    # on a GPU

Both from the same weights on the same pictures, taking turns in one run; a step is everything but reading
from the store. Compiling happens in the first steps, whose time on the clock is told apart.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import torch

from mien.backbones import build_backbone
from mien.data.views import FaceViews, ViewSettings
from mien.methods.clp import Clp, ClpSettings
from mien.train.engine import compile_backbones
from mien.train.method import ClipBatch
from mien.train.optimiser import OptimiserSettings, build_optimiser

FIRST_STEPS = 3


def main() -> None:
    args = _arguments()
    if args.threads:
        torch.set_num_threads(args.threads)
    clock = time.process_time if args.cpu_time else time.perf_counter
    arms = {name: _stepper(args, compiled=name == "compiled") for name in ("eager", "compiled")}
    first = {
        name: _seconds(arm, FIRST_STEPS, clock=time.perf_counter, args=args) for name, arm in arms.items()
    }
    taken: dict[str, list[float]] = {name: [] for name in arms}
    for _ in range(args.rounds):
        for name, arm in arms.items():
            taken[name].append(_seconds(arm, 1, clock=clock, args=args))
    _report(args, first, taken)


def _report(args: argparse.Namespace, first: dict[str, float], taken: dict[str, list[float]]) -> None:
    print(
        f"{args.backbone} width {args.width}, {args.side} px, {args.clips} clips, bank {args.bank}, "
        f"{'bf16' if args.bf16 else 'fp32'}, {args.device}, {torch.get_num_threads()} threads, "
        f"{args.rounds} rounds, {'CPU' if args.cpu_time else 'wall'} time, torch {torch.__version__}"
    )
    for name, seconds in taken.items():
        print(
            f"{name:9} median {1e3 * statistics.median(seconds):.1f} ms, least {1e3 * min(seconds):.1f} ms; "
            f"first {FIRST_STEPS} steps {first[name]:6.1f} s on the clock"
        )
    ratios = [made / eager for made, eager in zip(taken["compiled"], taken["eager"], strict=True)]
    print(
        f"compiled / eager: median of rounds {statistics.median(ratios):.3f} ({min(ratios):.3f} to "
        f"{max(ratios):.3f}), least {min(taken['compiled']) / min(taken['eager']):.3f}"
    )


def _stepper(args: argparse.Namespace, *, compiled: bool) -> Callable[[], None]:
    torch.manual_seed(0)
    device = torch.device(args.device)
    settings = ClpSettings(bank_size=args.bank, num_candidates=args.bank // 2)
    clp = Clp(build_backbone(args.backbone, width=args.width), settings).train()
    clp.diagnosing = False  # as in all steps but those of a log line
    clp.to(device, memory_format=torch.channels_last)
    identity = torch.randint(0, 6000, (args.bank,))
    rows = torch.nn.functional.normalize(torch.randn(args.bank, settings.embedding_dim), dim=1)
    clp.bank.enqueue(rows.to(device), identity.to(device), 8 * identity.to(device))
    if compiled:
        compile_backbones(clp)
    optimiser = build_optimiser(OptimiserSettings(), clp.parameters())
    batch = _batch(args.clips, args.side * 8 // 7).to(device)
    views = ViewSettings(output_size_px=args.side)

    def step() -> None:
        generator = torch.Generator().manual_seed(0)
        clp.before_step()
        with torch.autocast(device.type, torch.bfloat16, enabled=args.bf16):
            output = clp.training_step(batch, FaceViews(views, generator), generator)
        output.loss.backward()
        optimiser.step()
        optimiser.zero_grad()
        clp.after_step()

    return step


def _seconds(
    step: Callable[[], None], steps: int, *, clock: Callable[[], float], args: argparse.Namespace
) -> float:
    _settle(args.device)
    began = clock()
    for _ in range(steps):
        step()
    _settle(args.device)
    return clock() - began


def _settle(device: str) -> None:
    if device.startswith("cuda"):
        torch.cuda.synchronize()


def _batch(num_clips: int, side: int) -> ClipBatch:
    clip, far = (torch.randint(0, 256, (num_clips, n, side, side, 3), dtype=torch.uint8) for n in (9, 2))
    identity_B = torch.arange(num_clips)
    return ClipBatch(clip, far, identity_B, 8 * identity_B)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--backbone", default="resnet18")
    parser.add_argument("--width", type=int, default=64)
    parser.add_argument("--side", type=int, default=64, help="pixels of a view")
    parser.add_argument("--clips", type=int, default=16)
    parser.add_argument("--bank", type=int, default=4096)
    parser.add_argument("--bf16", action="store_true", help="autocast the trunk")
    parser.add_argument("--cpu-time", action="store_true", help="CPU seconds: steadier on a busy machine")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--threads", type=int, default=0, help="0: torch's choice")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    return parser.parse_args()


if __name__ == "__main__":
    main()
