"""Whom an encoder was pretrained on, as its file tells it, and who of them is among the people of a test.

The file holds digests of their names: it spells out nobody's name, and whoever has names can look them up.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from typing import Any

from mien.train.tensor_file import TensorFileError

MOST_LISTED = 10_000


def record_of_people(identities: Iterable[str]) -> dict[str, Any]:
    """`count`, `sha256` over the sorted names, and, of 10 000 people at most, 16 digits of each name's."""
    names = sorted(set(identities))
    record: dict[str, Any] = {"count": len(names), "sha256": _sha256("\n".join(names))}
    return record | ({"people": sorted(map(_digest, names))} if len(names) <= MOST_LISTED else {})


def require_readable_people(training: Mapping[str, Any], *, where: str) -> None:
    """TensorFileError naming the file `where`, unless its record of people is of the kind made here."""
    record = training.get("identities", {})
    people = record.get("people", []) if isinstance(record, Mapping) else None
    if not isinstance(people, list) or not all(isinstance(digest, str) for digest in people):
        raise TensorFileError(
            f"{where}: training.identities tells of the people that the encoder was pretrained on; expected "
            f"an object, with digests of names in a list `people` if any, got {record!r:.60}"
        )


def pretrained_among(training: Mapping[str, Any], subjects: Iterable[str]) -> int | None:
    """How many of these people have the names of people that the encoder was pretrained on.

    None where the file does not tell: made by hand or by an earlier mien, or of more people than are listed.
    """
    people = training.get("identities", {}).get("people")
    return None if people is None else len({_digest(name) for name in subjects} & set(people))


def warning_of_people(training: Mapping[str, Any], subjects: Iterable[str]) -> str:
    """What to tell of a test on people that the encoder knows already; "" where none is known to be."""
    tested = set(subjects)
    shared = pretrained_among(training, tested)
    if not shared:
        return ""
    return (
        f"{shared:,} of {len(tested):,} people who are tested on have names of people that the encoder was "
        "pretrained on. If they are the same, scores are better than on people it has never seen."
    )


def _digest(name: str) -> str:
    return _sha256(name)[:16]


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
