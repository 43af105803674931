"""Who is drawn: the shape and colours of one invented person, drawn at random from a generator.

Face coordinates: x to the right, y down, the head's middle at (0, 0); 1 is half the side of the canvas.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from mien.facs import action_unit

Colour = tuple[float, float, float]

DRAWN_ACTION_UNITS = (1, 2, 4, 5, 6, 7, 9, 12, 15, 25, 26, 43)
"""The action units the drawn faces can show, in the order of every intensity array of this package."""

SKIN_LIGHT, SKIN_DARK = (240.0, 206.0, 184.0), (112.0, 76.0, 58.0)
HAIR_COLOURS: tuple[Colour, ...] = (
    (28, 24, 24),
    (58, 40, 30),
    (96, 66, 42),
    (168, 130, 82),
    (150, 76, 44),
    (150, 148, 146),
)
IRIS_COLOURS: tuple[Colour, ...] = (
    (62, 40, 26),
    (96, 66, 40),
    (88, 104, 60),
    (84, 116, 146),
    (110, 120, 126),
)
HAIR_STYLES = ("bald", "short", "parted", "long")


@dataclass(frozen=True)
class DrawnPerson:
    """Lengths in face coordinates, colours as RGB 0-255, `gain_A` one factor an action unit."""

    face_half_width: float
    jaw_half_width: float
    chin_y: float
    hairline_y: float
    eye_x: float
    eye_y: float
    eye_half_width: float
    eye_opening: float
    eye_tilt: float
    brow_gap: float
    brow_thickness: float
    brow_slope: float
    nose_tip_y: float
    nose_half_width: float
    mouth_y: float
    mouth_half_width: float
    lip_fullness: float
    corner_rest: float  # resting height of the mouth's corners, positive is up
    cheekbone: float
    skin: Colour
    hair: Colour
    iris: Colour
    lip: Colour
    hair_style: str
    stubble: float  # 0 clean to 1 full beard
    texture_seed: int
    gain_A: tuple[float, ...] = field(default=(1.0,) * len(DRAWN_ACTION_UNITS))
    left_right_balance: float = 0.0  # share by which the right side moves more than the left

    def __post_init__(self) -> None:
        if len(self.gain_A) != len(DRAWN_ACTION_UNITS):
            raise ValueError(f"gain_A: expected {len(DRAWN_ACTION_UNITS)} factors, got {len(self.gain_A)}")


def random_person(generator: np.random.Generator) -> DrawnPerson:
    """A person whose every measure is drawn uniformly from a plausible range."""
    within = generator.uniform
    skin = _mix(SKIN_LIGHT, SKIN_DARK, float(within(0, 1) ** 1.3), generator)
    hair = _mix(HAIR_COLOURS[generator.integers(len(HAIR_COLOURS))], (0, 0, 0), 0.0, generator)
    lip = _mix(skin, (170, 60, 66), float(within(0.25, 0.6)), generator)
    return DrawnPerson(
        face_half_width=within(0.47, 0.56),
        jaw_half_width=within(0.33, 0.44),
        chin_y=within(0.64, 0.74),
        hairline_y=within(-0.56, -0.44),
        eye_x=within(0.215, 0.255),
        eye_y=within(-0.13, -0.09),
        eye_half_width=within(0.092, 0.118),
        eye_opening=within(0.036, 0.05),
        eye_tilt=within(-0.01, 0.014),
        brow_gap=within(0.095, 0.13),
        brow_thickness=within(0.014, 0.032),
        brow_slope=within(-0.015, 0.03),
        nose_tip_y=within(0.12, 0.2),
        nose_half_width=within(0.085, 0.125),
        mouth_y=within(0.34, 0.4),
        mouth_half_width=within(0.15, 0.2),
        lip_fullness=within(0.026, 0.05),
        corner_rest=within(-0.014, 0.014),
        cheekbone=within(0.3, 1.0),
        skin=skin,
        hair=hair,
        iris=IRIS_COLOURS[generator.integers(len(IRIS_COLOURS))],
        lip=lip,
        hair_style=HAIR_STYLES[generator.integers(len(HAIR_STYLES))],
        stubble=float(max(0.0, within(-1.5, 0.6))),
        texture_seed=int(generator.integers(2**31)),
        gain_A=tuple(within(0.8, 1.2, len(DRAWN_ACTION_UNITS))),
        left_right_balance=within(-0.12, 0.12),
    )


def drawn_columns() -> list[str]:
    """Column names of the drawn action units: AU01, AU02, ..."""
    return [action_unit(number).column for number in DRAWN_ACTION_UNITS]


def _mix(first: Colour, second: Colour, share: float, generator: np.random.Generator) -> Colour:
    mixed = (
        np.array(first) * (1 - share)
        + np.array(second) * share
        + generator.normal(0, 6, 1)
        + generator.normal(0, 2.5, 3)
    )
    red, green, blue = np.clip(mixed, 8, 250)
    return float(red), float(green), float(blue)
