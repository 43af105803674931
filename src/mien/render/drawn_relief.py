"""The relief of a drawn face: heights, what each action unit adds to them, and the light that falls on both.

Light is linear in the surface's slopes, so a frame's shading is the neutral slopes plus a weighted sum of one
pair of planes an action unit.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mien.render.drawn_person import DRAWN_ACTION_UNITS, DrawnPerson

Floats = NDArray[np.floating[Any]]


@dataclass(frozen=True)
class Relief:
    """Over an S x S canvas in face coordinates.

    height_SS: towards the viewer. slopes_2SS: dz/dx and dz/dy divided by the length of the normal.
    facing_SS: the normal's z. action_slopes_A2SS: what each action unit at full intensity adds to the slopes.
    """

    height_SS: Floats
    slopes_2SS: Floats
    facing_SS: Floats
    action_slopes_A2SS: Floats

    def shading(self, intensity_A: Floats, light_3: Floats) -> Floats:
        """(S, S) brightness factors, about 1 where the surface faces the light."""
        active = np.flatnonzero(intensity_A)
        slopes_2SS = self.slopes_2SS
        if len(active):
            slopes_2SS = slopes_2SS + np.tensordot(
                intensity_A[active], self.action_slopes_A2SS[active], axes=1
            )
        x, y, z = (light_3 / np.linalg.norm(light_3)).astype(np.float32)
        lit_SS = z * self.facing_SS - x * slopes_2SS[0] - y * slopes_2SS[1]
        shading_SS: Floats = np.maximum(np.float32(0.46) + np.float32(0.68) * lit_SS, np.float32(0.12))
        return shading_SS


def face_grid(side_px: int) -> tuple[Floats, Floats]:
    """x and y in face coordinates of every pixel's middle, each (S, S)."""
    axis_S = ((np.arange(side_px, dtype=np.float32) + 0.5) / side_px * 2 - 1).astype(np.float32)
    x_SS, y_SS = np.meshgrid(axis_S, axis_S)
    return x_SS, y_SS


def build_relief(person: DrawnPerson, side_px: int) -> Relief:
    """The relief of one person."""
    height_SS = _neutral_height(person, side_px)
    slopes_2SS = _slopes(height_SS, side_px)
    length_SS = np.sqrt(1 + (slopes_2SS**2).sum(axis=0))
    action_A2SS = np.stack(
        [
            _slopes(_action_height(person, number, side_px), side_px) / length_SS
            for number in DRAWN_ACTION_UNITS
        ]
    )
    return Relief(
        height_SS=height_SS,
        slopes_2SS=(slopes_2SS / length_SS).astype(np.float32),
        facing_SS=(1 / length_SS).astype(np.float32),
        action_slopes_A2SS=action_A2SS.astype(np.float32),
    )


def _slopes(height_SS: Floats, side_px: int) -> Floats:
    per_pixel_y, per_pixel_x = np.gradient(height_SS)
    slopes_2SS = np.stack([per_pixel_x, per_pixel_y]) * (side_px / 2)
    return np.clip(slopes_2SS, -2.5, 2.5).astype(np.float32)


def _neutral_height(person: DrawnPerson, side_px: int) -> Floats:
    x_SS, y_SS = face_grid(side_px)
    half_width = person.face_half_width + 0.1
    inside_SS = 1 - (x_SS / half_width) ** 2 - ((y_SS + 0.05) / (person.chin_y + 0.2)) ** 2
    height_SS = 0.5 * np.sqrt(np.maximum(inside_SS, 0.02))
    height_SS += _nose(person, x_SS, y_SS)
    for side in (-1, 1):
        height_SS += bump(x_SS, y_SS, (side * person.eye_x, person.eye_y), (0.12, 0.07), -0.055)
        height_SS += bump(x_SS, y_SS, (side * person.eye_x, person.eye_y - 0.1), (0.15, 0.04), 0.028)
        height_SS += bump(
            x_SS, y_SS, (side * 0.31, person.eye_y + 0.17), (0.1, 0.09), 0.045 * person.cheekbone
        )
        height_SS += bump(x_SS, y_SS, (side * 0.17, person.nose_tip_y + 0.06), (0.03, 0.09), -0.012)
    height_SS += bump(x_SS, y_SS, (0, person.mouth_y), (person.mouth_half_width * 0.8, 0.08), 0.05)
    height_SS += bump(x_SS, y_SS, (0, person.mouth_y + 0.105), (0.1, 0.025), -0.022)
    height_SS += bump(x_SS, y_SS, (0, person.chin_y - 0.11), (0.1, 0.07), 0.045)
    return height_SS.astype(np.float32)


