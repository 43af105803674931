"""One person drawn: skin, hair and ears once, then each frame's features, light, pose and background."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from mien.render.drawn_features import paint_features
from mien.render.drawn_person import DRAWN_ACTION_UNITS, DrawnPerson
from mien.render.drawn_relief import build_relief, bump, face_grid

Pixels = NDArray[np.uint8]
Floats = NDArray[np.floating[Any]]

CANVAS_PX = 192
JAW_DROP = 0.1  # how far the chin goes down at full AU 26, in face coordinates
_JAW = DRAWN_ACTION_UNITS.index(26)


class DrawnFace:
    """A person ready to be drawn at any moment; holds the parts that never change."""

    def __init__(self, person: DrawnPerson, *, side_px: int = CANVAS_PX) -> None:
        self.person = person
        self.side_px = side_px
        self._relief = build_relief(person, side_px)
        self._grid_SS2 = np.stack(face_grid(side_px), axis=-1)
        self._outline_SS = _head_mask(person, side_px)
        self._skin_SSC, self._covered_SS = _still_parts(person, self._outline_SS)
        self._chin_ramp_SS = _chin_ramp(person, self._grid_SS2[..., 1])
        self._depth_SS = np.clip(self._relief.height_SS - 0.25, -0.2, 0.5)

    def draw(
        self, intensity_A: Floats, light_3: Floats, gaze_2: Floats, turn_degrees: tuple[float, float]
    ) -> Pixels:
        """(S, S, 4) the head turned by (yaw, pitch), in the middle; the last channel is its mask."""
        own_A = (np.asarray(intensity_A) * self.person.gain_A).astype(np.float32)
        painted_SSC = self._skin_SSC.copy()
        paint_features(painted_SSC, self.person, own_A, gaze_2)
        shading_SS = self._relief.shading(own_A, light_3)
        shaded_SSC = np.clip(painted_SSC * shading_SS[..., None], 0, 255).astype(np.uint8)
        head_SS4 = np.dstack([shaded_SSC, self._covered_SS])
        source_SS2 = self._source_positions(own_A, turn_degrees)
        x_SS, y_SS = source_SS2[..., 0], source_SS2[..., 1]
        turned_SS4: Pixels = cv2.remap(
            head_SS4, x_SS, y_SS, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
        )
        return turned_SS4

    def points(self, intensity_A: Floats, turn_degrees: tuple[float, float]) -> Floats:
        """(5, 2) face coordinates of left eye, right eye, nose tip, left and right mouth corner, as drawn."""
        person, own_A = self.person, np.asarray(intensity_A) * self.person.gain_A
        of = dict(zip(DRAWN_ACTION_UNITS, own_A.tolist(), strict=True))
        mouth_x = person.mouth_half_width + 0.055 * of[12]
        mouth_y = person.mouth_y - person.corner_rest - 0.065 * of[12] + 0.06 * of[15]
        still_52 = np.array(
            [
                (-person.eye_x, person.eye_y),
                (person.eye_x, person.eye_y),
                (0.0, person.nose_tip_y),
                (-mouth_x, mouth_y),
                (mouth_x, mouth_y),
            ]
        )
        cells_52 = np.clip(((still_52 + 1) / 2 * self.side_px).astype(int), 0, self.side_px - 1)
        depth_5 = self._depth_SS[cells_52[:, 1], cells_52[:, 0]]
        turned_52: Floats = still_52 + depth_5[:, None] * _parallax(turn_degrees)
        return turned_52

    def _source_positions(self, own_A: Floats, turn_degrees: tuple[float, float]) -> Floats:
        """(S, S, 2) where in the upright drawing each pixel of the turned head comes from, in pixels."""
        across, down = _parallax(turn_degrees)
        x_SS = self._grid_SS2[..., 0] - across * self._depth_SS
        y_SS = self._grid_SS2[..., 1] - down * self._depth_SS - JAW_DROP * own_A[_JAW] * self._chin_ramp_SS
        return ((np.stack([x_SS, y_SS], axis=-1) + 1) / 2 * self.side_px - 0.5).astype(np.float32)


def _parallax(turn_degrees: tuple[float, float]) -> Floats:
    yaw, pitch = np.radians(turn_degrees)
    return np.array([np.sin(yaw), np.sin(pitch)], dtype=np.float32)


def _chin_ramp(person: DrawnPerson, y_SS: Floats) -> Floats:
    """0 at the mouth, 1 at the chin, 0 again on the neck."""
    knots_y = [person.mouth_y, person.chin_y, person.chin_y + 0.2]
    ramp: Floats = np.interp(y_SS, knots_y, [0.0, 1.0, 0.0]).astype(np.float32)
    return ramp


def _head_mask(person: DrawnPerson, side_px: int) -> Floats:
    """(S, S) 0-1, soft-edged: the face from the forehead to the chin."""
    y_N = np.array([-0.75, -0.7, -0.58, -0.4, -0.2, 0.0, 0.2, 0.4, 0.0, 0.0])
    wide, jaw = person.face_half_width, person.jaw_half_width
    y_N[-2:] = person.chin_y - 0.06, person.chin_y
    x_N = np.array([0.3, 0.52, 0.8, 0.96, 1.0, 1.0, 0.97, 0.0, 0.0, 0.0]) * wide
    x_N[-3:] = 0.45 * wide + 0.55 * jaw, 0.72 * jaw, 0.3 * jaw
    smooth_y = np.linspace(y_N[0], y_N[-1], 60)
    order = np.argsort(y_N)
    smooth_x = np.interp(smooth_y, y_N[order], x_N[order])
    smooth_x = np.convolve(
        np.pad(smooth_x, 3, mode="reflect", reflect_type="odd"), np.ones(7) / 7, mode="valid"
    )
    outline = np.concatenate([np.stack([smooth_x, smooth_y], -1), np.stack([-smooth_x, smooth_y], -1)[::-1]])
    mask = np.zeros((side_px, side_px), np.uint8)
    points = np.round(((outline + 1) / 2 * side_px - 0.5) * 16).astype(np.int32)
    cv2.fillPoly(mask, [points], 255, lineType=cv2.LINE_AA, shift=4)
    soft_SS: Floats = cv2.GaussianBlur(mask, (0, 0), 0.8).astype(np.float32) / 255
    return soft_SS


def _still_parts(person: DrawnPerson, face_SS: Floats) -> tuple[Pixels, Pixels]:
    """(S, S, 3) colours of all that never moves by itself, and (S, S) how much of each pixel it covers."""
    side_px = face_SS.shape[0]
    x_SS, y_SS = face_grid(side_px)
    generator = np.random.default_rng(person.texture_seed)
    skin_SSC = _skin(person, x_SS, y_SS, generator)
    neck_SS = _soft(
        (np.abs(x_SS) < person.jaw_half_width * 0.8 + 0.3 * np.maximum(y_SS - 0.75, 0)) & (y_SS > 0.3)
    )
    ears_SS = _soft(((np.abs(x_SS) - person.face_half_width) / 0.07) ** 2 + ((y_SS - 0.02) / 0.15) ** 2 < 1)
    shirt_SS = _soft(y_SS > 0.78 + 0.14 * np.exp(-((x_SS / 0.25) ** 2)) + 0.5 * x_SS**4)
    back_SS, front_SS = _hair_masks(person, x_SS, y_SS)
    hair_SSC = _hair(person, x_SS, generator)
    shirt_C = generator.uniform(30, 210, 3).astype(np.float32)
    colour_SSC = np.zeros_like(skin_SSC)
    for mask_SS, layer in (
        (back_SS, hair_SSC * 0.75),
        (neck_SS, skin_SSC * 0.72),
        (shirt_SS, shirt_C),
        (ears_SS, skin_SSC * 0.85),
        (face_SS, skin_SSC),
        (front_SS, hair_SSC),
    ):
        colour_SSC += (layer - colour_SSC) * mask_SS[..., None]
    covered_SS = np.maximum.reduce([back_SS, neck_SS, shirt_SS, ears_SS, face_SS, front_SS])
    return np.clip(colour_SSC, 0, 255).astype(np.uint8), (covered_SS * 255).astype(np.uint8)


def _skin(person: DrawnPerson, x_SS: Floats, y_SS: Floats, generator: np.random.Generator) -> Floats:
    side_px = x_SS.shape[0]
    tone_SS = 1 + 0.035 * _noise(generator, side_px, 24) + 0.02 * _noise(generator, side_px, 1.2)
    skin_SSC = np.array(person.skin, np.float32) * tone_SS[..., None]
    red_SS = np.zeros_like(x_SS)
    for side in (-1, 1):
        red_SS += bump(x_SS, y_SS, (side * 0.3, 0.12), (0.1, 0.09), 1.0)
    red_SS += bump(x_SS, y_SS, (0, person.nose_tip_y), (0.06, 0.05), 0.8)
    skin_SSC *= 1 - np.clip(red_SS, 0, 1)[..., None] * np.array([0.0, 0.1, 0.09], np.float32)
    beard_SS = person.stubble * _soft((y_SS > person.nose_tip_y + 0.06) & (np.abs(x_SS) + y_SS > 0.42))
    hair_C = np.array(person.hair, np.float32)
    beard_SS = beard_SS * np.clip(0.8 + 0.25 * _noise(generator, side_px, 1.0), 0, 1)
    bearded_SSC: Floats = skin_SSC + (hair_C - skin_SSC) * beard_SS[..., None]
    return bearded_SSC


def _hair(person: DrawnPerson, x_SS: Floats, generator: np.random.Generator) -> Floats:
    side_px = x_SS.shape[0]
    streaks_SS = cv2.GaussianBlur(
        generator.normal(0, 1, (side_px, side_px)).astype(np.float32), (0, 0), 0.8, sigmaY=9
    )
    streaks_SS /= streaks_SS.std()
    hair_SSC: Floats = np.array(person.hair, np.float32) * (1 + 0.16 * streaks_SS)[..., None]
    return hair_SSC


def _hair_masks(person: DrawnPerson, x_SS: Floats, y_SS: Floats) -> tuple[Floats, Floats]:
    """Hair behind the face and hair in front of the forehead."""
    wide = person.face_half_width
    cap_SS = (x_SS / (wide + 0.07)) ** 2 + ((y_SS + 0.2) / 0.68) ** 2 < 1
    line_SS = person.hairline_y + 0.55 * np.abs(x_SS) ** 2.2 / wide**1.2
    if person.hair_style == "bald":
        empty = np.zeros_like(x_SS)
        return empty, empty
    if person.hair_style == "parted":
        line_SS = person.hairline_y + 0.5 * np.abs(x_SS - 0.12) ** 1.5
    back_SS = cap_SS & (y_SS < 0.05)
    if person.hair_style == "long":
        back_SS = cap_SS | ((np.abs(x_SS) < wide + 0.1 - 0.06 * y_SS) & (y_SS > -0.2) & (y_SS < 0.9))
    return _soft(back_SS), _soft(cap_SS & (y_SS < line_SS))


def _soft(inside_SS: NDArray[np.bool_]) -> Floats:
    soft_SS: Floats = cv2.GaussianBlur(inside_SS.astype(np.float32), (0, 0), 1.0)
    return soft_SS


def _noise(generator: np.random.Generator, side_px: int, blur_px: float) -> Floats:
    """(S, S) smooth noise of mean about 0 and standard deviation 1."""
    noise_SS: Floats = cv2.GaussianBlur(
        generator.normal(0, 1, (side_px, side_px)).astype(np.float32), (0, 0), blur_px
    )
    noise_SS /= noise_SS.std()
    return noise_SS
