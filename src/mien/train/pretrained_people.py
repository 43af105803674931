"""The people that an encoder was pretrained on, and whether they are among the people of a test.

The encoder's file contains digests of their names: names are not readable, but a known name can be looked up.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from typing import Any

from mien.train.tensor_file import TensorFileError

MOST_LISTED = 10_000


def record_of_people(identities: Iterable[str]) -> dict[str, Any]:
    """`count`, `sha256` over the sorted names and, for at most 10 000 people, 16 digits of each name's."""
    names = sorted(set(identities))
    record: dict[str, Any] = {"count": len(names), "sha256": _sha256("\n".join(names))}
    return record | ({"people": sorted(map(_digest, names))} if len(names) <= MOST_LISTED else {})


def require_readable_people(training: Mapping[str, Any], *, where: str) -> None:
    """TensorFileError naming the file `where`, unless its record of people has the right form."""
    record = training.get("identities", {})
    people = record.get("people", []) if isinstance(record, Mapping) else None
    if not isinstance(people, list) or not all(isinstance(digest, str) for digest in people):
        raise TensorFileError(
            f"{where}: training.identities records the people that the encoder was pretrained on; expected "
            f"an object, with digests of names in a list `people` if any, got {record!r:.60}"
        )


def pretrained_among(training: Mapping[str, Any], subjects: Iterable[str]) -> int | None:
    """The number of these people whose names are in the encoder's record.

    None if the file has no list: made by hand, by an earlier version, or from too many people.
    """
    people = training.get("identities", {}).get("people")
    return None if people is None else len({_digest(name) for name in subjects} & set(people))


def warning_of_people(training: Mapping[str, Any], subjects: Iterable[str]) -> str:
    """A warning about a test on people that the encoder was pretrained on; "" if none is known."""
    tested = set(subjects)
    shared = pretrained_among(training, tested)
    if not shared:
        return ""
    return (
        f"{shared:,} of {len(tested):,} people in the test have names of people that the encoder was "
        "pretrained on. If they are the same people, scores are better than on unseen people."
    )


def _digest(name: str) -> str:
    return _sha256(name)[:16]


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
