"""A labelled set as the command line names it: its frames, its faces in a store, its protocol."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol as Shape

import numpy as np

from mien.data.accounts import Account
from mien.data.prepare import PrepareSettings
from mien.data.store import TrackStore
from mien.data.store_layout import MANIFEST, StoreHeader
from mien.datasets.base import DATASETS, LabelledFrames, LabelledSet
from mien.datasets.published import Published, check_counts
from mien.datasets.table import Table as OwnTable
from mien.evaluate.labelled_store import FaceFinding, prepare_labelled, reasons_without_face
from mien.evaluate.matching import LabelledFaces, match_faces, require_agreeing_times
from mien.evaluate.protocols import Fold, Protocol, load_protocol, protocol_for
from mien.faces.landmarks_beside import FaceLandmarksBeside
from mien.train.encoder_file import Encoder


class AsksForFaces(Shape):
    """The part of a command line that says which faces are meant; see `FacesRequest`."""

    @property
    def dataset(self) -> str: ...  # noqa: D102

    @property
    def root(self) -> Path: ...  # noqa: D102

    @property
    def store(self) -> Path: ...  # noqa: D102

    @property
    def occurs_at(self) -> float | None: ...  # noqa: D102

    @property
    def protocol(self) -> str | None: ...  # noqa: D102

    @property
    def num_folds(self) -> int: ...  # noqa: D102

    @property
    def workers(self) -> int: ...  # noqa: D102

    @property
    def models(self) -> Path | None: ...  # noqa: D102


@dataclass(frozen=True)
class FacesRequest:
    """Which faces, checked."""

    dataset: str  # its name in DATASETS
    root: Path  # its folder, or the table
    store: Path  # its cropped faces; made when not there
    occurs_at: float | None  # intensity from which an action unit of a table counts as present
    protocol: str | None  # a named list of subjects or a file; None: the set's own, or folds
    num_folds: int  # where the set has neither list nor split
    workers: int
    models: Path | None  # the face models' weights, where not the installed ones

    @classmethod
    def of(cls, args: argparse.Namespace, *, store: Path) -> FacesRequest:
        """From the flags of `mien.commands.fit.add_labelled_set`."""
        names = ("dataset", "root", "occurs_at", "protocol", "workers", "models")
        return cls(store=store, num_folds=args.folds, **{name: getattr(args, name) for name in names})


def labelled_set(request: AsksForFaces) -> LabelledSet:
    """The set at its place; DatasetError when it is laid out otherwise."""
    cls = DATASETS.get(request.dataset)
    if cls is OwnTable:
        return OwnTable(request.root, occurs_at=request.occurs_at)
    if request.occurs_at is not None:
        raise ValueError(f"--occurs-at is for the data set `table`; {request.dataset} has its own rule")
    return cls(request.root)


def told_counts(labelled: LabelledSet, frames: LabelledFrames) -> list[str]:
    """Frames and people, printed; lines on how they agree with the published counts, where there are any."""
    say(f"{frames.num_frames:,} coded frames of {len(np.unique(frames.subject_N)):,} people")
    unread = getattr(labelled, "unread_columns", ())
    if unread:
        say(f"columns that are not read: {', '.join(unread)}")
    published: Published | None = getattr(labelled, "published", None)
    if published is None:
        return []
    lines = [str(check) for check in check_counts(frames, published)]
    for line in lines:
        say(line)
    return lines


def labelled_faces(
    request: AsksForFaces, frames: LabelledFrames, encoders: Sequence[Encoder]
) -> tuple[LabelledFaces, dict[str, int]]:
    """Prepared where that is not done yet; the encoders' contracts are compared before any work."""
    encoder = encoders[0]
    for other in encoders[1:]:
        encoder.contract.require_same(other.contract, ours=encoder.source, theirs=other.source)
    root = request.root.parent if request.root.is_file() else request.root
    without_face: dict[str, int] = {}
    if _is_to_be_prepared(request.store):
        finding = _finding(encoder, request.models)
        encoder.contract.require_same(finding.contract, ours=encoder.source, theirs="this mien")
        say(f"faces of the coded frames in {request.store}; what is not there yet is cropped now")
        accounts = prepare_labelled(
            frames,
            root,
            request.store,
            finding,
            workers=request.workers,
            after_video=lambda account: say(f"  {account.video}: {_outcome(account)}"),
        )
        without_face = dict(reasons_without_face(accounts))
    store = TrackStore.open(request.store)
    encoder.contract.require_same(store.contract, ours=encoder.source, theirs=str(store.path))
    data = match_faces(frames, root, store)
    late = data.warnings
    if request.dataset == OwnTable.name:
        late += tuple(require_agreeing_times(data))
    num_without = data.num_without_face - data.num_not_in_video
    say(f"{data.frames.num_frames:,} coded frames have a face, {num_without:,} have none")
    if data.num_not_in_video:
        say(f"{data.num_not_in_video:,} labels are of frames that their video does not have")
        without_face["not_in_video"] = data.num_not_in_video
    for line in late:
        say(f"warning: {line}")
    return data, without_face


def _outcome(account: Account) -> str:
    return f"{account.num_written:,} faces" + (f" ({account.message})" if account.message else "")


def _is_to_be_prepared(store: Path) -> bool:
    """A store of `mien prepare` is taken as it is; one of our own is looked over for what has changed."""
    if not (store / MANIFEST).exists():
        return True
    return "frames" in StoreHeader.read(store).settings


def _finding(encoder: Encoder, models: Path | None) -> FaceFinding:
    """Faces are found as for the encoder's pretraining."""
    beside = encoder.contract.detector == FaceLandmarksBeside.detector
    return FaceFinding(PrepareSettings(landmarks="beside" if beside else "detect"), models)


def protocol_of(request: AsksForFaces, frames: LabelledFrames) -> Protocol:
    """The asked one, the set's own, or folds."""
    if request.protocol is not None:
        return load_protocol(request.protocol)
    return protocol_for(request.dataset, frames, num_folds=request.num_folds)


def require_protocol(request: AsksForFaces, frames: LabelledFrames) -> None:
    """Before any face is looked for: ProtocolError when the protocol does not fit the labels."""
    protocol_of(request, frames).folds(frames.subject_N)


def tested_people(frames: LabelledFrames, folds: Sequence[Fold]) -> set[str]:
    """Whoever is in the test part of some fold."""
    return {str(subject) for fold in folds for subject in frames.subject_N[fold.test]}


def say(line: str) -> None:
    """A line of progress, at once."""
    print(line, flush=True)
