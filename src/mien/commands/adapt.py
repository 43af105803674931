"""`mien adapt`: a model recalibrated on a few labelled faces of one's own."""

from __future__ import annotations

import argparse
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """MODEL --dataset D --root PATH --out MODEL2 and what may be left out."""
    from mien.commands.labelled_set import add_labelled_set

    parser.add_argument("model", type=Path, metavar="MODEL", help="a file that `mien fit` wrote")
    add_labelled_set(parser)
    parser.add_argument("--out", type=Path, required=True, metavar="MODEL2", help="the recalibrated model")
    parser.add_argument(
        "--licence", default="", metavar="WORDS", help="of the labels adapted to; it goes into the card"
    )


def run(args: argparse.Namespace) -> int:
    """Read the faces, recalibrate, write, and say what changed and what did not."""
    from mien.commands.adaptation import AdaptRequest, adapt_model
    from mien.evaluate.labelled_faces import FacesRequest

    if args.out.suffix != ".safetensors":
        raise ValueError(f"--out {args.out}: expected a name that ends in .safetensors")
    faces = FacesRequest.of(args, default_store=args.out.with_suffix(".faces"))
    adapted = adapt_model(AdaptRequest(args.model, faces, args.out, args.licence, args.device))
    for name, change in adapted.changes.items():
        print(
            f"{name}: {change.what} moved (scale {change.scale:.2f}, bias {change.bias:+.2f}), threshold "
            f"{change.threshold_before:.2f} -> {change.threshold:.2f}, present in "
            f"{change.share_present_before:.1%} -> {change.share_present:.1%}; "
            f"on {adapted.left_out} left out log-loss {change.log_loss_before:.3f} -> {change.log_loss:.3f}, "
            f"F1 {change.f1_before:.2f} -> {change.f1:.2f}"
        )
    for name, why in adapted.left_alone.items():
        print(f"{name}: left alone: {why}")
    print(f"\n{args.out}: encoder, head and intensities are as in {args.model}; `mien card` has the rest.")
    return 0
