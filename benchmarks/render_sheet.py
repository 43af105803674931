"""Contact sheets: the people of a recipe (people.png), every action unit from 0 to 5 (units.png).

python benchmarks/render_sheet.py --face-model FaceXModel --recipe RECIPE --out FOLDER
"""

from __future__ import annotations

import argparse
import itertools
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from mien.config import load_recipe
from mien.facs import ACTION_UNITS
from mien_render.actions import RENDERED_UNITS, UNIT_NUMBERS
from mien_render.arrays import floats
from mien_render.benchmark_set import SetSettings
from mien_render.body import Body, Moment, Stage, neutral_moment
from mien_render.face_model import load_face_model
from mien_render.light import Light
from mien_render.paint import COVERED
from mien_render.person import Person
from mien_render.sensor import develop
from mien_render.shading import Camera, draw_head
from mien_render.surface import Surface
from mien_render.write_set import make_person

Picture = NDArray[np.uint8]

SHEET_LIGHT = Light(
    key_direction_3=floats([0.557, 0.5, 0.663]),
    key_colour_3=floats([1.9, 1.8, 1.67]),
    fill_direction_3=floats([-0.86, 0.09, 0.5]),
    fill_colour_3=floats([0.28, 0.31, 0.35]),
    sky_colour_3=floats([0.5, 0.52, 0.56]),
    ground_colour_3=floats([0.28, 0.26, 0.24]),
)
"""A key light from above the person's left, so that folds show."""

_BACKDROP = floats([0.25, 0.27, 0.3])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--face-model", type=Path, required=True)
    parser.add_argument("--recipe", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    settings = SetSettings.from_recipe(load_recipe(args.recipe), where=str(args.recipe))
    stage = Stage(Surface.of(load_face_model(args.face_model)), atlas_px=settings.video.atlas_px)
    num_shapes = len(stage.surface.identity_KV3)
    name, part = next(iter(settings.parts.items()))
    numbers = range(part.first_identity, part.first_identity + min(part.identities, 40))
    people = [make_person(settings, name, number, num_identity_shapes=num_shapes) for number in numbers]
    args.out.mkdir(parents=True, exist_ok=True)
    units = unit_sheet(stage, models(people), units=UNIT_NUMBERS, size_px=224)
    cv2.imwrite(str(args.out / "people.png"), people_sheet(stage, people, columns=8, size_px=192)[..., ::-1])
    cv2.imwrite(str(args.out / "units.png"), units[..., ::-1])


def people_sheet(stage: Stage, people: Sequence[Person], *, columns: int, size_px: int) -> Picture:
    """Everybody's neutral face, a little turned this way and that."""
    pictures = []
    for number, person in enumerate(people):
        turned = Moment(neutral_moment().intensity_A2, yaw_degrees=(-22.0, 0.0, 22.0)[number % 3])
        pictures.append(_portrait(Body(stage, person), turned, half_height_cm=16.0, size_px=size_px))
    return _grid(pictures, columns=columns)


def models(people: Sequence[Person]) -> tuple[Person, Person]:
    """Who shows the units: a lighter and a darker one, without covering, beard or glasses if possible."""
    plain = [person for person in people if person.hair_style not in COVERED and not person.beard]
    by_skin = sorted(
        [person for person in plain if not person.glasses] or people, key=lambda person: -person.skin.sum()
    )
    return by_skin[len(by_skin) // 5], by_skin[-1 - len(by_skin) // 5]


def unit_sheet(stage: Stage, people: Sequence[Person], *, units: Sequence[int], size_px: int) -> Picture:
    """A row a unit and person: intensity 0 to 5, then 5 on the left side alone or, without sides, turned."""
    bodies = [Body(stage, person) for person in people]
    pictures = []
    for unit, body in itertools.product(units, bodies):
        name = ACTION_UNITS[unit].column
        for step in range(6):
            moment = _moment(unit, step, step)
            pictures.append(_captioned(body, moment, f"{name} {step}", size_px=size_px))
        if RENDERED_UNITS[unit].unilateral:
            pictures.append(_captioned(body, _moment(unit, 5, 0), f"{name} left", size_px=size_px))
        else:
            turned = replace(_moment(unit, 5, 5), yaw_degrees=35.0)
            pictures.append(_captioned(body, turned, f"{name} turned", size_px=size_px))
    return _grid(pictures, columns=7)


def _moment(unit: int, left: float, right: float) -> Moment:
    moment = neutral_moment()
    moment.intensity_A2[UNIT_NUMBERS.index(unit)] = (left, right)
    return moment


def _captioned(body: Body, moment: Moment, caption: str, *, size_px: int) -> Picture:
    picture = _portrait(body, moment, half_height_cm=9.5, size_px=size_px)
    cv2.putText(picture, caption, (4, 16), cv2.FONT_HERSHEY_SIMPLEX, 0.45, (255, 255, 255), 1)
    return picture


def _portrait(body: Body, moment: Moment, *, half_height_cm: float, size_px: int) -> Picture:
    camera = Camera(half_height_cm=half_height_cm, centre_xy_cm=(0.0, 0.0 if half_height_cm < 12 else -0.5))
    head = draw_head(body, moment, SHEET_LIGHT, camera, size_px=size_px, supersampling=2)
    return develop(head.colour_SS3 + (1 - head.coverage_SS[..., None]) * _BACKDROP).astype(np.uint8)


def _grid(pictures: list[Picture], *, columns: int) -> Picture:
    while len(pictures) % columns:
        pictures.append(np.zeros_like(pictures[0]))
    rows = [np.hstack(pictures[at : at + columns]) for at in range(0, len(pictures), columns)]
    return np.vstack(rows)


if __name__ == "__main__":
    main()
