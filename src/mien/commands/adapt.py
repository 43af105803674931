"""`mien adapt`: a model recalibrated on a few labelled faces of one's own."""

from __future__ import annotations

import argparse
from pathlib import Path

from mien.commands.labelled_set import add_labelled_set


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """MODEL --dataset D --root PATH --out MODEL2 and optional flags."""
    parser.add_argument("model", type=Path, metavar="MODEL", help="a file that `mien fit` wrote")
    add_labelled_set(parser)
    parser.add_argument("--out", type=Path, required=True, metavar="MODEL2", help="the recalibrated model")
    parser.add_argument(
        "--licence", default="", metavar="WORDS", help="of the labels adapted to; it goes into the card"
    )


def run(args: argparse.Namespace) -> int:
    """Read the faces, recalibrate, write, and print what changed and what did not."""
    import dataclasses

    from mien.config import require_same
    from mien.detect.adapting import adapt
    from mien.detect.au_model import load_au_model, save_au_model
    from mien.detect.card import unproven_units
    from mien.detect.fit_file import logits_of, record_of_adaptation
    from mien.evaluate.labelled_faces import FacesRequest, labelled_faces, labelled_set, told_counts
    from mien.train.encoder_file import pick_device

    if args.out.suffix != ".safetensors":
        raise ValueError(f"--out {args.out}: expected a name that ends in .safetensors")
    model = load_au_model(args.model, device=pick_device(args.device))
    args.out.parent.mkdir(parents=True, exist_ok=True)  # what blocks it is reported before the work
    request = FacesRequest.of(args, default_store=args.out.with_suffix(".faces"))
    labelled = labelled_set(request)
    frames = labelled.frames()
    told_counts(labelled, frames)
    data, _ = labelled_faces(request, frames, [model.encoder])
    adapted = adapt(model, logits_of(model, data, workers=args.workers), data.frames)
    record = record_of_adaptation(model, adapted, data.frames, dataset=args.dataset, licence=args.licence)
    if args.out.exists():
        require_same(load_au_model(args.out).record, record, where=args.out)
    save_au_model(args.out, dataclasses.replace(adapted.model, record=record, source=str(args.out)))
    blank = unproven_units(record, model.columns)
    for name, change in adapted.changes.items():
        presence = (
            f"threshold {change.threshold_before:.2f} -> {change.threshold:.2f}, present in "
            f"{change.share_present_before:.1%} -> {change.share_present:.1%}"
        )
        print(
            f"{name}: {change.what} moved (scale {change.scale:.2f}, bias {change.bias:+.2f}), "
            f"{'presence stays blank' if name in blank else presence}; "
            f"on {adapted.left_out} left out log-loss {change.log_loss_before:.3f} -> {change.log_loss:.3f}, "
            f"F1 {change.f1_before:.2f} -> {change.f1:.2f}"
        )
    for name, why in adapted.left_alone.items():
        print(f"{name}: left alone: {why}")
    print(f"\n{args.out}: encoder, head and intensities are as in {args.model}; `mien card` has the rest.")
    return 0
