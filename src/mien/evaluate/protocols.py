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
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mien.config import SettingsError, build
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
        subjects = [subject for part in self.parts.values() for subject in part]
        twice = sorted(subject for subject, times in Counter(subjects).items() if times > 1)
        if twice:
            raise ProtocolError(
                f"protocol {self.name}: {', '.join(twice)} would be on both sides of a split; expected every "
                "subject once, in one part"
            )
        seen: dict[str, str] = {}  # `ann` and `Ann` are one person, who would be on both sides of a split
        for subject in subjects:
            other = seen.setdefault(spelling_key(subject), subject)
            if other != subject:
                raise ProtocolError(
                    f"protocol {self.name}: {other!r} and {subject!r} differ by case, blanks, zeros or signs "
                    "alone; expected one spelling per person"
                )
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
        return [Fold.between(part, part_N != part, part_N == part, subject_N) for part in self.test_parts]


@dataclass(frozen=True)
class Fold:
    """Rows to fit on and rows to test on; `between` checks that nobody is in both."""

    name: str
    train: NDArray[np.int64]
    test: NDArray[np.int64]

    @classmethod
    def between(
        cls,
        name: str,
        train_N: NDArray[np.bool_],
        test_N: NDArray[np.bool_],
        subject_N: NDArray[np.str_],
    ) -> Fold:
        """The fold of two masks; ProtocolError when a subject is on both sides or a side is empty."""
        both = sorted(set(subject_N[train_N].tolist()) & set(subject_N[test_N].tolist()))
        if both:
            raise ProtocolError(f"fold {name}: {', '.join(both[:5])} would be in training and in test")
        if not train_N.any() or not test_N.any():
            raise ProtocolError(
                f"fold {name}: {int(train_N.sum())} frames to fit on, {int(test_N.sum())} to test on"
            )
        return cls(name, np.flatnonzero(train_N), np.flatnonzero(test_N))


def load_protocol(name_or_path: str) -> Protocol:
    """A bundled protocol by name (bp4d-3fold, disfa-3fold), or the JSON file at a path."""
    known = sorted(entry.name.removesuffix(".json") for entry in BUNDLED.iterdir())
    if name_or_path in known:
        text = (BUNDLED / f"{name_or_path}.json").read_text(encoding="utf-8")
    elif Path(name_or_path).is_file():
        try:
            text = Path(name_or_path).read_text(encoding="utf-8-sig")
        except (OSError, UnicodeDecodeError) as error:
            raise ProtocolError(f"{name_or_path}: cannot be read as text in UTF-8: {error}") from error
    else:
        raise ProtocolError(f"no protocol or file {name_or_path!r}{nearest(name_or_path, known)}")
    return _parse(text, where=name_or_path)


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
    """The first 16 hexadecimal digits of the SHA-256 over the sorted (path, frame) of the frames used."""
    return frames_digest(frames.path_N, frames.frame_N)


def frames_digest(path_N: NDArray[np.str_], frame_N: NDArray[np.int64]) -> str:
    """The digest of `frame_list_digest`, of files and frame numbers."""
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


def _parse(text: str, *, where: str) -> Protocol:
    try:
        values = json.loads(text, object_pairs_hook=lambda pairs: _each_key_once(pairs, where=where))
        if not isinstance(values, dict):
            raise ProtocolError(f"{where}: found {type(values).__name__}; {_EXPECTED}")
        file = build(_File, values, where=where)
    except json.JSONDecodeError as error:
        raise ProtocolError(f"{where}, line {error.lineno}: not JSON ({error.msg}); {_EXPECTED}") from error
    except SettingsError as error:
        raise ProtocolError(f"{error}; {_EXPECTED}") from error
    tested = tuple(file.parts) if file.test_parts is None else file.test_parts
    return Protocol(file.name, file.source, file.parts, tested)


def _each_key_once(pairs: list[tuple[str, Any]], *, where: str) -> dict[str, Any]:
    """JSON would silently keep the second of two."""
    twice = [key for key, times in Counter(key for key, _ in pairs).items() if times > 1]
    if twice:
        raise ProtocolError(f"{where}: the key {twice[0]!r} occurs twice; expected it once")
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
