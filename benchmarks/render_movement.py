"""How much each action unit moves the rendered face, and how much of the picture it changes.

    python benchmarks/render_movement.py --model FaceXModel [--people 6]

Shift: the largest movement of a point of the face, in percent of the distance between the eyes. Pixels: the
share of a close view at 128 px that changes by more than 12 of 255. Both at intensity B and E, means over
people, under one light.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from render_sheet import SHEET_LIGHT

from mien.facs import ACTION_UNITS
from mien_render.actions import UNIT_NUMBERS
from mien_render.body import Body, Moment, Stage, neutral_moment
from mien_render.face_model import load_face_model
from mien_render.person import PeopleSettings, draw_person
from mien_render.sensor import develop
from mien_render.shading import Camera, draw_head
from mien_render.surface import Surface

CLOSE = Camera(half_height_cm=10.5, centre_xy_cm=(0.0, 0.0))
STEPS = {"B": 2, "E": 5}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--people", type=int, default=6)
    args = parser.parse_args()
    stage = Stage(Surface.of(load_face_model(args.model)))
    measured = np.stack([_measure(_plain_body(stage, seed)) for seed in range(args.people)])
    print("| unit | shift B / E, % | pixels B / E, % |")
    for unit, (shift_2, pixels_2) in zip(UNIT_NUMBERS, measured.mean(axis=0), strict=True):
        name = ACTION_UNITS[unit].column
        print(f"| {name} | {shift_2[0]:.1f} / {shift_2[1]:.1f} | {pixels_2[0]:.1f} / {pixels_2[1]:.1f} |")


def _plain_body(stage: Stage, seed: int) -> Body:
    """A person of that seed with bare face and average strength of every unit."""
    drawn = draw_person(np.random.default_rng(seed), PeopleSettings(), num_identity_shapes=100)
    style = "short" if drawn.hair_style in ("cap", "scarf") else drawn.hair_style
    gain = np.ones_like(drawn.unit_gain_A2)
    return Body(stage, replace(drawn, glasses=False, hair_style=style, unit_gain_A2=gain))


def _measure(body: Body) -> NDArray[np.float64]:
    """Shift and changed pixels at B and E of every unit, in percent: (A, 2, 2)."""
    corners = body.stage.surface.landmark_vertices
    rest, picture = body.pose(neutral_moment()).vertices_V3, _picture(body, neutral_moment())
    eyes = [rest[[corners[f"outer_eye_{side}"], corners[f"inner_eye_{side}"]]].mean(axis=0) for side in "LR"]
    between_eyes = np.linalg.norm(eyes[0] - eyes[1])
    face = np.flatnonzero(body.stage.surface.material_V == "M_Face")
    measured = np.zeros((len(UNIT_NUMBERS), 2, 2))
    for at in range(len(UNIT_NUMBERS)):
        for column, step in enumerate(STEPS.values()):
            moment = neutral_moment()
            moment.intensity_A2[at] = step
            moved = np.linalg.norm(body.pose(moment).vertices_V3 - rest, axis=1)[face].max()
            changed = np.abs(_picture(body, moment) - picture).max(axis=2) > 12
            measured[at, :, column] = 100 * moved / between_eyes, 100 * changed.mean()
    return measured


def _picture(body: Body, moment: Moment) -> NDArray[np.float32]:
    head = draw_head(body, moment, SHEET_LIGHT, CLOSE, size_px=128)
    return develop(head.colour_SS3 + (1 - head.coverage_SS[..., None]) * 0.25)


if __name__ == "__main__":
    main()