def _nose(person: DrawnPerson, x_SS: Floats, y_SS: Floats) -> Floats:
    length = person.nose_tip_y - person.eye_y
    along_SS = np.clip((y_SS - person.eye_y) / length, 0, 1)
    end_SS = 1 / (1 + np.exp((y_SS - person.nose_tip_y - 0.02) / 0.014))
    width_SS = 0.045 + 0.03 * along_SS
    ridge_SS = (0.03 + 0.13 * along_SS) * np.exp(-0.5 * (x_SS / width_SS) ** 2) * end_SS
    ridge_SS *= 1 / (1 + np.exp(-(y_SS - person.eye_y + 0.06) / 0.03))
    for side in (-1, 1):
        wing_x = side * person.nose_half_width * 0.72
        ridge_SS += bump(x_SS, y_SS, (wing_x, person.nose_tip_y - 0.01), (0.034, 0.03), 0.05)
    nose: Floats = ridge_SS.astype(np.float32)
    return nose


def _action_height(person: DrawnPerson, number: int, side_px: int) -> Floats:
    """What an action unit at full intensity adds to the height: bulges, furrows, wrinkles."""
    x_SS, y_SS = face_grid(side_px)
    bulges = _BULGES.get(number, ())
    height_SS = np.zeros_like(x_SS)
    for anchor, across, down, width, tall, height in bulges:
        anchor_x, anchor_y = _anchor(person, anchor)
        for side in (-1, 1):
            height_SS += bump(
                x_SS, y_SS, (side * (anchor_x + across), anchor_y + down), (width, tall), height
            )
    if number in _WRINKLES:
        height_SS += _wrinkles(person, x_SS, y_SS, *_WRINKLES[number])
    return height_SS


def _anchor(person: DrawnPerson, name: str) -> tuple[float, float]:
    return {
        "eye": (person.eye_x, person.eye_y),
        "glabella": (0.0, person.eye_y - 0.08),
        "nose": (person.nose_half_width, person.nose_tip_y),
        "corner": (person.mouth_half_width, person.mouth_y),
        "chin": (0.0, person.chin_y),
    }[name]


# action unit -> (anchor, offset outwards, offset down, width, height of the bulge, how far it stands out)
_BULGES: dict[int, tuple[tuple[str, float, float, float, float, float], ...]] = {
    4: (("glabella", 0.035, 0.0, 0.012, 0.06, -0.02), ("glabella", 0.0, 0.0, 0.02, 0.05, 0.012)),
    6: (
        ("eye", 0.03, 0.17, 0.09, 0.055, 0.035),
        ("eye", 0.0, 0.085, 0.1, 0.016, -0.016),
        ("eye", 0.17, -0.02, 0.045, 0.009, -0.008),
        ("eye", 0.17, 0.02, 0.045, 0.009, -0.008),
    ),
    7: (("eye", 0.0, 0.05, 0.09, 0.014, 0.016),),
    9: (
        ("nose", 0.03, -0.08, 0.02, 0.05, -0.022),
        ("nose", -0.03, -0.16, 0.05, 0.01, -0.016),
        ("nose", -0.03, -0.12, 0.05, 0.01, -0.016),
    ),
    12: (
        ("nose", 0.05, 0.03, 0.016, 0.05, -0.02),
        ("nose", 0.085, 0.11, 0.016, 0.06, -0.024),
        ("corner", 0.12, -0.13, 0.07, 0.06, 0.035),
    ),
    15: (
        ("corner", 0.03, 0.07, 0.02, 0.05, -0.022),
        ("chin", 0.05, -0.12, 0.07, 0.05, 0.014),
    ),
}
# action unit -> (least and greatest distance from the middle line of horizontal forehead wrinkles)
_WRINKLES = {1: (0.0, 0.16), 2: (0.16, 0.4)}


def _wrinkles(person: DrawnPerson, x_SS: Floats, y_SS: Floats, inner: float, outer: float) -> Floats:
    bottom = person.eye_y - person.brow_gap - 0.06
    across_SS = (
        (np.abs(x_SS) >= inner) & (np.abs(x_SS) < outer) & (y_SS > person.hairline_y) & (y_SS < bottom)
    )
    waves_SS = 0.0055 * np.sin((y_SS - bottom) / 0.062 * 2 * np.pi)
    wrinkles: Floats = np.where(across_SS, waves_SS, 0).astype(np.float32)
    return wrinkles


def bump(
    x_SS: Floats, y_SS: Floats, at: tuple[float, float], spread: tuple[float, float], height: float
) -> Floats:
    """A Gaussian hill of that height at (x, y), with that spread along x and y."""
    across_SS, down_SS = (x_SS - at[0]) / spread[0], (y_SS - at[1]) / spread[1]
    hill_SS: Floats = height * np.exp(-0.5 * (across_SS**2 + down_SS**2))
    return hill_SS
