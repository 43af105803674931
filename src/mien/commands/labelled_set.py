"""The labelled set of `mien evaluate`, `mien fit` and `mien adapt`: its flags, labels, faces and folds."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from mien.commands.flags import add_device, add_finder, add_store_cache, add_workers
from mien.data.remote import path_or_url

if TYPE_CHECKING:
    from mien.datasets.base import LabelledFrames
    from mien.evaluate.labelled_faces import LabelledFaces
    from mien.evaluate.protocols import Fold, Protocol
    from mien.train.encoder_file import Encoder

say = partial(print, flush=True)


def add_labelled_set(parser: argparse.ArgumentParser, *, is_required: bool = True) -> None:
    """The flags that the functions below read, and the device."""
    labels = parser.add_argument_group("the labelled set")
    labels.add_argument(
        "--dataset", required=is_required, metavar="D", help="bp4d, disfa, gft, rendered, table, ..."
    )
    labels.add_argument(
        "--root",
        type=_root,
        required=is_required,
        metavar="PATH",
        help="the set's folder; for `table` the table itself; `shipped` for the shipped clips (`rendered`)",
    )
    labels.add_argument(
        "--store",
        type=path_or_url,
        metavar="STORE",
        help="the set's cropped faces, made if missing (default: beside --out); or a finished store's URL",
    )
    add_store_cache(labels)
    labels.add_argument(
        "--occurs-at", type=float, metavar="X", help="intensity from which an AU is present (`table`)"
    )
    labels.add_argument(
        "--protocol", metavar="NAME", help="name of a list of folds, such as bp4d-3fold, or a JSON file"
    )
    labels.add_argument(
        "--folds",
        type=int,
        default=3,
        help="number of folds, if the set has no list or split (default: %(default)s)",
    )
    means = parser.add_argument_group("the machine")
    add_workers(means, of="crop and read the faces")
    add_device(means)
    add_finder(means)


def read_labels(args: argparse.Namespace) -> tuple[LabelledFrames, list[str]]:
    """The coded frames, and sentences on how their numbers agree with the published ones; both printed."""
    import numpy as np

    from mien.datasets.base import check_counts
    from mien.evaluate.labelled_faces import labelled_set

    labelled = labelled_set(args.dataset, args.root, occurs_at=args.occurs_at)
    frames = labelled.frames()
    say(f"{frames.num_frames:,} coded frames of {len(np.unique(frames.subject_N)):,} people")
    if unread := getattr(labelled, "unread_columns", ()):
        say(f"ignored columns: {', '.join(unread)}")
    published = getattr(labelled, "published", None)
    counts = check_counts(frames, published) if published else []
    for line in counts:
        say(line)
    return frames, counts


def read_faces(
    args: argparse.Namespace, frames: LabelledFrames, encoders: Sequence[Encoder], *, default_store: Path
) -> LabelledFaces:
    """The faces of the coded frames; cropped where that is not done yet."""
    from mien.data.store import local_store
    from mien.evaluate.labelled_faces import labelled_faces

    store = local_store(args.store or default_store, cache=args.store_cache)
    return labelled_faces(
        frames, args.root, store, encoders, workers=args.workers, finder=args.finder, say=say
    )


def folds_of(args: argparse.Namespace, frames: LabelledFrames) -> tuple[Protocol, list[Fold]]:
    """The protocol asked for, else the set's own, and its folds; ProtocolError when it does not fit."""
    from mien.evaluate.protocols import load_protocol, protocol_for

    if args.protocol is not None:
        protocol = load_protocol(args.protocol)
    else:
        protocol = protocol_for(args.dataset, frames, num_folds=args.folds)
    return protocol, protocol.folds(frames.subject_N)


def _root(text: str) -> Path:
    """The path; `shipped` is the part `main` of the shipped clips."""
    if text != "shipped":
        return Path(text)
    from mien.datasets.rendered import shipped_clips

    return shipped_clips() / "main"
