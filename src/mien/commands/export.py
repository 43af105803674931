"""`mien export`: a model as a file for ONNX Runtime, kept only when it agrees with torch."""

from __future__ import annotations

import argparse
from pathlib import Path

from mien.commands.flags import add_finder


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """MODEL --engine E --calibrate SOURCE... [--out DIR]."""
    parser.add_argument("model", type=Path, metavar="MODEL", help="a file that `mien fit` wrote")
    parser.add_argument("--engine", required=True, metavar="E", help="onnx or onnx-int8")
    parser.add_argument(
        "--calibrate",
        nargs="+",
        type=Path,
        required=True,
        metavar="SOURCE",
        help="store, videos, pictures or folders with faces to calibrate and to check on",
    )
    parser.add_argument(
        "--crops", type=int, default=512, help="number of faces to use (default: %(default)s)"
    )
    parser.add_argument(
        "--out", type=Path, metavar="DIR", help="folder for the files (default: beside the model)"
    )
    add_finder(parser)


def run(args: argparse.Namespace) -> int:
    """Gather crops, write the file, and keep it where it agrees with torch."""
    from mien.detect.au_model import load_au_model
    from mien.detect.export import export_model, gather_faces

    model = load_au_model(args.model)
    calibration, check = gather_faces(args.calibrate, model, num_faces=args.crops, finder=args.finder)
    out = args.out or args.model.parent
    print(f"{len(calibration)} crops to calibrate on, {len(check)} to check on", flush=True)
    agreement = export_model(
        model,
        args.model,
        args.engine,
        calibration=calibration,
        check=check,
        crops_from=", ".join(path.name for path in args.calibrate),
        out=out,
    )
    print(f"{out / args.model.stem}.{args.engine}: {agreement}")
    return 0
