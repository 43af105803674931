"""A CLP step against a variant of it: with compiled backbones, or with its keys encoded group after group.

    python benchmarks/step_variants.py compiled --width 16 --clips 16 --threads 1 --cpu-time
    python benchmarks/step_variants.py keys-in-turn --backbone resnet34 --side 224 --clips 64 --bf16

Both from the same weights on the same pictures, taking turns in one run; a step is everything but reading
from the store. Compiling happens in the first steps, whose time on the clock is reported separately.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import torch
from clp_step import add_rounds, filled_clp, random_batch, step_parser, wait_for
from torch import Tensor

from mien.data.views import FaceViews, ViewSettings
from mien.layers.batch_norm import set_groups
from mien.methods.clp import Clp
from mien.train.engine import compile_backbones
from mien.train.optimiser import OptimiserSettings, build_optimiser

FIRST_STEPS = 3


def keys_in_turn(clp: Clp) -> None:
    """The momentum encoder runs once for each group of keys, not once with batch-norm in groups."""
    momentum, rows_per_group = clp.momentum, clp.settings.key_batch_norm_rows
    encode = momentum.forward

    def forward(images_NCHW: Tensor) -> Tensor:
        set_groups(momentum, 1)
        groups = images_NCHW.tensor_split(max(1, len(images_NCHW) // rows_per_group))
        return torch.cat([encode(group) for group in groups])

    momentum.forward = forward  # type: ignore[method-assign]


VARIANTS = {"compiled": compile_backbones, "keys-in-turn": keys_in_turn}


def main() -> None:
    args = _arguments()
    if args.threads:
        torch.set_num_threads(args.threads)
    clock = time.process_time if args.cpu_time else time.perf_counter
    arms = {"standard": _stepper(args, None), args.variant: _stepper(args, VARIANTS[args.variant])}
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
            f"{name:12} median {1e3 * statistics.median(seconds):.1f} ms, least {1e3 * min(seconds):.1f} ms; "
            f"first {FIRST_STEPS} steps {first[name]:6.1f} s on the clock"
        )
    standard, variant = taken["standard"], taken[args.variant]
    ratios = [theirs / ours for theirs, ours in zip(variant, standard, strict=True)]
    print(
        f"{args.variant} / standard: median of rounds {statistics.median(ratios):.3f} ({min(ratios):.3f} to "
        f"{max(ratios):.3f}), least {min(variant) / min(standard):.3f}"
    )


def _stepper(args: argparse.Namespace, change: Callable[[Clp], None] | None) -> Callable[[], None]:
    torch.manual_seed(0)
    device = torch.device(args.device)
    clp = filled_clp(args, device)
    if change:
        change(clp)
    optimiser = build_optimiser(OptimiserSettings(), clp.parameters())
    batch = random_batch(args).to(device)
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
    wait_for(torch.device(args.device))
    began = clock()
    for _ in range(steps):
        step()
    wait_for(torch.device(args.device))
    return clock() - began


def _arguments() -> argparse.Namespace:
    parser = step_parser(__doc__.splitlines()[0])
    parser.add_argument("variant", choices=VARIANTS)
    add_rounds(parser)
    parser.set_defaults(bank=4096)
    return parser.parse_args()


if __name__ == "__main__":
    main()
