"""What was published about a labelled set, and how what lies on disk compares with it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from mien.datasets.base import LabelledFrames


@dataclass(frozen=True)
class Published:
    """Counts that a whole, rightly read copy of the set has; None where no figure is known."""

    source: str
    frames: int | None = None
    subjects: int | None = None
    positives: Mapping[int, int] = field(default_factory=dict)  # by action unit
    splits: Mapping[str, int] = field(default_factory=dict)  # frames by split
    tolerance: float = 0.0  # share by which a rounded figure may differ


@dataclass(frozen=True)
class CountCheck:
    """One count: of what, how many were found, how many were published."""

    what: str
    found: int
    published: int
    tolerance: float

    @property
    def agrees(self) -> bool:
        """Whether the two are equal, or near enough where the published one is rounded."""
        return abs(self.found - self.published) <= self.tolerance * self.published

    def __str__(self) -> str:
        verdict = "as published" if self.agrees else f"{self.found - self.published:+,} against the published"
        return f"{self.what}: {self.found:,} found, {self.published:,} published: {verdict}"


def check_counts(frames: LabelledFrames, published: Published) -> list[CountCheck]:
    """Each published count beside the one found."""
    counts: list[tuple[str, int, int | None]] = [
        ("frames", frames.num_frames, published.frames),
        ("subjects", len(np.unique(frames.subject_N)), published.subjects),
    ]
    for column, number in enumerate(frames.action_units):
        present = int((frames.occurrence_NA[:, column] == 1).sum())
        counts.append((f"frames with AU{number}", present, published.positives.get(number)))
    for split, expected in published.splits.items():
        found = int((frames.split_N == split).sum()) if frames.split_N is not None else 0
        counts.append((f"frames in {split}", found, expected))
    return [
        CountCheck(what, found, expected, published.tolerance)
        for what, found, expected in counts
        if expected is not None
    ]
