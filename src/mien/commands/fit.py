"""`mien fit`: an encoder and a labelled set -> an AU model in one file, its scores measured."""

from __future__ import annotations

import argparse
from pathlib import Path

from mien.commands.flags import add_set
from mien.commands.labelled_set import add_labelled_set, folds_of, read_faces, read_labels, say


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """--dataset D --root PATH --encoder FILE --out MODEL and optional flags."""
    add_labelled_set(parser)
    what = parser.add_argument_group("the model")
    what.add_argument("--encoder", type=Path, required=True, help="RUN/encoder.safetensors")
    what.add_argument(
        "--out",
        type=Path,
        required=True,
        metavar="MODEL",
        help="the model, a .safetensors file; the same command continues an interrupted run",
    )
    what.add_argument(
        "--modes",
        default="frozen",
        choices=["frozen", "stats", "affine+stats", "all"],
        help="parts of the encoder trained too; all: fine-tuning (default: %(default)s)",
    )
    what.add_argument(
        "--licence", default="", metavar="WORDS", help="licence or terms of the model, for its card"
    )
    what.add_argument("--no-intensity", action="store_true", help="fit occurrence only")
    what.add_argument("--force", action="store_true", help="write the model even if no unit is above chance")
    add_set(what, of="the head", example="epochs=15, learning_rate=0.001 or seed=0")


def run(args: argparse.Namespace) -> int:
    """Fit, measure, write the file, and print the card."""
    import dataclasses

    import numpy as np

    from mien.config import build, override
    from mien.datasets.base import DatasetError
    from mien.detect.card import card_of
    from mien.detect.fitting import Material, fit_to_file, learnable_units, settings_of_fit
    from mien.evaluate.probe import ProbeSettings, TrunkMode
    from mien.train.encoder_file import load_encoder, pick_device

    if args.out.suffix != ".safetensors":
        raise ValueError(f"--out {args.out}: expected a name that ends in .safetensors")
    settings = build(ProbeSettings, override({}, args.assignments), where="mien fit --set")
    encoder = load_encoder(args.encoder, device=pick_device(args.device))
    args.out.parent.mkdir(parents=True, exist_ok=True)  # what blocks it is reported before the work
    frames, _ = read_labels(args)
    if not frames.action_units:
        raise DatasetError(f"{args.dataset} codes expressions; expected a set that codes action units")
    folds_of(args, frames)  # a protocol that does not fit is refused before any face is searched for
    data = read_faces(args, frames, [encoder], default_store=args.out.with_suffix(".faces"))
    units, left_out = learnable_units(data.frames)
    for number, why in left_out.items():
        say(f"AU{number:02d} is left out: {why}")
    protocol, folds = folds_of(args, units)
    say(f"protocol {protocol.name}, hash {protocol.digest}: {protocol.source}")
    material = Material(
        encoder,
        dataclasses.replace(data, frames=units),
        np.zeros((0, encoder.feature_dim), np.float32),
        TrunkMode(args.modes),
        settings,
        args.workers,
        with_intensity=units.intensity_NA is not None and not args.no_intensity,
    )
    begun = settings_of_fit(
        material, args.encoder, protocol, folds, dataset=args.dataset, licence=args.licence, left_out=left_out
    )
    if begun["encoder"]["warning"]:
        say(f"warning: {begun['encoder']['warning']}")
    model = fit_to_file(args.out, material, folds, begun, force=args.force, say=say)
    print(f"\n{card_of(model)}\n\n{args.out}: `mien card {args.out} --html CARD.html` makes a page of it.")
    return 0
