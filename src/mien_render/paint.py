"""A person's texture: one atlas of linear albedo, painted as functions of neutral positions."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from mien_render import anatomy
from mien_render.anatomy import blob, smoothstep
from mien_render.arrays import Floats, floats
from mien_render.person import Person
from mien_render.surface import TILES, Surface

COVERED = ("cap", "scarf")
_BODY = ("M_Face", "M_BackHead")
FACE_TEXELS_PER_CM = 0.025  # of an atlas with a side of one texel; the median over ICT-FaceKit's face


def to_linear(srgb: Floats) -> Floats:
    """sRGB values 0-1 to linear light, by the power 2.2."""
    return np.power(np.clip(srgb, 0, 1), np.float32(2.2)).astype(np.float32)


@dataclass(frozen=True)
class Atlas:
    """A texture (size, size, 3) of linear albedo, and the same halved once and twice."""

    levels: tuple[Floats, ...]

    @classmethod
    def of(cls, texture: Floats) -> Atlas:
        """Each level is the mean of 2 x 2 texels of the one before."""
        levels = [texture]
        for _ in range(2):
            side = len(levels[-1]) // 2
            levels.append(floats(cv2.resize(levels[-1], (side, side), interpolation=cv2.INTER_AREA)))
        return cls(tuple(levels))

    def for_picture(self, px_per_cm: float) -> Floats:
        """The coarsest level that still has a texel of the face for every pixel."""
        fine_enough = [level for level in self.levels if len(level) * FACE_TEXELS_PER_CM >= px_per_cm]
        return fine_enough[-1] if fine_enough else self.levels[0]


class Painter:
    """Paints people; keeps the texel positions of the model, which are the same for everybody."""

    def __init__(self, surface: Surface, *, atlas_px: int) -> None:
        self.atlas_px = atlas_px
        self._positions = {
            name: surface.texel_positions(name, size_px=round(TILES[name].side * atlas_px))
            for name in (*_BODY, "M_ScleraLeft", "M_ScleraRight")
        }
        self.coarse_face_RR3 = np.ascontiguousarray(self._positions["M_Face"][::2, ::2])

    def paint(self, person: Person) -> Atlas:
        """The atlas of linear albedo."""
        random = np.random.default_rng(person.texture_seed)
        atlas = np.full((self.atlas_px, self.atlas_px, 3), 0.3, dtype=np.float32)
        for name in _BODY:
            self._fill(atlas, name, self._body(name, person, random))
        for name, side in (("M_ScleraLeft", 1.0), ("M_ScleraRight", -1.0)):
            self._fill(atlas, name, self._eyeball(name, person, side=side))
        self._fill(atlas, "M_GumsTongue", self._gums(random))
        self._fill(atlas, "M_Teeth", floats([0.62, 0.57, 0.47]))
        self._fill(atlas, "hair", _strands(random, self._size("hair"), to_linear(person.hair)))
        self._fill(atlas, "covering", _weave(random, self._size("covering"), to_linear(person.covering)))
        self._fill(atlas, "glasses", to_linear(person.glasses_frame))
        return Atlas.of(floats(cv2.GaussianBlur(atlas, (0, 0), 0.6)))

    def bare_face(self, person: Person) -> Floats:
        """Where hair and covering leave skin on every second texel of the face, 0 to 1: (R, R)."""
        position = self.coarse_face_RR3.reshape(-1, 3)
        hidden = covering_mask(position, person) if person.hair_style in COVERED else _scalp(position, person)
        return floats(1 - hidden).reshape(self.coarse_face_RR3.shape[:2])

    def _size(self, name: str) -> int:
        return round(TILES[name].side * self.atlas_px)

    def _fill(self, atlas: Floats, name: str, colour: Floats) -> None:
        rows, columns = TILES[name].region(self.atlas_px)
        atlas[rows, columns] = colour

    def _body(self, name: str, person: Person, random: np.random.Generator) -> Floats:
        position = self._positions[name]
        size = position.shape[0]
        position = position.reshape(-1, 3)
        colour = _skin(position, person, random, size)
        if name == "M_Face":
            colour = _face_features(colour, position, person, random, size)
        else:
            inside = anatomy.mouth_inside_mask(position)
            colour = _mix(colour, floats([0.09, 0.018, 0.016]), inside)
        colour = _hair_and_beard(colour, position, person, random, size)
        cloth = anatomy.clothes_mask(position, neckline_cm=person.neckline_cm)
        weave = 1 + 0.12 * _noise(random, size, 40)
        colour = _mix(colour, to_linear(person.clothes) * weave[:, None], cloth)
        return colour.reshape(size, size, 3)

    def _eyeball(self, name: str, person: Person, *, side: float) -> Floats:
        """White, iris and pupil by the angle from the eye's axis."""
        position = self._positions[name]
        centre = floats(anatomy.EYE_CENTRE_CM) * floats([side, 1, 1])
        direction = position - centre
        direction /= np.maximum(np.linalg.norm(direction, axis=-1, keepdims=True), 1e-6)
        degrees = np.degrees(np.arccos(np.clip(direction[..., 2], -1, 1)))
        around = np.arctan2(direction[..., 1], direction[..., 0])
        white = floats([0.66, 0.62, 0.58]) - floats([0, 0.07, 0.08]) * smoothstep(25, 60, degrees)[..., None]
        fibres = 1 + 0.18 * np.sin(around * 23 + 2 * np.sin(around * 7)) * smoothstep(9, 14, degrees)
        iris = to_linear(person.iris) * (fibres * (0.75 + 0.6 * smoothstep(11, 19, degrees)))[..., None]
        iris = _mix(iris, floats([0.01, 0.008, 0.007]), 0.75 * smoothstep(20.5, 24.0, degrees))
        eye = _mix(white, iris, smoothstep(25.0, 23.0, degrees))
        return _mix(eye, floats([0.003, 0.003, 0.003]), smoothstep(10.5, 9.0, degrees))

    def _gums(self, random: np.random.Generator) -> Floats:
        size = self._size("M_GumsTongue")
        colour = floats([0.26, 0.07, 0.065]) * (1 + 0.15 * _noise(random, size, 20)[:, None])
        return colour.reshape(size, size, 3)


