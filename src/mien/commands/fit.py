"""`mien fit`: an encoder and a labelled set -> an AU model in one file, its scores measured."""

from __future__ import annotations

import argparse
from pathlib import Path

ROOT_HELP = "the set's folder; for `table` the table itself; for `rendered` also `shipped`, the shipped clips"


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


def add_labelled_set(parser: argparse.ArgumentParser) -> None:
    """The flags of `mien.commands.labelled_faces`."""
    labels = parser.add_argument_group("the labelled set")
    labels.add_argument(
        "--dataset", required=True, metavar="D", help="bp4d, disfa, gft, rendered, table, ..."
    )
    labels.add_argument("--root", type=labelled_root, required=True, metavar="PATH", help=ROOT_HELP)
    labels.add_argument(
        "--store",
        type=Path,
        metavar="STORE",
        help="its cropped faces, made when not there (default: beside the model)",
    )
    labels.add_argument(
        "--occurs-at", type=float, metavar="X", help="intensity from which an AU is present (`table`)"
    )
    labels.add_argument("--protocol", metavar="NAME", help="a named list of subjects, or a file with one")
    labels.add_argument(
        "--folds", type=int, default=3, help="where the set has no list or split (default: %(default)s)"
    )
    means = parser.add_argument_group("means")
    means.add_argument("--workers", type=int, default=2, help="processes (default: %(default)s)")
    means.add_argument("--device", default="cpu", help="cpu or cuda (default: %(default)s)")
    means.add_argument("--models", type=Path, metavar="DIR", help="the face models' weights, if elsewhere")


def labelled_root(text: str) -> Path:
    """The path; `shipped` is the part `main` of the shipped clips."""
    if text != "shipped":
        return Path(text)
    from mien.datasets.rendered import shipped_clips

    return shipped_clips() / "main"


def run(args: argparse.Namespace) -> int:
    """Fit, measure, write the file, and print the card."""
    from mien.commands.fitting import FitRequest, fit
    from mien.commands.labelled_faces import FacesRequest
    from mien.config import build, override
    from mien.detect.card import card_in_words
    from mien.evaluate.probe import ProbeSettings

    if args.out.suffix != ".safetensors":
        raise ValueError(f"--out {args.out}: expected a name that ends in .safetensors")
    request = FitRequest(
        faces=FacesRequest.of(args, store=args.store or args.out.with_suffix(".faces")),
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
