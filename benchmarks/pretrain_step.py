"""A CLP step against the bare passes through the backbone that it cannot do without.

    python benchmarks/pretrain_step.py                      # ResNet-18, 64 px, 16 clips, bank of 65 536 rows
    python benchmarks/pretrain_step.py --width 16 --bf16

bare    forward and backward of all rows with gradient, forward of the key rows
step    the same by Clp, with the bank, both losses, the momentum encoder's average, diagnostics, enqueuing
views   `step` that also makes its views from uint8 frames

One run, the three in turn, medians; the optimiser's update and reading from a store are in none of them
(the training loop logs seconds_waiting_for_data).
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
from mien.methods.clp import Clp
from mien.train.engine import compile_backbones


class ReadyViews:
    """Views made beforehand, so that only the method is timed."""

    def __init__(self, side: int) -> None:
        self.side = side
        self.made: dict[tuple[int, int], Tensor] = {}

    def shared(self, frames_BTHWC: Tensor) -> Tensor:
        """Always the same noise in the shape asked for, channels-last as real views are."""
        B, T = frames_BTHWC.shape[:2]
        if (B, T) not in self.made:
            noise = torch.randn(B, T, self.side, self.side, 3, device=frames_BTHWC.device)
            self.made[B, T] = noise.permute(0, 1, 4, 2, 3)
        return self.made[B, T]

    independent = shared


def main() -> None:
    args = _arguments()
    device = torch.device(args.device)
    if args.threads:
        torch.set_num_threads(args.threads)
    batch = random_batch(args).to(device)
    clp = filled_clp(args, device)
    if args.compile:
        compile_backbones(clp)
    ready = ReadyViews(args.side)
    settings = ViewSettings(output_size_px=args.side)

    def bare() -> None:
        clip, far = (
            ready.shared(batch.clip_BTHWC).flatten(0, 1),
            ready.independent(batch.far_BLHWC).flatten(0, 1),
        )
        with torch.autocast(device.type, torch.bfloat16, enabled=args.bf16):
            with torch.no_grad():
                clp.momentum.backbone(far)
            features = clp.backbone(torch.cat([clip, far]))
        features.float().square().mean().backward()

    def step(views: ReadyViews | FaceViews, number: int) -> None:
        clp.before_step()
        generator = torch.Generator().manual_seed(number)
        with torch.autocast(device.type, torch.bfloat16, enabled=args.bf16):
            output = clp.training_step(batch, views, generator)
        output.loss.backward()
        clp.after_step()

    def with_views(number: int) -> None:
        step(FaceViews(settings, torch.Generator().manual_seed(number)), number)

    seconds = _interleaved(
        {"bare": lambda number: bare(), "step": lambda number: step(ready, number), "views": with_views},
        clp,
        rounds=args.rounds,
        clock=time.process_time if args.cpu_time else time.perf_counter,
        device=device,
    )
    _report(seconds, rows=clp.encoder_rows(args.clips), args=args)


Arms = dict[str, Callable[[int], None]]


def _interleaved(
    arms: Arms, clp: Clp, *, rounds: int, clock: Callable[[], float], device: torch.device
) -> dict[str, list[float]]:
    seconds: dict[str, list[float]] = {name: [] for name in arms}
    for number in range(rounds + 1):
        for name, arm in arms.items():
            clp.zero_grad(set_to_none=True)
            wait_for(device)
            began = clock()
            arm(number)
            wait_for(device)
            if number:  # the first round warms up
                seconds[name].append(clock() - began)
    return seconds


def _report(seconds: dict[str, list[float]], *, rows: int, args: argparse.Namespace) -> None:
    print(
        f"{args.backbone} width {args.width}, {args.side} px, {rows} rows, bank {args.bank}, "
        f"{'bf16' if args.bf16 else 'fp32'}, {args.device}{', compiled' * args.compile}, "
        f"{torch.get_num_threads()} threads, "
        f"{args.rounds} rounds, {'CPU' if args.cpu_time else 'wall'} time"
    )
    bare = seconds["bare"]
    for name, values in seconds.items():
        of_rounds = statistics.median(value / base for value, base in zip(values, bare, strict=True))
        of_medians = statistics.median(values) / statistics.median(bare)
        print(
            f"{name:6} median {1e3 * statistics.median(values):8.1f} ms, least {1e3 * min(values):8.1f} ms; "
            f"to bare: medians {of_medians:.3f}, median of rounds {of_rounds:.3f}, "
            f"least {min(values) / min(bare):.3f}"
        )


def _arguments() -> argparse.Namespace:
    parser = step_parser(__doc__.splitlines()[0])
    add_rounds(parser)
    parser.add_argument("--compile", action="store_true", help="the backbones by torch.compile")
    return parser.parse_args()


if __name__ == "__main__":
    main()
