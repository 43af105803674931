"""`mien evaluate`: a labelled set and encoders -> scores by the paper's protocol, and a report."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from mien.commands.flags import add_set
from mien.commands.labelled_set import add_labelled_set, folds_of, read_faces, read_labels, say

if TYPE_CHECKING:
    from mien.evaluate.evaluation import System

FEW_CLIPS = 4_000  # shorter pretraining is pointed out: CLP's scores are then those of an untrained network


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """--dataset D --root PATH --encoder FILE... --out DIR and optional flags."""
    add_labelled_set(parser)
    parser.add_argument(
        "--encoder",
        nargs="+",
        default=[],
        metavar="[NAME=]FILE",
        help="encoder files of `mien pretrain`; the first is compared with all others",
    )
    parser.add_argument(
        "--out",
        type=Path,
        required=True,
        metavar="DIR",
        help="folder for report and predictions; the same command continues an interrupted run",
    )
    others = parser.add_argument_group("other systems, with the first encoder's architecture and inputs")
    others.add_argument(
        "--untrained", action="store_true", help="also test random weights and initial batch-norm"
    )
    others.add_argument("--supervised", action="store_true", help="also train end to end from random weights")
    others.add_argument(
        "--imagenet",
        type=Path,
        metavar="WEIGHTS",
        help="also train end to end from this file of torchvision or timm weights",
    )
    others.add_argument(
        "--supervised-backbone",
        metavar="NAME",
        help="architecture of these two; the paper's is resnet34 (default: the first encoder's)",
    )
    how = parser.add_argument_group("the protocol")
    how.add_argument(
        "--modes",
        nargs="+",
        default=["affine+stats", "stats", "frozen"],
        choices=["affine+stats", "stats", "frozen", "all"],
        help="parts of the encoder trained with the probe; all: fine-tuning (default: the other three)",
    )
    how.add_argument(
        "--shares",
        nargs="+",
        type=float,
        default=[100.0],
        metavar="PERCENT",
        help="percentages of the training people to use, such as 1 5 10 100 (modes frozen and all)",
    )
    add_set(how, of="the probe", example="epochs=15, batch_size=128 or learning_rate=0.001")


def run(args: argparse.Namespace) -> int:
    """Test every system and write the report."""
    from mien.config import build, override
    from mien.evaluate.evaluation import Evaluation, embed_systems, results_of, trials_of
    from mien.evaluate.feature_content import people_in_features, report_pictures
    from mien.evaluate.labelled_faces import warning_of_same_pictures
    from mien.evaluate.predictions import in_order
    from mien.evaluate.probe import ProbeSettings
    from mien.visualise.evaluation_report import Report

    if not all(0 < percent <= 100 for percent in args.shares):
        given = " ".join(f"{percent:g}" for percent in args.shares)
        raise ValueError(f"--shares {given}: above 0 and at most 100 percent")
    settings = build(ProbeSettings, override({}, args.assignments), where="mien evaluate --set")
    systems = _systems(args)
    frames, counts = read_labels(args)
    folds_of(args, frames)  # a protocol that does not fit is refused before any face is searched for
    encoders = [one.encoder for one in systems]
    data = read_faces(args, frames, encoders, default_store=args.out / "faces")
    protocol, folds = folds_of(args, data.frames)
    say(f"protocol {protocol.name}, hash {protocol.digest}: {protocol.source}")
    evaluation = Evaluation(
        args.dataset, data, protocol, folds, settings, args.out / "predictions", workers=args.workers
    )
    trials = trials_of(systems, [percent / 100 for percent in args.shares])
    evaluation.refuse_other_settings(trials)
    features = embed_systems(evaluation, systems, say=say)
    results = list(results_of(evaluation, trials, features, say=say))
    tested = {str(subject) for fold in folds for subject in data.frames.subject_N[fold.test]}
    alarms = [line for system in systems for line in _doubts(system, tested)]
    alarms += filter(None, [warning_of_same_pictures(data)])
    for line in alarms:
        say(f"warning: {line}")
    report = Report(
        in_order(results),
        persons=people_in_features(data, features, results),
        alarms=alarms,
        more_facts={"faces": data.in_words(), "store": str(data.faces.store.path)},
        counts=counts,
        pictures=report_pictures(evaluation, systems, features),
    )
    report.write(args.out)
    print("\n" + "\n".join([report.best, *report.lines]))
    print(f"\nOpen {args.out / 'report.html'} in a browser; `mien compare` recomputes the scores.")
    return 0


def _systems(args: argparse.Namespace) -> list[System]:
    """The encoders of the command line, then the systems that are made of the first one's architecture."""
    from dataclasses import replace

    from mien.evaluate.evaluation import newly_initialised, system_from_file
    from mien.evaluate.probe import TrunkMode
    from mien.train.encoder_file import pick_device

    if not args.encoder:
        raise ValueError("--encoder: expected at least one encoder file (--untrained uses its architecture)")
    modes = tuple(TrunkMode(mode) for mode in args.modes)
    device = pick_device(args.device)
    found = []
    for given in args.encoder:
        name, _, path = given.rpartition("=")
        path = Path(path)
        found.append(system_from_file(path, name=name or path.stem, modes=modes, device=device))
    like, named, tuned = found[0].encoder, "supervised", (TrunkMode.ALL,)
    if args.untrained:
        found.append(newly_initialised(like, name="untrained", modes=modes))
    if args.supervised_backbone is not None:
        like = replace(like, backbone_name=args.supervised_backbone, backbone_settings={})
        named = f"supervised {args.supervised_backbone}"
    if args.supervised:
        found.append(newly_initialised(like, name=named, modes=tuned))
    if args.imagenet is not None:
        name = f"{named}, ImageNet start"
        found.append(newly_initialised(like, name=name, modes=tuned, weights=args.imagenet))
    names = [system.name for system in found]
    if len(set(names)) < len(names):
        raise ValueError(f"two systems have one name ({', '.join(names)}); write --encoder NAME=FILE")
    return found


def _doubts(system: System, tested: set[str]) -> Iterator[str]:
    """Warnings where an encoder was pretrained on people it is tested on, or on few clips."""
    from mien.train.encoder_file import warning_of_people

    training = system.encoder.training
    if known := warning_of_people(training, tested):
        yield f"{system.name}: {known}"
    steps = training.get("steps_done", 0)
    clips = steps * training.get("settings", {}).get("data", {}).get("clips_per_step", 0)
    if 0 < clips < FEW_CLIPS:
        yield (
            f"{system.name}: pretrained on {clips:,} clips in {steps:,} steps: enough to show that it runs, "
            "too few to judge a method; expect scores like those of an untrained network"
        )