def _skin(position_N3: Floats, person: Person, random: np.random.Generator, size: int) -> Floats:
    base = to_linear(person.skin)
    patches = 1 + 0.07 * _noise(random, size, 6)
    patches = patches + 0.05 * _noise(random, size, 24) + 0.03 * _noise(random, size, 110)
    colour = base * patches[:, None]
    flush = 0.9 * blob(position_N3, 4.3, -0.3, 1.8, 1.5) + 0.7 * blob(position_N3, 0.0, -0.2, 1.6, 0.9)
    flush = flush + 0.3 * blob(position_N3, 0.0, -6.5, 1.8, 1.0)
    red = base * floats([1.02, 0.66, 0.62])
    colour = _mix(colour, red, 0.5 * person.redness * flush)
    ring = blob(position_N3, 3.0, 2.4, 1.6, 0.55) * 0.4 + blob(position_N3, 1.5, 3.2, 0.7, 1.0) * 0.3
    return _mix(colour, base * floats([0.62, 0.5, 0.52]), ring)


def _face_features(
    colour: Floats, position_N3: Floats, person: Person, random: np.random.Generator, size: int
) -> Floats:
    base = to_linear(person.skin)
    if person.freckles:
        spots = smoothstep(1.5, 2.3, _noise(random, size, 110))
        where = blob(position_N3, 2.6, 0.6, 3.2, 1.8)
        colour = _mix(colour, base * floats([0.55, 0.42, 0.35]), person.freckles * spots * where)
    lid = blob(position_N3, 3.2, 4.4, 1.7, 0.55)
    colour = _mix(colour, base * floats([0.35, 0.28, 0.3]), 0.8 * person.eye_makeup * lid)
    colour = _mix(colour, floats([0.02, 0.015, 0.013]), _lid_margin(position_N3) * person.lash_density)
    lips = anatomy.lip_mask(position_N3, fullness=person.lip_fullness)
    streaks = 1 + 0.1 * _noise(random, size, 60)
    colour = _mix(colour, to_linear(person.lip) * streaks[:, None], 0.9 * lips)
    brow = anatomy.brow_mask(
        position_N3,
        height_cm=person.brow_height_cm,
        thickness_cm=person.brow_thickness_cm,
        arch_cm=person.brow_arch_cm,
    )
    hairs = person.brow_density * (0.9 + 0.12 * _noise(random, size, 150))
    return _mix(colour, to_linear(person.hair * 0.8), np.clip(brow * hairs, 0, 1))


