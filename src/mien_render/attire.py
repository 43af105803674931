"""What people wear on their heads beside the model's mesh: hair that falls, glasses; small meshes in cm."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mien_render import anatomy
from mien_render.anatomy import smoothstep
from mien_render.arrays import Floats, Ints, floats
from mien_render.paint import covering_mask
from mien_render.person import Person
from mien_render.surface import TILES

_VOLUME_CM = {"bald": 0.0, "shaved": 0.06, "short": 0.5, "medium": 1.1, "long": 0.8, "afro": 3.6}


@dataclass(frozen=True)
class Part:
    """A mesh that is added to the model's: positions on the neutral face, atlas coordinates."""

    vertices_V3: Floats
    triangles_T3: Ints
    atlas_V2: Floats


def hair_height(position_V3: Floats, person: Person, material_V: NDArray[np.str_]) -> Floats:
    """How far hair or a covering stands off the head, along the normal: (V,) in cm."""
    body = np.isin(material_V, ("M_Face", "M_BackHead")) & (anatomy.mouth_inside_mask(position_V3) < 0.5)
    if person.hair_style in ("cap", "scarf"):
        crown = 0.4 + person.covering_cm * smoothstep(6.0, 13.0, position_V3[:, 1])
        height = crown * covering_mask(position_V3, person) * smoothstep(-16, -9, position_V3[:, 1])
    else:
        mask = anatomy.scalp_mask(
            position_V3,
            hairline_cm=person.hairline_cm,
            tilt=person.hair_tilt,
            recess_cm=person.hair_recess_cm,
            fringe_cm=person.hair_fringe_cm,
            softness_cm=0.9,
        )
        crown = 0.45 + 0.55 * smoothstep(2.0, 9.0, position_V3[:, 1])
        crown *= 1 - smoothstep(6.0, 6.8, np.abs(position_V3[:, 0])) * smoothstep(5.0, 3.8, position_V3[:, 1])
        locks = 1 + 0.25 * np.sin(1.3 * position_V3 + person.texture_seed % 97).prod(axis=1)
        height = _VOLUME_CM[person.hair_style] * person.hair_thickness_cm * mask * crown * locks
    return np.where(body, height, 0).astype(np.float32)


def parts(person: Person) -> list[Part]:
    """The added meshes of a person, in neutral coordinates of the mean face."""
    added = []
    if person.hair_style == "long":
        added.append(_curtain(person))
    if person.hair_style == "scarf":
        added.append(_shawl())
    if person.hair_style == "cap" and person.brim_cm:
        added.append(_brim(person))
    if person.glasses:
        added.extend(_glasses(person))
    return added


def _curtain(person: Person) -> Part:
    """Hair that falls beside and behind the head, down to `hair_length_cm` below the ears."""
    a, t = np.meshgrid(np.linspace(-np.radians(112), np.radians(112), 36), np.linspace(0, 1, 14))
    top, bottom = 8.5, 1.0 - person.hair_length_cm
    wave = 0.25 * np.sin(9 * a + person.texture_seed % 7) + 0.2 * np.sin(23 * a)
    spread = 0.35 + 1.2 * np.sin(np.pi * np.clip(t, 0, 0.75)) - 0.5 * t
    x = (8.1 + spread + wave * t) * np.sin(a)
    z = 0.6 - (9.0 + spread + wave * t) * np.cos(a) * (1 - 0.35 * t)
    y = top + (bottom - top) * t + 0.8 * wave * t
    atlas = np.stack([(a - a.min()) / (a.max() - a.min()), t], axis=-1)
    return _two_sided(np.stack([x, y, z], axis=-1), atlas, tile="hair")


def _shawl() -> Part:
    """What of a scarf falls from the head over ears and neck to the shoulders, open over the face."""
    u, t = np.meshgrid(np.linspace(-1, 1, 40), np.linspace(0, 1, 14))
    a = u * np.radians(118 + 38 * smoothstep(0.35, 0.75, t))  # under the chin it closes
    spread = -0.8 + 1.7 * smoothstep(0, 0.2, t) + 1.2 * np.sin(np.pi * np.clip(t, 0, 0.8))
    spread = spread + 5 * smoothstep(0.75, 1.0, t)
    folds = 0.2 * np.sin(8 * u + 3 * t) * t
    x = (8.1 + spread + folds) * np.sin(a) * (1 - 0.3 * smoothstep(0.4, 0.75, t) * (np.abs(u) > 0.5))
    z = 0.6 - (9.0 + spread + folds) * np.cos(a) * (1 - 0.35 * smoothstep(0.35, 0.75, t))
    y = 8.5 - 25 * t
    return _two_sided(np.stack([x, y, z], axis=-1), np.stack([(u + 1) / 2, t], axis=-1), tile="covering")


