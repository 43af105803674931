"""Videos of drawn faces whose action units are known: a toy, made of polygons and a relief, not of people."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from mien.render.drawn_face import DrawnFace
from mien.render.drawn_motion import Motion

Pixels = NDArray[np.uint8]
Floats = NDArray[np.floating[Any]]

HEAD_SCALE = 0.76  # half sides of the picture that one face coordinate spans


@dataclass(frozen=True)
class DrawnFrame:
    """One picture (side, side, 3) uint8 RGB and where its five points lie in it, in pixels."""

    image_HWC: Pixels
    points_5x2_px: Floats


def draw_video(
    face: DrawnFace, motion: Motion, generator: np.random.Generator, *, side_px: int = 192
) -> Iterator[DrawnFrame]:
    """The frames of one motion, before a background and under a light drawn from `generator`."""
    background_HWC = _background(generator, side_px)
    tint_C = (1 + generator.uniform(-0.08, 0.08, 3)).astype(np.float32)
    grain_HWC = generator.normal(0, generator.uniform(1.5, 4.0), (2 * side_px, 2 * side_px, 3)).astype(
        np.float32
    )
    shifts_T2 = generator.integers(0, side_px, (motion.num_frames, 2))
    for t in range(motion.num_frames):
        turn = float(motion.yaw_T[t]), float(motion.pitch_T[t])
        head = face.draw(motion.intensity_TA[t], motion.light_T3[t], motion.gaze_T2[t], turn)
        affine_23 = _placement(motion, t, face.side_px, side_px)
        placed_HW4 = cv2.warpAffine(head, affine_23, (side_px, side_px), borderMode=cv2.BORDER_REPLICATE)
        image_HWC = _over(background_HWC, placed_HW4)
        row, column = shifts_T2[t]
        grain = grain_HWC[row : row + side_px, column : column + side_px]
        image_HWC = image_HWC * (tint_C * motion.exposure_T[t]) + grain
        points_52 = ((face.points(motion.intensity_TA[t], turn) + 1) / 2 * face.side_px - 0.5) @ affine_23[
            :, :2
        ].T + affine_23[:, 2]
        yield DrawnFrame(np.clip(image_HWC, 0, 255).astype(np.uint8), points_52.astype(np.float32))


def _placement(motion: Motion, t: int, canvas_px: int, side_px: int) -> NDArray[np.float64]:
    """2 x 3: pixels of the canvas to pixels of the picture, by the head's roll, scale and shift."""
    scale = HEAD_SCALE * float(motion.scale_T[t]) * side_px / canvas_px
    affine_23 = cv2.getRotationMatrix2D((canvas_px / 2, canvas_px / 2), float(motion.roll_T[t]), scale)
    affine_23[:, 2] += (side_px - canvas_px) / 2 + motion.shift_T2[t] * side_px / 2
    return np.asarray(affine_23, dtype=np.float64)


def _over(background_HWC: Floats, head_HW4: Pixels) -> Floats:
    share_HW1 = head_HW4[..., 3:].astype(np.float32) / 255
    return background_HWC + (head_HW4[..., :3] - background_HWC) * share_HW1


def _background(generator: np.random.Generator, side_px: int) -> Floats:
    """A smooth, coloured, out-of-focus wall."""
    wall_C = generator.uniform(50, 190) + generator.normal(0, 22, 3)
    coarse = wall_C + generator.normal(0, 22, (5, 5, 1)) + generator.normal(0, 9, (5, 5, 3))
    coarse = coarse.astype(np.float32)
    wall_HWC: Floats = cv2.resize(coarse, (side_px, side_px), interpolation=cv2.INTER_CUBIC)
    return wall_HWC
