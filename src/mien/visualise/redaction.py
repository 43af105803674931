"""Faces blurred beyond recognition in the copies of videos and pictures, and checked by the face finder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from mien.detect.table import BOX
from mien.faces.boxes import iou
from mien.faces.finder import Box
from mien.faces.mediapipe_finder import MediaPipeFinder
from mien.visualise.page_parts import Picture

_CELLS = 4  # what is left of a face and its surroundings, across and down
_MARGIN = 0.4  # of the box's sides, on each side
_HELD_SECONDS = 0.5  # a face that is not found is hidden where it was
_LEAST_FACE_PX = 24
_TRIES = 3
_SAME_IOU = 0.3


@dataclass(frozen=True)
class Redaction:
    """Which faces stay visible, by id; `models` is the folder of the face finder's weights."""

    keep: frozenset[int] = frozenset()
    models: Path | None = None

    @classmethod
    def parse(cls, text: str, models: Path | None = None) -> Redaction:
        """From `all`, or `but:0,2`. ValueError."""
        kind, _, ids = text.partition(":")
        numbers = ids.split(",")
        if text == "all":
            return cls(models=models)
        if kind != "but" or not all(number.isdecimal() for number in numbers):
            raise ValueError(f"--redact {text}: expected all, or the ids of the faces that stay, as but:0,2")
        return cls(frozenset(map(int, numbers)), models)


class Redactor:
    """Hides faces in the frames of one video, in order."""

    def __init__(self, redaction: Redaction) -> None:
        self._keep = redaction.keep
        self._finder = MediaPipeFinder(redaction.models)
        self._held: list[tuple[float, Box]] = []

    def __call__(self, picture_HWC: Picture, rows: Sequence[Mapping[str, Any]], seconds: float) -> Picture:
        """A copy in which the finder finds no face but those that stay; else all of the picture is blurred.

        Blurred are the faces of `rows`, where they were up to half a second ago, and what the finder finds,
        again in the blurred picture. A face that stays and has no row in this frame is blurred.
        """
        boxes = {int(row["face_id"]): _box(row) for row in rows if row["success"] == 1}
        stay = [box for face_id, box in boxes.items() if face_id in self._keep]
        self._held = [(since, box) for since, box in self._held if seconds - since <= _HELD_SECONDS]
        self._held += [(seconds, box) for face_id, box in boxes.items() if face_id not in self._keep]
        hidden = picture_HWC.copy()
        for _, box in self._held:
            _blur(hidden, box)
        for _ in range(_TRIES):
            found = [
                *self._finder.detect(hidden),
                *self._finder.detect_small(hidden, min_face_px=_LEAST_FACE_PX),
            ]
            left = [
                face.box_xyxy_px
                for face in found
                if not any(iou(face.box_xyxy_px, box) > _SAME_IOU for box in stay)
            ]
            if not left:
                return hidden
            for box in left:
                _blur(hidden, box)
        _blur(hidden, (0, 0, hidden.shape[1], hidden.shape[0]))
        return hidden


def _box(row: Mapping[str, Any]) -> Box:
    left, top, right, bottom = (float(row[name]) for name in BOX)
    return left, top, right, bottom


def _blur(picture_HWC: Picture, box: Box) -> None:
    """The box with its margin as a smooth picture of 4 x 4 cells, in place."""
    left, top, right, bottom = box
    across, down = _MARGIN * (right - left), _MARGIN * (bottom - top)
    height, width = picture_HWC.shape[:2]
    columns = slice(max(0, int(left - across)), max(0, min(width, int(right + across) + 1)))
    rows = slice(max(0, int(top - down)), max(0, min(height, int(bottom + down) + 1)))
    part = picture_HWC[rows, columns]
    if part.size:
        cells = cv2.resize(part, (_CELLS, _CELLS), interpolation=cv2.INTER_AREA)
        part[:] = np.asarray(cv2.resize(cells, part.shape[1::-1], interpolation=cv2.INTER_LINEAR))
