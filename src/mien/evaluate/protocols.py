"""Protocols: named lists of subjects, each a part that is tested once; hashed, so that papers can compare.

A protocol file is JSON: {"name", "dataset", "source", "parts": {"p1": [subjects], ...}}. Every part is tested
by models fitted on all the other parts; with `"test_parts": ["test"]` only those parts are tested.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mien.config import build
from mien.datasets.base import LabelledFrames
from mien.datasets.label_files import spelling_key
from mien.registry import nearest

BUNDLED = resources.files("mien.evaluate") / "protocols"


class ProtocolError(ValueError):
    """A protocol that would put somebody on both sides, or does not fit the frames."""


@dataclass(frozen=True)
class Protocol:
    """Subjects by part, and the parts that are tested, each against the fit on all others."""

    name: str
    source: str
    parts: dict[str, tuple[str, ...]]
    test_parts: tuple[str, ...]

    def __post_init__(self) -> None:
        seen: dict[str, str] = {}  # `ann` and `Ann` are one person
        for subject in (subject for part in self.parts.values() for subject in part):
            key = spelling_key(subject)
            if key in seen:
                raise ProtocolError(
                    f"protocol {self.name}: {seen[key]!r} and {subject!r} would be on both sides of a split; "
                    "expected every subject once (names that differ by case, blanks, zeros or signs are one)"
                )
            seen[key] = subject
        missing = [part for part in self.test_parts if part not in self.parts]
        again = len(set(self.test_parts)) < len(self.test_parts)
        if missing or again or not self.test_parts or len(self.parts) < 2:
            raise ProtocolError(
                f"protocol {self.name}: parts {', '.join(self.parts)}, tested {', '.join(self.test_parts)}; "
                "expected two parts or more, and to test one of them or more, each once"
            )

    @property
    def digest(self) -> str:
        """The first 16 hexadecimal digits of the SHA-256 over parts and tested parts; names do not count."""
        parts = sorted(sorted(subjects) for subjects in self.parts.values())
        tested = sorted(sorted(self.parts[part]) for part in self.test_parts)
        return _digest(json.dumps([parts, tested]))

    def folds(self, subject_N: NDArray[np.str_]) -> list[Fold]:
        """One fold a tested part; ProtocolError when a row's subject is in no part, or a side is empty."""
        part_of = {subject: part for part, subjects in self.parts.items() for subject in subjects}
        unknown = sorted(set(subject_N.tolist()) - set(part_of))
        if unknown:
            raise ProtocolError(
                f"protocol {self.name} has no part for {len(unknown)} subjects of the set: "
                f"{', '.join(unknown[:5])}; known parts: {', '.join(self.parts)}"
            )
        part_N = np.array([part_of[subject] for subject in subject_N.tolist()], np.str_)
        folds = [
            Fold(part, np.flatnonzero(part_N != part), np.flatnonzero(part_N == part))
            for part in self.test_parts
        ]
        for name, train, test in folds:
            if not (len(train) and len(test)):
                raise ProtocolError(f"fold {name}: {len(train)} frames to fit on, {len(test)} to test on")
        return folds


class Fold(NamedTuple):
    """Rows to fit on and rows to test on, of different subjects."""

    name: str
    train: NDArray[np.int64]
    test: NDArray[np.int64]


def load_protocol(name_or_path: str) -> Protocol:
    """A bundled protocol by name (bp4d-3fold, disfa-3fold), or the JSON file at a path."""
    known = sorted(entry.name.removesuffix(".json") for entry in BUNDLED.iterdir())
    path = BUNDLED / f"{name_or_path}.json" if name_or_path in known else Path(name_or_path)
    if not path.is_file():
        raise ProtocolError(f"no protocol or file {name_or_path!r}{nearest(name_or_path, known)}")
    try:
        values = json.loads(path.read_bytes(), object_pairs_hook=_each_key_once)
        if not isinstance(values, dict):
            raise ValueError(f"found a {type(values).__name__}")
        file = build(_File, values, where="protocol")
    except (OSError, ValueError) as error:
        raise ProtocolError(f"{name_or_path}: {error}; {_EXPECTED}") from error
    tested = tuple(file.parts) if file.test_parts is None else file.test_parts
    return Protocol(file.name, file.source, file.parts, tested)


