"""A labelled data set: its name, its action units, and one row per coded frame.

A file dropped into this folder adds a data set: a class with `frames()`, registered in DATASETS.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Protocol

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mien.facs import action_unit
from mien.registry import Registry

PICTURE = -1
"""The frame index of a row whose path is a picture."""

BY_TIME = -2
"""The frame index of a row whose frame is known by its seconds only."""


class DatasetError(ValueError):
    """A labelled set with another layout; names file, row, what was found and what was expected."""


@dataclass(frozen=True)
class LabelledFrames:
    """N coded frames; DatasetError where a frame has two rows, or a file has two subjects.

    path_N: picture or video, relative to the set's root, with forward slashes.
    frame_N: index in decode order, from 0, as `source_frame_index` of a track store;
        PICTURE for a picture, BY_TIME where only seconds_N is known.
    seconds_N: time in its video; NaN where it is not known or the path is a picture.
    subject_N: who it is; no subject is ever on both sides of a split.
    occurrence_NA: 1 present, 0 absent, NaN not coded; columns as `action_units`.
    intensity_NA: 0 to 5, NaN not coded; None where the set codes occurrence only.
    split_N: the set's own part of each row, "train" or "test" or the name of a fold; None without a split.
    expression_N: index into `expressions`, for a set of facial expressions; None for all others.
    """

    action_units: tuple[int, ...]
    path_N: NDArray[np.str_]
    frame_N: NDArray[np.int64]
    seconds_N: NDArray[np.float64]
    subject_N: NDArray[np.str_]
    occurrence_NA: NDArray[np.float32]
    intensity_NA: NDArray[np.float32] | None = None
    split_N: NDArray[np.str_] | None = None
    expression_N: NDArray[np.int64] | None = None
    expressions: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        N, A = len(self.path_N), len(self.action_units)
        for number in self.action_units:
            action_unit(number)
        for name, array in self._arrays().items():
            shape = (N, A) if name.endswith("_NA") else (N,)
            if array.shape != shape:
                raise DatasetError(f"{name}: expected shape {shape}, got {array.shape}")
        keys = pd.DataFrame({"path": self.path_N, "frame": self.frame_N})
        keys["seconds"] = np.where(self.frame_N == BY_TIME, self.seconds_N, 0.0)
        for path, frame, _ in keys[keys.duplicated()].itertuples(index=False):
            which = "it" if frame == PICTURE else f"frame {frame}"
            raise DatasetError(f"{path}: {which} is coded in more than one row; expected one")
        pairs = keys[["path"]].assign(subject=self.subject_N).drop_duplicates()
        for path in pairs.loc[pairs["path"].duplicated(), "path"]:
            names = ", ".join(sorted(pairs.loc[pairs["path"] == path, "subject"]))
            raise DatasetError(f"{path}: coded for more than one subject, {names}; expected one per file")
        values = np.unique(self.occurrence_NA[~np.isnan(self.occurrence_NA)])
        if not np.isin(values, (0, 1)).all():
            raise DatasetError(
                f"occurrence_NA: expected 0, 1 or NaN (not coded), found {values[:5].tolist()}"
            )

    @property
    def num_frames(self) -> int:
        """N."""
        return len(self.path_N)

    def videos(self) -> NDArray[np.str_]:
        """(N,) the video of each row: its path, or the folder of a picture."""
        folder_N = np.array([path.rpartition("/")[0] for path in self.path_N.tolist()], dtype=np.str_)
        return np.where(self.frame_N == PICTURE, folder_N, self.path_N)

    def rows(self, chosen: NDArray[Any] | Sequence[int]) -> LabelledFrames:
        """The frames at these positions, or where this mask is true."""
        columns: dict[str, Any] = {name: array[chosen] for name, array in self._arrays().items()}
        return dataclasses.replace(self, **columns)

    def _arrays(self) -> dict[str, NDArray[Any]]:
        """The columns that are there, by name."""
        return {name: value for name, value in vars(self).items() if isinstance(value, np.ndarray)}


@dataclass(frozen=True)
class Published:
    """Counts of a complete, correctly read copy of a set; None where no figure is known."""

    source: str
    frames: int | None = None
    subjects: int | None = None
    positives: Mapping[int, int] = field(default_factory=dict)  # by action unit
    splits: Mapping[str, int] = field(default_factory=dict)  # frames by split
    tolerance: float = 0.0  # share by which a rounded figure may differ


def check_counts(frames: LabelledFrames, published: Published) -> list[str]:
    """A sentence per published count: how many were found, and whether that agrees."""
    counts: dict[str, tuple[int, int | None]] = {
        "frames": (frames.num_frames, published.frames),
        "subjects": (len(np.unique(frames.subject_N)), published.subjects),
    }
    for number, labels_N in zip(frames.action_units, frames.occurrence_NA.T, strict=True):
        counts[f"frames with AU{number}"] = int((labels_N == 1).sum()), published.positives.get(number)
    for split, number in published.splits.items():
        in_split = 0 if frames.split_N is None else int((frames.split_N == split).sum())
        counts[f"frames in {split}"] = in_split, number
    lines = []
    for what, (found, expected) in counts.items():
        if expected is not None:
            agrees = abs(found - expected) <= published.tolerance * expected
            verdict = "as published" if agrees else f"{found - expected:+,} against the published"
            lines.append(f"{what}: {found:,} found, {expected:,} published: {verdict}")
    return lines


class LabelledSet(Protocol):
    """One labelled data set at a place on disk."""

    name: ClassVar[str]
    action_units: ClassVar[tuple[int, ...]]

    def __init__(self, root: Path) -> None:
        """Look at `root` without reading all of it; DatasetError when it is not laid out as this set is."""

    def frames(self) -> LabelledFrames:
        """Every coded frame; DatasetError names the file and row that cannot be read."""


DATASETS: Registry[type[LabelledSet]] = Registry("mien.datasets", kind="data set")


def occurs(intensity_NA: NDArray[np.float32], *, at: float) -> NDArray[np.float32]:
    """1 where the intensity reaches `at`, 0 below, NaN where it is NaN."""
    present_NA = (intensity_NA >= at).astype(np.float32)
    return np.where(np.isnan(intensity_NA), np.float32(np.nan), present_NA)