def _brim(person: Person) -> Part:
    """The brim of a cap, before the forehead."""
    a, out = np.meshgrid(np.linspace(-np.radians(62), np.radians(62), 21), np.linspace(0, 1, 6))
    reach = person.brim_cm * out * np.cos(a * 0.9)
    x, z = (7.6 + 0.5 * out) * np.sin(a), 2.9 + 8.2 * np.cos(a) + reach
    y = 7.0 + 0.3 * person.hairline_cm - 0.3 * out * person.brim_cm * 0.7 + 0.6 * np.cos(a) - 0.4
    uv = np.stack([(a - a.min()) / (a.max() - a.min()), out], axis=-1)
    return _two_sided(np.stack([x, y, z], axis=-1), uv, tile="covering")


def _two_sided(grid_RC3: NDArray[np.floating], uv_RC2: NDArray[np.floating], *, tile: str) -> Part:
    """A sheet of cloth or hair over a grid, with an inner side a little nearer to the head."""
    rows, columns = grid_RC3.shape[:2]
    vertices = floats(grid_RC3.reshape(-1, 3))
    front = _grid_triangles(rows, columns, closed=False)
    triangles = np.concatenate([front, front[:, ::-1] + len(vertices)])
    uv = TILES[tile].place(floats(uv_RC2.reshape(-1, 2)))
    return Part(np.concatenate([vertices, vertices * 0.995]), triangles, np.concatenate([uv, uv]))


def _glasses(person: Person) -> list[Part]:
    half_width, half_height, squareness, radius = (float(value) for value in person.glasses_shape)
    angle = np.linspace(0, 2 * np.pi, 29)[:-1]
    made = []
    for side in (1.0, -1.0):
        cosine, sine = np.cos(angle), np.sin(angle)
        x = 3.25 + half_width * np.sign(cosine) * np.abs(cosine) ** (2 / squareness)
        y = 3.1 + half_height * np.sign(sine) * np.abs(sine) ** (2 / squareness)
        z = 12.0 - 0.03 * x**2
        made.append(_tube(np.stack([side * x, y, z], axis=1), radius, closed=True))
        hinge = 3.25 + half_width
        arm = [(hinge, 3.9, 11.6), (7.6, 3.9, 7.0), (8.3, 3.8, 1.0), (8.4, 2.8, -2.0)]
        made.append(_tube(floats(arm) * floats([side, 1, 1]), radius, closed=False))
    inner = 3.25 - half_width
    bridge = floats([(-inner, 3.5, 11.9), (0, 3.75, 12.3), (inner, 3.5, 11.9)])
    made.append(_tube(bridge, radius, closed=False))
    return made


def _tube(path_N3: Floats, radius_cm: float, *, closed: bool) -> Part:
    """A tube of six sides along a path."""
    ahead = np.roll(path_N3, -1, axis=0) - np.roll(path_N3, 1, axis=0)
    if not closed:
        ahead[0], ahead[-1] = path_N3[1] - path_N3[0], path_N3[-1] - path_N3[-2]
    ahead /= np.linalg.norm(ahead, axis=1, keepdims=True)
    side = np.cross(ahead, floats([0.3, 0.2, 1.0]))
    side /= np.linalg.norm(side, axis=1, keepdims=True)
    up = np.cross(side, ahead)
    around = np.linspace(0, 2 * np.pi, 7)[:-1]
    ring = [np.cos(angle) * side + np.sin(angle) * up for angle in around]
    vertices = np.stack([path_N3 + radius_cm * offset for offset in ring], axis=1).reshape(-1, 3)
    rows = len(path_N3) + int(closed)
    triangles = _grid_triangles(rows, 7, closed=True, num_rows=len(path_N3))
    uv = TILES["glasses"].place(np.full((len(vertices), 2), 0.5, dtype=np.float32))
    return Part(vertices.astype(np.float32), triangles, uv)


def _grid_triangles(rows: int, columns: int, *, closed: bool, num_rows: int | None = None) -> Ints:
    """Two triangles a cell of a grid of vertices; `closed` joins the last column to the first."""
    width = columns - 1 if closed else columns
    height = num_rows or rows
    row, column = (
        axis.reshape(-1) for axis in np.meshgrid(range(rows - 1), range(columns - 1), indexing="ij")
    )
    here, right = column % width, (column + 1) % width
    a, b = (row % height) * width + here, (row % height) * width + right
    c, d = ((row + 1) % height) * width + here, ((row + 1) % height) * width + right
    return np.concatenate([np.stack([a, c, b], axis=1), np.stack([b, c, d], axis=1)]).astype(np.int32)