def protocol_for(dataset: str, frames: LabelledFrames, *, num_folds: int) -> Protocol:
    """The set's own split where it has one, else the field's list for it, else folds dealt by size.

    A split of train and test tests the test part only; any other names are folds, each tested once.
    """
    if frames.split_N is not None:
        return _of_split(dataset, frames)
    if (BUNDLED / f"{dataset}-3fold.json").is_file():
        return load_protocol(f"{dataset}-3fold")
    fold_N = subject_folds(frames.subject_N, num_folds=num_folds)
    parts = {f"p{fold + 1}": _subjects(frames.subject_N[fold_N == fold]) for fold in range(num_folds)}
    source = f"{num_folds} parts of about equal size, dealt by number of frames"
    return Protocol(f"{dataset}-{num_folds}parts", source, parts, tuple(parts))


def frame_list_digest(frames: LabelledFrames) -> str:
    """`frames_digest` of the frames used."""
    return frames_digest(frames.path_N, frames.frame_N)


def frames_digest(path_N: NDArray[np.str_], frame_N: NDArray[np.int64]) -> str:
    """The first 16 hexadecimal digits of the SHA-256 over the sorted (path, frame)."""
    lines = sorted(f"{path}\t{frame}" for path, frame in zip(path_N, frame_N, strict=True))
    return _digest("\n".join(lines))


def share_of_subjects(
    subject_N: NDArray[np.str_], rows: NDArray[np.int64], *, share: float, seed: int
) -> NDArray[np.int64]:
    """The rows of a random share of their subjects, at least one; the same subjects for all encoders."""
    if not 0 < share <= 1:
        raise ValueError(f"expected a share of the labels above 0 and at most 1, not {share}")
    subjects = np.unique(subject_N[rows])
    chosen = np.random.default_rng(seed).permutation(subjects)[: max(1, round(share * len(subjects)))]
    return rows[np.isin(subject_N[rows], chosen)]


def _of_split(dataset: str, frames: LabelledFrames) -> Protocol:
    assert frames.split_N is not None
    names = sorted(set(frames.split_N.tolist()))
    parts = {name: _subjects(frames.subject_N[frames.split_N == name]) for name in names}
    tested = ("test",) if set(names) == {"train", "test"} else tuple(names)
    return Protocol(f"{dataset}-own-split", "the set's own split", parts, tested)


_EXPECTED = 'expected {"name": "...", "source": "...", "parts": {"p1": ["subject", ...], "p2": [...]}}'


@dataclass(frozen=True)
class _File:
    """The keys of a protocol file; without `test_parts` all parts are tested."""

    name: str
    source: str
    parts: dict[str, tuple[str, ...]]
    test_parts: tuple[str, ...] | None = None
    dataset: str = ""


def _each_key_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """JSON would silently keep the second of two."""
    twice = [key for key, times in Counter(key for key, _ in pairs).items() if times > 1]
    if twice:
        raise ValueError(f"the key {twice[0]!r} occurs twice")
    return dict(pairs)


def _subjects(subject_N: NDArray[np.str_]) -> tuple[str, ...]:
    return tuple(sorted(set(subject_N.tolist())))


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def subject_folds(subject_N: NDArray[Any], *, num_folds: int) -> NDArray[np.int64]:
    """(N,) the fold in which each row is tested; all rows of a subject share one fold.

    Subjects are dealt by number of rows, the largest first, each to the fold that is smallest so far; equal
    sizes go by name, so the folds depend on nothing but the rows. ValueError with fewer subjects than folds.
    """
    subjects, subject_of_row, rows = np.unique(subject_N, return_inverse=True, return_counts=True)
    if len(subjects) < num_folds:
        raise ValueError(f"{num_folds} folds need at least as many subjects, not {len(subjects)}")
    fold_of_subject = np.zeros(len(subjects), dtype=np.int64)
    fold_rows = np.zeros(num_folds, dtype=np.int64)
    for subject in np.argsort(-rows, kind="stable"):
        fold = int(fold_rows.argmin())
        fold_of_subject[subject] = fold
        fold_rows[fold] += rows[subject]
    return fold_of_subject[subject_of_row]