def _lid_margin(position_N3: Floats) -> Floats:
    """The line of the lashes along both lids."""
    x, y = np.abs(position_N3[:, 0]), position_N3[:, 1]
    along = np.clip((x - 1.8) / 2.85, 0, 1)
    arc = np.maximum(np.sin(np.pi * along), 0)
    upper = 3.2 + 0.95 * arc**0.75 + 0.12 * (along - 0.5)
    lower = 3.18 - 0.36 * arc**0.8 - 0.1 * along
    near = 1.5 * np.exp(-(((y - upper) / 0.13) ** 2)) + 0.35 * np.exp(-(((y - lower) / 0.07) ** 2))
    inside: Floats = (near * smoothstep(1.9, 2.5, x) * smoothstep(4.95, 4.5, x)).astype(np.float32)
    return np.clip(inside, 0, 1) * (position_N3[:, 2] > 7)


def _hair_and_beard(
    colour: Floats, position_N3: Floats, person: Person, random: np.random.Generator, size: int
) -> Floats:
    if person.beard:
        stubble = np.clip(0.75 + 0.35 * _noise(random, size, 130), 0, 1)
        amount = anatomy.beard_mask(position_N3) * person.beard * stubble
        lips = anatomy.lip_mask(position_N3, fullness=person.lip_fullness)
        colour = _mix(colour, to_linear(person.hair * 0.85), amount * (1 - lips) * 0.85)
    cover = {"bald": 0.0, "shaved": 0.6}.get(person.hair_style, 0.97)
    texture = 1 + 0.2 * _noise(random, size, 110) + 0.25 * _noise(random, size, 30)
    if person.hair_style in COVERED:
        tint = to_linear(person.covering) * (1 + 0.1 * _noise(random, size, 70))[:, None]
        return _mix(colour, tint, covering_mask(position_N3, person))
    strands = to_linear(person.hair) * np.clip(texture, 0.3, 2)[:, None]
    return _mix(colour, strands, cover * _scalp(position_N3, person))


def _scalp(position_N3: Floats, person: Person) -> Floats:
    return anatomy.scalp_mask(
        position_N3,
        hairline_cm=person.hairline_cm,
        tilt=person.hair_tilt,
        recess_cm=person.hair_recess_cm,
        fringe_cm=person.hair_fringe_cm,
    )


def covering_mask(position_N3: Floats, person: Person) -> Floats:
    """What a cap or a scarf hides."""
    softness = 0.12
    if person.hair_style == "cap":
        y_line = 6.6 - 0.09 * (11 - position_N3[:, 2]) + 0.3 * person.hairline_cm
        return smoothstep(-softness, softness, position_N3[:, 1] - y_line)
    head = anatomy.scalp_mask(position_N3, hairline_cm=-0.8, softness_cm=softness)
    x, y, z = np.abs(position_N3[:, 0]), position_N3[:, 1], position_N3[:, 2]
    ears = smoothstep(-softness, softness, x - 6.9 - 0.02 * z) * (y < 8) * (z < 6)
    neck = smoothstep(softness, -softness, z - 5.0 + 0.25 * (y + 9)) * (y < 2) + (y < -9.8)
    return floats(np.clip(head + ears + neck, 0, 1))


def _mix(under: Floats, over: Floats, amount: Floats) -> Floats:
    amount = np.clip(amount, 0, 1)[..., None]
    return (under * (1 - amount) + over * amount).astype(np.float32)


def _noise(random: np.random.Generator, size: int, cells: int) -> Floats:
    """Smooth noise of about unit deviation with so many cells along the tile's side: (size * size,)."""
    grid = random.standard_normal((cells, cells)).astype(np.float32)
    interpolation = cv2.INTER_CUBIC if cells < size else cv2.INTER_AREA
    return floats(np.clip(cv2.resize(grid, (size, size), interpolation=interpolation), -3, 3).reshape(-1))


def _strands(random: np.random.Generator, size: int, colour: Floats) -> Floats:
    across = cv2.resize(random.standard_normal((1, size // 2)).astype(np.float32), (size, size))
    return floats(np.clip(colour * (1 + 0.4 * across[..., None]), 0, 1))


def _weave(random: np.random.Generator, size: int, colour: Floats) -> Floats:
    noise = _noise(random, size, size // 2).reshape(size, size)
    return np.clip(colour * (1 + 0.1 * noise[..., None]), 0, 1)
