"""GFT: 96 people in groups of three, official partition into train and test (Girard et al., FG 2017).

ROOT/labels/001A.csv      a column `frame` and one column per AU (`AU12`, `12`), 0, 1 or 9; in any order
ROOT/videos/001A.mp4      frames from 1 (from 0 where a label file has one), or ROOT/frames/001A/0001.jpg
ROOT/split.csv            subject,split; written by the user, for the partition is not public
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import ClassVar

import numpy as np
import pandas as pd

from mien.datasets.base import DATASETS, DatasetError, LabelledFrames, Published
from mien.datasets.label_files import (
    first_folder,
    frame_numbers,
    labelled_frames,
    occurrences,
    read_table,
    refuse_first,
    relative,
    require_columns,
    require_one,
    require_one_spelling,
    with_pictures,
)

_VIDEO_SUFFIXES = (".mp4", ".avi", ".mov", ".mkv", ".wmv")


@DATASETS.register("gft")
class Gft:
    """The 10 AUs of the paper, with the user's copy of the official partition."""

    name: ClassVar[str] = "gft"
    action_units: ClassVar[tuple[int, ...]] = (1, 2, 4, 6, 10, 12, 14, 15, 23, 24)
    published: ClassVar[Published] = Published(
        source="Li & Shan 2023: about 108 000 and 24 600 frames, 96 subjects",
        subjects=96,
        splits={"train": 108_000, "test": 24_600},
        tolerance=0.01,
    )

    def __init__(self, root: Path) -> None:
        self.root = Path(root)
        self.label_folder = first_folder(
            self.root, ("labels", "AU_annotations", "annotations"), holds="labels (one .csv per subject)"
        )
        self.split_of_subject = read_split(self.root / "split.csv")

    def frames(self) -> LabelledFrames:
        """Every coded frame of every subject that has a label file."""
        files = sorted(self.label_folder.glob("*.csv"))
        if not files:
            raise DatasetError(f"{self.label_folder}: expected one .csv per subject; found none")
        rows = pd.concat([self._subject(path) for path in files], ignore_index=True)
        occurrence_NA = rows[list(self.action_units)].to_numpy(np.float32)
        return labelled_frames(rows, self.action_units, occurrence_NA=occurrence_NA)

    def _subject(self, path: Path) -> pd.DataFrame:
        subject = path.stem
        if subject not in self.split_of_subject:
            raise DatasetError(
                f"{self.root / 'split.csv'}: no line for subject {subject}, who has {path.name}"
            )
        table = read_table(path)
        names = {_action_unit(column): column for column in table.columns}
        wanted = [names.get(number, f"AU{number}") for number in self.action_units]
        require_columns(table, ["frame", *wanted], path=path)
        number_T = frame_numbers(table["frame"], path=path, least=0)
        columns = {
            number: occurrences(table[column], path=path)
            for number, column in zip(self.action_units, wanted, strict=True)
        }
        rows = pd.DataFrame(columns).assign(
            number=number_T, subject=subject, split=self.split_of_subject[subject]
        )
        for suffix in _VIDEO_SUFFIXES:
            video = self.root / "videos" / f"{subject}{suffix}"
            if video.is_file():
                first = 0 if (number_T == 0).any() else 1
                return rows.assign(path=relative(video, self.root), frame=number_T - first)
        folder = self.root / "frames" / subject
        if not folder.is_dir():
            raise DatasetError(
                f"{self.root}: labels of {subject}, but neither videos/{subject}.mp4 "
                f"nor a folder frames/{subject}"
            )
        return with_pictures(rows, folder, self.root)


def read_split(path: Path) -> dict[str, str]:
    """ "train" or "test" by subject; DatasetError that describes the file when it is missing."""
    if not path.is_file():
        raise DatasetError(
            f"{path}: no such file. The official GFT partition is handed out with the set and not public: "
            "write it here as two columns, `subject,split`, one line per subject (001A,train and so on), "
            "split being train or test"
        )
    table = read_table(path)
    require_columns(table, ["subject", "split"], path=path)
    require_one_spelling(table["subject"], path=path)
    is_other_N = ~table["split"].isin(["train", "test"]).to_numpy()
    refuse_first(is_other_N, table["split"], path=path, expected="train or test")
    require_one(table["subject"], table["split"], path=path, what="split per person")
    return dict(zip(table["subject"], table["split"], strict=True))


def _action_unit(column: str) -> int | None:
    match = re.fullmatch(r"(?:AU)?0*(\d+)", column, re.IGNORECASE)
    return int(match.group(1)) if match else None
