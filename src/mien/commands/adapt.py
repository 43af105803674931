"""`mien adapt`: a model adapted to one's own faces: recalibrated by labels, or without any."""

from __future__ import annotations

import argparse
import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING

from mien.commands.labelled_set import add_labelled_set, read_faces, read_labels

if TYPE_CHECKING:
    from mien.detect.au_model import AuModel


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """[MODEL] --dataset D --root PATH | --unlabelled MEDIA..., --out MODEL2 and optional flags."""
    parser.add_argument(
        "model", nargs="?", type=Path, metavar="MODEL", help="model to adapt (default: the shipped one)"
    )
    parser.add_argument(
        "--unlabelled",
        nargs="+",
        type=Path,
        metavar="MEDIA",
        help="videos, pictures or a store of your own faces, instead of a labelled set: the shipped model "
        "trains itself on them, any other takes their batch-norm statistics",
    )
    parser.add_argument(
        "--num-faces",
        type=int,
        default=2000,
        help="approximate number of faces to use of --unlabelled (default: %(default)s)",
    )
    add_labelled_set(parser, is_required=False)
    parser.add_argument("--out", type=Path, required=True, metavar="MODEL2", help="the adapted model")
    parser.add_argument("--licence", default="", metavar="WORDS", help="licence of the labels, for the card")


def run(args: argparse.Namespace) -> int:
    """Read the faces, adapt, write, and print what changed and what did not."""
    from mien.config import require_same
    from mien.detect.au_model import load_au_model, save_au_model, shipped_model

    if args.out.suffix != ".safetensors":
        raise ValueError(f"--out {args.out}: expected a name that ends in .safetensors")
    if bool(args.unlabelled) == bool(args.dataset and args.root):
        raise ValueError("expected either a labelled set (--dataset and --root) or --unlabelled MEDIA")
    model = load_au_model(args.model or shipped_model())
    args.out.parent.mkdir(parents=True, exist_ok=True)  # what blocks it is reported before the work
    adapted = _without_labels(args, model) if args.unlabelled else _by_labels(args, model)
    if args.out.exists():
        require_same(load_au_model(args.out).record, adapted.record, where=args.out)
    save_au_model(args.out, dataclasses.replace(adapted, source=str(args.out)))
    print(f"\n{args.out}: adapted from {Path(model.source).name}; `mien card {args.out}` prints its card.")
    return 0


def _without_labels(args: argparse.Namespace, model: AuModel) -> AuModel:
    from mien.detect.adapting import with_statistics_of
    from mien.detect.export import faces_by_group
    from mien.detect.network import FACE
    from mien.detect.self_training import taught_by_itself
    from mien.train.encoder_file import pick_device

    groups = faces_by_group(args.unlabelled, model, args.num_faces, args.finder)
    adapt, what = with_statistics_of, "batch-norm statistics of"
    if model.network == FACE:
        adapt, what = taught_by_itself, "self-training on"
    adapted = adapt(model, groups, device=pick_device(args.device))
    count = adapted.record["adaptations"][-1]["num_unlabelled_faces"]
    print(f"{what} {count:,} faces; calibration and thresholds are unchanged")
    return adapted


def _by_labels(args: argparse.Namespace, model: AuModel) -> AuModel:
    from mien.detect.adapting import adapt, logits_of, record_of_adaptation
    from mien.detect.card import unproven_units
    from mien.detect.network import fitted_parts
    from mien.train.encoder_file import pick_device

    parts = fitted_parts(model)
    parts.encoder.backbone.to(pick_device(args.device))
    frames, _ = read_labels(args)
    data = read_faces(args, frames, [parts.encoder], default_store=args.out.with_suffix(".faces"))
    adapted = adapt(model, logits_of(parts, data, workers=args.workers), data.frames)
    record = record_of_adaptation(model, adapted, data.frames, dataset=args.dataset, licence=args.licence)
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
    print("encoder, head and intensities are unchanged")
    return dataclasses.replace(adapted.model, record=record)
