"""`mien evaluate`: a labelled set and encoders -> scores by the paper's protocol, and a report."""

from __future__ import annotations

import argparse
from pathlib import Path

from mien.commands.fit import ROOT_HELP, labelled_root
from mien.data.remote import path_or_url


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """--dataset D --root PATH --store STORE --encoder FILE... --out DIR and what may be left out."""
    what = parser.add_argument_group("what is tested")
    what.add_argument(
        "--dataset", required=True, metavar="D", help="bp4d, disfa, gft, rafdb, affectnet, table, ..."
    )
    what.add_argument("--root", type=labelled_root, required=True, metavar="PATH", help=ROOT_HELP)
    what.add_argument(
        "--store",
        type=path_or_url,
        required=True,
        metavar="STORE",
        help="its cropped faces; made when not there; also the URL of a finished store",
    )
    what.add_argument(
        "--store-cache", type=Path, metavar="DIR", help="where a store behind a URL is copied to, once"
    )
    what.add_argument(
        "--encoder",
        nargs="+",
        default=[],
        metavar="[NAME=]FILE",
        help="files that `mien pretrain` wrote; the first is compared with all others",
    )
    what.add_argument(
        "--out", type=Path, required=True, metavar="DIR", help="for the report and the predictions"
    )
    what.add_argument(
        "--occurs-at", type=float, metavar="X", help="intensity from which an AU is present (`table`)"
    )
    _add_contestants(parser)
    _add_protocol(parser)
    _add_means(parser)


def _add_contestants(parser: argparse.ArgumentParser) -> None:
    others = parser.add_argument_group("other systems, of the first encoder's architecture and inputs")
    others.add_argument("--untrained", action="store_true", help="also with random weights")
    others.add_argument(
        "--supervised", action="store_true", help="also trained end to end from random weights"
    )
    others.add_argument(
        "--imagenet",
        type=Path,
        metavar="WEIGHTS",
        help="also trained end to end from these public weights, in torchvision's and timm's names",
    )
    others.add_argument(
        "--supervised-backbone",
        metavar="NAME",
        help="architecture of these two, as resnet34 for the paper's row (default: the first encoder's)",
    )


def _add_protocol(parser: argparse.ArgumentParser) -> None:
    how = parser.add_argument_group("how it is tested")
    how.add_argument(
        "--modes",
        nargs="+",
        default=["affine+stats", "stats", "frozen"],
        choices=["affine+stats", "stats", "frozen", "all"],
        help="what of the encoder the probe may move; all: fine-tuning end to end (default: the first three)",
    )
    how.add_argument(
        "--shares",
        nargs="+",
        type=float,
        default=[100.0],
        metavar="PERCENT",
        help="shares of the training people whose labels are used, as 1 5 10 100 (frozen and all)",
    )
    how.add_argument("--protocol", metavar="NAME", help="a named list of subjects, or a file with one")
    how.add_argument(
        "--folds", type=int, default=3, help="where the set has no list or split (default: %(default)s)"
    )
    how.add_argument(
        "--set",
        action="append",
        default=[],
        dest="assignments",
        metavar="key=value",
        help="a setting of the probe, as epochs=15, batch_size=128 or learning_rate=0.001",
    )


def _add_means(parser: argparse.ArgumentParser) -> None:
    means = parser.add_argument_group("means")
    means.add_argument("--workers", type=int, default=2, help="processes (default: %(default)s)")
    means.add_argument("--device", default="cpu", help="cpu or cuda (default: %(default)s)")
    means.add_argument(
        "--jobs", type=int, default=0, metavar="N", help="trials side by side (default: one, or one a device)"
    )
    means.add_argument(
        "--devices", default="", metavar="LIST", help="devices to spread them over, as cuda:0,cuda:1"
    )
    means.add_argument("--models", type=Path, metavar="DIR", help="the face models' weights, if elsewhere")


def run(args: argparse.Namespace) -> int:
    """Test every system and write the report."""
    from mien.commands.evaluating import EvaluateRequest, evaluate
    from mien.commands.side_by_side import names_in, slots_for, usable_cores
    from mien.config import build, override
    from mien.data.remote_store import local_store
    from mien.evaluate.probe import ProbeSettings

    devices = names_in(args.devices)
    if args.jobs > 1 and not devices and args.device != "auto":
        devices = [args.device]
    if not args.encoder:
        raise ValueError("--encoder: give at least one encoder file; with --untrained its architecture alone")
    if not all(0 < percent <= 100 for percent in args.shares):
        raise ValueError(
            f"--shares {' '.join(f'{p:g}' for p in args.shares)}: above 0 and at most 100 percent"
        )
    request = EvaluateRequest(
        dataset=args.dataset,
        root=args.root,
        store=local_store(args.store, cache=args.store_cache),
        encoders=tuple(args.encoder),
        out=args.out,
        modes=tuple(args.modes),
        shares=tuple(percent / 100 for percent in args.shares),
        protocol=args.protocol,
        num_folds=args.folds,
        untrained=args.untrained,
        supervised=args.supervised,
        supervised_backbone=args.supervised_backbone,
        imagenet=args.imagenet,
        occurs_at=args.occurs_at,
        workers=args.workers,
        device=args.device,
        models=args.models,
        slots=tuple(slots_for(devices, args.jobs, cores=usable_cores())),
        settings=build(ProbeSettings, override({}, args.assignments), where="mien evaluate --set"),
    )
    page = evaluate(request)
    print("\n" + "\n".join([page.verdict.best, *page.verdict.lines]))
    print(
        f"\nOpen {args.out / 'report.html'} in a browser; `mien compare` recomputes all from the predictions."
    )
    return 0
