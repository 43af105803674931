"""DISFA: 27 people watching one film, 12 AUs with intensities (Mavadati et al., TAC 2013).

ROOT/ActionUnit_Labels/SN001/SN001_au1.txt           frame,intensity; frames from 1
ROOT/Videos_LeftCamera/LeftVideoSN001_comp.avi       20 frames a second, or
ROOT/SN001/0.png                                     frames already taken out, from 0
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import ClassVar

import numpy as np
import pandas as pd

from mien.datasets.base import DATASETS, DatasetError, LabelledFrames, Published, occurs
from mien.datasets.label_files import (
    first_folder,
    labelled_frames,
    read_intensities,
    relative,
    with_pictures,
)

FRAMES_PER_SECOND = 20
OCCURS_AT = 2.0
"""Intensity from which an AU counts as present (Li & Shan 2023, and the field)."""

_LABELS = ("ActionUnit_Labels", "Labels/ActionUnit_Labels", "labels")
_VIDEOS = ("Videos_LeftCamera", "Video_LeftCamera", "LeftVideo", "Videos_RightCamera", "Video_RightCamera")
_PICTURES = (".", "images", "Images", "frames", "Videos_LeftCamera")


@DATASETS.register("disfa")
class Disfa:
    """The 8 benchmark AUs; the left camera's videos where both are there."""

    name: ClassVar[str] = "disfa"
    action_units: ClassVar[tuple[int, ...]] = (1, 2, 4, 6, 9, 12, 25, 26)
    published: ClassVar[Published] = Published(
        source="27 subjects x 4,845 frames, SN010 one less", frames=130_814, subjects=27
    )

    def __init__(self, root: Path) -> None:
        self.root = Path(root)
        self.label_folder = first_folder(self.root, _LABELS, holds="labels (SN001/SN001_au1.txt)")

    def frames(self) -> LabelledFrames:
        """Every coded frame."""
        folders = sorted(self.label_folder.glob("SN[0-9][0-9][0-9]"))
        if not folders:
            raise DatasetError(f"{self.label_folder}: expected folders SN001 to SN032; found none")
        rows = pd.concat([self._subject(folder) for folder in folders], ignore_index=True)
        intensity_NA = rows[list(self.action_units)].to_numpy(np.float32)
        return labelled_frames(
            rows,
            self.action_units,
            occurrence_NA=occurs(intensity_NA, at=OCCURS_AT),
            intensity_NA=intensity_NA,
        )

    def _subject(self, folder: Path) -> pd.DataFrame:
        """One row per labelled frame that is there: path, frame, seconds, subject, intensity by AU."""
        subject = folder.name
        paths = {number: folder / f"{subject}_au{number}.txt" for number in self.action_units}
        columns = {number: read_intensities(path, least=1) for number, path in paths.items()}
        first, *others = columns
        for number in others:
            for frame in columns[number].index.symmetric_difference(columns[first].index):
                raise DatasetError(
                    f"{paths[number]}: frame {frame} is in only one of this file and {paths[first].name}; "
                    "expected the same frames in all files of a subject"
                )
        rows = pd.DataFrame(columns)
        index_T = rows.index - 1
        rows = rows.assign(
            number=index_T, frame=index_T, seconds=index_T / FRAMES_PER_SECOND, subject=subject
        )
        if video := _video(self.root, subject):
            return rows.assign(path=relative(video, self.root))
        return with_pictures(rows, _picture_folder(self.root, subject), self.root)


def _video(root: Path, subject: str) -> Path | None:
    """The subject's video, the left camera's first; None when the set came as pictures."""
    pattern = re.compile(rf"(left|right)video{subject}(_comp)?\.(avi|mp4|mkv)", re.IGNORECASE)
    paths = (path for folder in _VIDEOS for path in sorted((root / folder).glob("*")))
    return next((path for path in paths if pattern.fullmatch(path.name)), None)


def _picture_folder(root: Path, subject: str) -> Path:
    for folder in _PICTURES:
        if (root / folder / subject).is_dir():
            return root / folder / subject
    raise DatasetError(
        f"{root}: labels of {subject}, but neither Videos_LeftCamera/LeftVideo{subject}_comp.avi nor "
        f"a folder {subject} with 0.png, 1.png, ..."
    )
