"""Action units as weights of the model's shapes, left and right, with stated gains.

The shapes are ICT-FaceKit's (ARKit's names); a gain is the shape's weight at intensity 5. Intensity 0-5 is
FACS A-E in steps of one; the share of the full excursion that a letter stands for grows slowly at first, as
the manual's scale does (trace, slight, marked, severe, maximum).
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from mien_render.arrays import Floats, floats

INTENSITY_SHARES = (0.0, 0.14, 0.34, 0.58, 0.82, 1.0)
"""Share of the full excursion at intensity 0, A, B, C, D, E; linear between."""


@dataclass(frozen=True)
class Rendering:
    """How one action unit is drawn: shapes with a side of their own (`_L`, `_R`) and shapes without."""

    sided: dict[str, float] = field(default_factory=dict)
    whole: dict[str, float] = field(default_factory=dict)

    @property
    def unilateral(self) -> bool:
        """Whether left and right can differ."""
        return bool(self.sided)


RENDERED_UNITS: dict[int, Rendering] = {
    1: Rendering(sided={"browInnerUp": 1.6}),
    2: Rendering(sided={"browOuterUp": 1.05}),
    4: Rendering(sided={"browDown": 1.5}),
    5: Rendering(sided={"eyeWide": 1.35}),
    6: Rendering(sided={"cheekSquint": 0.8, "cheekRaiser": 0.95, "eyeSquint": 0.3}),
    7: Rendering(sided={"eyeSquint": 1.3, "eyeBlink": 0.3}),
    9: Rendering(sided={"noseSneer": 1.15, "browDown": 0.35, "mouthUpperUp": -0.45}),
    10: Rendering(sided={"mouthUpperUp": 1.15}),
    12: Rendering(sided={"mouthSmile": 0.95, "cheekSquint": 0.1}),
    14: Rendering(sided={"mouthDimple": 1.1, "mouthFrown": 0.5, "mouthPress": 0.2}),
    15: Rendering(sided={"mouthFrown": 1.5}),
    17: Rendering(whole={"mouthShrugLower": 1.0, "mouthShrugUpper": 0.35}),
    20: Rendering(sided={"mouthStretch": 1.5, "mouthSmile": 0.15}),
    22: Rendering(whole={"mouthFunnel": 1.0}),
    23: Rendering(whole={"mouthRollUpper": 0.9, "mouthRollLower": 0.85, "mouthPucker": 0.55}),
    24: Rendering(sided={"mouthPress": 1.55}, whole={"mouthRollUpper": 0.35, "mouthRollLower": 0.4}),
    25: Rendering(sided={"mouthLowerDown": 0.9, "mouthUpperUp": 0.2}),
    26: Rendering(whole={"jawOpen": 0.55}),
    27: Rendering(whole={"jawOpen": 1.0, "mouthStretch_L": 0.15, "mouthStretch_R": 0.15}),
    43: Rendering(sided={"eyeBlink": 1.0}),
    45: Rendering(sided={"eyeBlink": 1.0}),
}

UNIT_NUMBERS = tuple(RENDERED_UNITS)


def excursion(intensity: NDArray[np.floating]) -> Floats:
    """Share of the full movement at that intensity (0-5): elementwise, 0 to 1."""
    return floats(np.interp(intensity, np.arange(6), INTENSITY_SHARES))


def shape_matrix(expression_number: dict[str, int]) -> Floats:
    """Gains as a matrix (2 A, E): row a is unit a on the left, row A + a on the right.

    A whole-face shape is moved by the mean of both sides. ValueError names the shapes the model lacks.
    """
    num_units = len(UNIT_NUMBERS)
    gains = np.zeros((2 * num_units, len(expression_number)), dtype=np.float32)
    missing = sorted(name for name in _shape_names() if name not in expression_number)
    if missing:
        raise ValueError(f"the face model has no shapes named {', '.join(missing)}")
    for row, rendering in enumerate(RENDERED_UNITS.values()):
        for name, gain in rendering.sided.items():
            gains[row, expression_number[f"{name}_L"]] += gain
            gains[num_units + row, expression_number[f"{name}_R"]] += gain
        for name, gain in rendering.whole.items():
            gains[[row, num_units + row], expression_number[name]] += gain / 2
    return gains


def shape_weights(intensity_A2: NDArray[np.floating], gains_2AE: Floats) -> Floats:
    """Weights (E,) of the model's shapes for intensities of all units, left and right; at most 1.6."""
    share_A2 = excursion(intensity_A2)
    weights: Floats = share_A2.T.reshape(-1) @ gains_2AE
    return np.minimum(weights, 1.6)


def lips_kept_together(intensity_A2: NDArray[np.floating]) -> float:
    """Weight of `mouthClose`, which holds the lips together while the jaw drops (AU 26 without 25)."""
    share_A = excursion(intensity_A2).mean(axis=1)
    dropped = RENDERED_UNITS[26].whole["jawOpen"] * share_A[UNIT_NUMBERS.index(26)]
    parted = min(float(share_A[UNIT_NUMBERS.index(25)]) / INTENSITY_SHARES[2], 1.0)
    return float(0.97 * dropped * (1 - parted))


_PARTING_SHARES = {9: 0.7, 10: 0.8, 22: 0.8, 27: 1.0}
"""How far the lips part with these units: intensity of AU 25 for each step of theirs, read off the sheet."""


def coded_intensity(driving_TA2: Floats) -> Floats:
    """The labels: what a coder sees. AU 25 is coded wherever another unit parts the lips; (T, A, 2)."""
    coded_TA2 = driving_TA2.copy()
    parted_T2 = coded_TA2[:, UNIT_NUMBERS.index(25)]
    for unit, share in _PARTING_SHARES.items():
        np.maximum(parted_T2, share * driving_TA2[:, UNIT_NUMBERS.index(unit)], out=parted_T2)
    return np.round(coded_TA2, 3)


def _shape_names() -> set[str]:
    names: set[str] = set()
    for rendering in RENDERED_UNITS.values():
        names.update(f"{name}_{side}" for name in rendering.sided for side in "LR")
        names.update(rendering.whole)
    return names
