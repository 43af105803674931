"""`mien fit`: an encoder and a labelled set -> an AU model in one file, its scores measured."""

from __future__ import annotations

import argparse
from pathlib import Path

from mien.commands.labelled_set import add_labelled_set


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """--dataset D --root PATH --encoder FILE --out MODEL and what may be left out."""
    add_labelled_set(parser)
    what = parser.add_argument_group("the model")
    what.add_argument("--encoder", type=Path, required=True, help="RUN/encoder.safetensors")
    what.add_argument(
        "--out", type=Path, required=True, metavar="MODEL", help="the model, a .safetensors file"
    )
    what.add_argument(
        "--mode",
        default="frozen",
        choices=["frozen", "stats", "affine+stats", "all"],
        help="what of the encoder moves; all: fine-tuning end to end (default: %(default)s)",
    )
    what.add_argument(
        "--licence",
        default="",
        metavar="WORDS",
        help="under which the model may be used; it goes into the card",
    )
    what.add_argument("--no-intensity", action="store_true", help="occurrences only")
    what.add_argument(
        "--set",
        action="append",
        default=[],
        dest="assignments",
        metavar="key=value",
        help="a setting of the head, as epochs=15, learning_rate=0.001 or seed=0",
    )


def run(args: argparse.Namespace) -> int:
    """Fit, measure, write the file, and print the card."""
    from mien.commands.fitting import FitRequest, fit
    from mien.config import build, override
    from mien.detect.card import card_in_words
    from mien.evaluate.labelled_faces import FacesRequest
    from mien.evaluate.probe import ProbeSettings

    if args.out.suffix != ".safetensors":
        raise ValueError(f"--out {args.out}: expected a name that ends in .safetensors")
    request = FitRequest(
        faces=FacesRequest.of(args, default_store=args.out.with_suffix(".faces")),
        encoder=args.encoder,
        out=args.out,
        mode=args.mode,
        licence=args.licence,
        with_intensity=not args.no_intensity,
        device=args.device,
        settings=build(ProbeSettings, override({}, args.assignments), where="mien fit --set"),
    )
    model = fit(request)
    print(
        f"\n{card_in_words(model)}\n\n{args.out}: `mien card {args.out} --html CARD.html` makes a page of it."
    )
    return 0
