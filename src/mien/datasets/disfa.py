"""DISFA: 27 people watching one film, 12 AUs with intensities (Mavadati et al., TAC 2013).

ROOT/ActionUnit_Labels/SN001/SN001_au1.txt           frame,intensity; frames from 1
ROOT/Videos_LeftCamera/LeftVideoSN001_comp.avi       20 frames a second, or
ROOT/SN001/0.png                                     frames already taken out, from 0
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from mien.datasets.base import DATASETS, PICTURE, DatasetError, LabelledFrames, occurs
from mien.datasets.label_files import frame_numbers, intensities, read_table
from mien.datasets.numbered_pictures import first_folder, numbered_pictures, relative, require_shown
from mien.datasets.published import Published

FRAMES_PER_SECOND = 20
OCCURS_AT = 2.0
"""Intensity from which an AU counts as present (Li & Shan 2023, and the field)."""

_LABELS = ("ActionUnit_Labels", "Labels/ActionUnit_Labels", "labels")
_VIDEOS = ("Videos_LeftCamera", "Video_LeftCamera", "LeftVideo", "Videos_RightCamera", "Video_RightCamera")
_PICTURES = (".", "images", "Images", "frames", "Videos_LeftCamera")


@dataclass(frozen=True)
class _Subject:
    """T labelled frames of one person."""

    path_T: list[str]
    frame_T: NDArray[np.int64]
    seconds_T: NDArray[np.float64]
    intensity_TA: NDArray[np.float32]


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
        subjects = [self._subject(folder) for folder in folders]
        intensity_NA = np.concatenate([subject.intensity_TA for subject in subjects])
        return LabelledFrames(
            action_units=self.action_units,
            path_N=np.array([path for subject in subjects for path in subject.path_T], np.str_),
            frame_N=np.concatenate([subject.frame_T for subject in subjects]),
            seconds_N=np.concatenate([subject.seconds_T for subject in subjects]),
            subject_N=np.repeat([folder.name for folder in folders], [len(s.path_T) for s in subjects]),
            occurrence_NA=occurs(intensity_NA, at=OCCURS_AT),
            intensity_NA=intensity_NA,
        )

    def _subject(self, folder: Path) -> _Subject:
        columns = [_read_column(folder / f"{folder.name}_au{number}.txt") for number in self.action_units]
        frame_T = columns[0][0]
        for number, (frame, _) in zip(self.action_units, columns, strict=True):
            _require_same_frames(
                frame,
                frame_T,
                path=folder / f"{folder.name}_au{number}.txt",
                other=f"{folder.name}_au{self.action_units[0]}.txt",
            )
        intensity_TA = np.stack([intensity for _, intensity in columns], axis=1)
        return self._with_media(folder.name, frame_T - 1, intensity_TA)

    def _with_media(
        self, subject: str, index_T: NDArray[np.int64], intensity_TA: NDArray[np.float32]
    ) -> _Subject:
        """Labels joined to the video, or to the pictures that are there. `index_T` counts from 0."""
        video = _video(self.root, subject)
        if video is not None:
            paths = [relative(video, self.root)] * len(index_T)
            return _Subject(paths, index_T, index_T / FRAMES_PER_SECOND, intensity_TA)
        folder = _picture_folder(self.root, subject)
        names = numbered_pictures(folder)
        shown_T = np.array([index in names for index in index_T.tolist()], dtype=bool)
        require_shown(index_T[shown_T].tolist(), index_T.tolist(), folder)
        index_T, intensity_TA = index_T[shown_T], intensity_TA[shown_T]
        paths = [relative(folder / names[index], self.root) for index in index_T.tolist()]
        pictures_T = np.full(len(paths), PICTURE, np.int64)
        return _Subject(paths, pictures_T, index_T / FRAMES_PER_SECOND, intensity_TA)


def _read_column(path: Path) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    table = read_table(path, header=False)
    if table.shape[1] != 2:
        raise DatasetError(f"{path}, line 1: found {table.shape[1]} columns; expected two, frame,intensity")
    frame = frame_numbers(table["1"], path=path, column="1", least=1)
    return frame, intensities(table["2"], path=path, column="2")


def _require_same_frames(
    frame_T: NDArray[np.int64], expected_T: NDArray[np.int64], *, path: Path, other: str
) -> None:
    length = min(len(frame_T), len(expected_T))
    differs_T = frame_T[:length] != expected_T[:length]
    if differs_T.any():
        row = int(differs_T.argmax())
        raise DatasetError(
            f"{path}: row {row + 1} is frame {frame_T[row]}; expected frame {expected_T[row]}, as in {other}"
        )
    if len(frame_T) != len(expected_T):
        raise DatasetError(
            f"{path}: found {len(frame_T)} lines; expected the frames of {other} ({len(expected_T)} lines)"
        )


def _video(root: Path, subject: str) -> Path | None:
    """The subject's video, the left camera's first; None when the set came as pictures."""
    pattern = re.compile(rf"(left|right)video{subject}(_comp)?\.(avi|mp4|mkv)", re.IGNORECASE)
    for folder in _present(root, _VIDEOS):
        for path in sorted(folder.iterdir()):
            if pattern.fullmatch(path.name):
                return path
    return None


def _picture_folder(root: Path, subject: str) -> Path:
    for folder in _present(root, _PICTURES):
        if (folder / subject).is_dir():
            return folder / subject
    raise DatasetError(
        f"{root}: labels of {subject}, but neither Videos_LeftCamera/LeftVideo{subject}_comp.avi nor "
        f"a folder {subject} with 0.png, 1.png, ..."
    )


def _present(root: Path, names: Sequence[str]) -> list[Path]:
    return [root / name for name in names if (root / name).is_dir()]
