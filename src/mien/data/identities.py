"""Whose face each track of a video is, when all that is known is the one person its path names."""

from __future__ import annotations

from collections.abc import Collection, Mapping


def identities_of(
    slots_by_track: Mapping[int, Collection[int]],
    size_by_track: Mapping[int, float],
    *,
    video: str,
    identity: str,
) -> dict[int, str]:
    """Identity by track number, from the slots in which each track is seen and the summed area of its boxes.

    The path names one person: the largest track, and every track that is never seen beside a larger one of
    that person. Each other track is somebody else, known from this video only: `video+1`, `video+2`, ... by
    size.
    """
    seen_with_person: set[int] = set()
    identities: dict[int, str] = {}
    num_others = 0
    for track in sorted(slots_by_track, key=lambda track: (-size_by_track[track], track)):
        if seen_with_person.isdisjoint(slots_by_track[track]):
            identities[track] = identity
            seen_with_person.update(slots_by_track[track])
        else:
            num_others += 1
            identities[track] = f"{video}+{num_others}"
    return dict(sorted(identities.items()))
