"""One picture under two names: a person who is two people, and so on both sides of a split."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mien.evaluate.matching import LabelledFaces

_NAMED = 3


@dataclass(frozen=True)
class SamePictures:
    """Pairs of rows with the same face, byte for byte, and different subjects; the earlier row first."""

    rows_P2: NDArray[np.int64]
    names: tuple[tuple[str, str], ...]  # of the first few: "path (subject)"

    def in_words(self) -> str:
        """A sentence; "" when there is none."""
        if not len(self.rows_P2):
            return ""
        named = "; ".join(f"{one} and {other}" for one, other in self.names)
        return (
            f"{len(self.rows_P2):,} faces of one person are, byte for byte, faces of another ({named}): if "
            "these are one person under two names, models are tested on people whom they were fitted on."
        )


def same_pictures(data: LabelledFaces) -> SamePictures:
    """Each face that an earlier row shows under another subject, with that row."""
    first: dict[bytes, int] = {}
    pairs = []
    for row, digest in sorted(_digests(data)):
        earlier = first.setdefault(digest, row)
        if data.frames.subject_N[earlier] != data.frames.subject_N[row]:
            pairs.append((earlier, row))
    names = tuple((_name(data, one), _name(data, other)) for one, other in pairs[:_NAMED])
    return SamePictures(np.array(pairs, np.int64).reshape(-1, 2), names)


def _digests(data: LabelledFaces) -> list[tuple[int, bytes]]:
    """Row and hash of its crop, a track at a time."""
    faces = data.faces
    order = np.argsort(faces.track_N, kind="stable")
    starts = np.flatnonzero(np.diff(faces.track_N[order], prepend=-1))
    found = []
    for rows in np.split(order, starts[1:]):
        jpegs = faces.store.read_jpegs(int(faces.track_N[rows[0]]), faces.position_N[rows].tolist())
        digests = (hashlib.blake2b(jpeg, digest_size=16).digest() for jpeg in jpegs)
        found += list(zip(rows.tolist(), digests, strict=True))
    return found


def _name(data: LabelledFaces, row: int) -> str:
    frame = data.frames.frame_N[row]
    where = str(data.frames.path_N[row]) + (f", frame {frame}" if frame >= 0 else "")
    return f"{where} ({data.frames.subject_N[row]})"
