"""Which rows of a table can be trusted, by measures that the tracker takes of every face."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mien.detect.table import PLACE

JOINED, CUT_OFF, SMALL, COVERED = "joined", "cut_off", "small", "covered"
TURNED, DARK, BRIGHT, BLURRED = "turned", "dark", "bright", "blurred"
REASONS = (JOINED, CUT_OFF, SMALL, COVERED, TURNED, DARK, BRIGHT, BLURRED)
"""Why a face is not usable. A row has the first of these that applies."""


@dataclass(frozen=True)
class QualitySettings:
    """The limits within which a face is usable. docs/findings.md has how they were chosen."""

    min_confidence: float = 0.9  # of the face mesh, 0 to 1; falls where something covers the face
    min_inside: float = 0.95  # of the face's box within the picture
    min_face_px: float = 48  # longer side of the face's box; the tracker's own limit
    min_sharpness: float = 2.7  # variance of the Laplacian of the crop's grey values
    min_brightness: float = 40  # mean grey value of the crop's middle, 0 to 255
    max_brightness: float = 220
    max_yaw_degrees: float = 45  # to either side
    max_pitch_degrees: float = 35  # up or down
    settle_seconds: float = 0.2  # after a lost face was found again and given its old id


def why_not_usable(
    place_NP: NDArray[np.floating[Any]], confidence_N: NDArray[np.floating[Any]], settings: QualitySettings
) -> NDArray[np.str_]:
    """(N,): one of REASONS per row of the columns PLACE, "" for a usable face."""
    column = dict(zip(PLACE, np.asarray(place_NP).T, strict=True))
    width_N = column["box_right"] - column["box_left"]
    height_N = column["box_bottom"] - column["box_top"]
    limits = {
        JOINED: column["joined"] < settings.settle_seconds,  # NaN: never lost
        CUT_OFF: column["inside"] < settings.min_inside,
        SMALL: np.maximum(width_N, height_N) < settings.min_face_px,
        COVERED: confidence_N < settings.min_confidence,
        TURNED: (np.abs(column["yaw"]) > settings.max_yaw_degrees)
        | (np.abs(column["pitch"]) > settings.max_pitch_degrees),
        DARK: column["brightness"] < settings.min_brightness,
        BRIGHT: column["brightness"] > settings.max_brightness,
        BLURRED: column["sharpness"] < settings.min_sharpness,
    }
    return np.select([limits[reason] for reason in REASONS], REASONS, default="")
