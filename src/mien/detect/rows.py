"""One row a frame and face, on its way from the tracker to the table."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mien.faces.tracked import FrameFaces, TrackedFace

BOX = ("box_left", "box_top", "box_right", "box_bottom")  # px of the picture as shown
POINTS = tuple(f"point{point}_{axis}" for point in range(5) for axis in "xy")  # eyes, nose tip, mouth corners
POSE = ("yaw", "pitch", "roll")  # degrees
PLACE = (*BOX, *POINTS, *POSE)


@dataclass(frozen=True, eq=False)
class FaceRow:
    """A face in a frame, or a frame without one, which says why.

    `values_V` are the model's A probabilities and, where it has them, A intensities (0 to 5) behind them.
    """

    input: str  # the file's name as given
    frame: int  # position in the order of presentation, from 0; lost frames count
    seconds: float  # the file's own time; strictly increasing from frame to frame
    face_id: int | None  # None exactly where there is no face
    confidence: float  # 0 to 1
    reason: str  # "" where there is a face
    place_17: NDArray[np.float32] | None  # the columns PLACE
    values_V: NDArray[np.float32] | None

    def with_values(self, values_V: NDArray[np.float32]) -> FaceRow:
        """The same face with other values."""
        return FaceRow(
            self.input,
            self.frame,
            self.seconds,
            self.face_id,
            self.confidence,
            self.reason,
            self.place_17,
            values_V,
        )


def row_without_face(name: str, frame: FrameFaces) -> FaceRow:
    """A frame that keeps its row though no face was found in it."""
    at = (frame.frame_index, frame.seconds)
    return FaceRow(name, *at, None, 0.0, frame.reason, None, None)


def row_of_face(name: str, frame: FrameFaces, face: TrackedFace, values_V: NDArray[np.float32]) -> FaceRow:
    """The row of a face whose track's number is a person's."""
    place_17 = np.empty(17, np.float32)
    place_17[:4] = face.box_xyxy_px
    place_17[4:14] = face.points_5x2_px.ravel()
    place_17[14:] = face.yaw_degrees, face.pitch_degrees, face.roll_degrees
    at = (frame.frame_index, frame.seconds)
    return FaceRow(name, *at, face.track_number, face.score, "", place_17, values_V)


def au_columns(units: Sequence[int], *, with_intensity: bool) -> list[str]:
    """`AU01 ...`, `AU01_present ...` and, where the model has them, `AU01_intensity ...`."""
    names = [f"AU{unit:02d}" for unit in units]
    columns = names + [f"{name}_present" for name in names]
    return columns + [f"{name}_intensity" for name in names] if with_intensity else columns
