"""One rendered person: everything that stays the same over all of their videos, drawn from a generator."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mien_render.actions import UNIT_NUMBERS
from mien_render.arrays import Floats, floats

HAIR_STYLES = ("bald", "shaved", "short", "medium", "long", "afro", "cap", "scarf")

# sRGB anchors from the lightest to the darkest human skin
_SKIN_TONES = floats([
    (226, 182, 160), (216, 168, 140), (198, 146, 112), (170, 120, 88),
    (138, 94, 66), (102, 67, 48), (70, 46, 35),
])  # fmt: skip
_IRISES = floats([(74, 46, 26), (54, 34, 22), (110, 78, 42), (96, 104, 62), (92, 120, 138), (120, 134, 142)])
_IRIS_SHARES = (0.36, 0.26, 0.13, 0.09, 0.1, 0.06)
_HAIRS = floats([(22, 18, 16), (44, 30, 22), (84, 56, 36), (150, 110, 62), (132, 62, 32), (150, 148, 146)])
_DARK_SHARES = (0.62, 0.26, 0.05, 0.01, 0.01, 0.05)
_LIGHT_SHARES = (0.14, 0.28, 0.26, 0.15, 0.07, 0.1)


@dataclass(frozen=True)
class PeopleSettings:
    """How people differ."""

    identity_spread: float = 1.0  # standard deviation of an identity shape's weight
    identity_bound: float = 2.2  # weights are clipped there
    glasses_share: float = 0.12
    covering_share: float = 0.12
    beard_share: float = 0.3
    freckles_share: float = 0.18
    gain_spread: float = 0.12  # of the action units' strength between people
    asymmetry_spread: float = 0.1

    def __post_init__(self) -> None:
        for name in ("glasses_share", "covering_share", "beard_share", "freckles_share"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} = {getattr(self, name)}: a share lies between 0 and 1")


@dataclass(frozen=True)
class Person:
    """Shape, colours (sRGB 0-1), hair and habits of one person."""

    identity_K: Floats
    skin: Floats
    redness: float
    lip: Floats
    lip_fullness: float
    iris: Floats
    hair: Floats
    hair_style: str
    hairline_cm: float
    hair_tilt: float
    hair_recess_cm: float
    hair_fringe_cm: float
    hair_thickness_cm: float
    hair_length_cm: float
    covering: Floats
    covering_cm: float  # how far it stands off the crown
    brim_cm: float  # of a cap; 0 without
    brow_height_cm: float
    brow_thickness_cm: float
    brow_arch_cm: float
    brow_density: float
    lash_density: float
    beard: float  # 0 none, 0.5 stubble, 1 full
    freckles: float
    wrinkle_depth: float  # of the folds that come with action units
    age_lines: float  # folds that are always there
    eye_makeup: float
    clothes: Floats
    neckline_cm: float
    glasses: bool
    glasses_frame: Floats
    glasses_shape: Floats  # half width, half height in cm, squareness, tube radius in cm
    unit_gain_A2: Floats
    resting_A: Floats  # excursion of each unit at rest, 0 to about 0.1
    texture_seed: int


def draw_person(random: np.random.Generator, settings: PeopleSettings, *, num_identity_shapes: int) -> Person:
    """A person; the same generator state gives the same person."""
    darkness = random.uniform(0, 1)
    skin = _between(_SKIN_TONES, darkness) + random.normal(0, 0.012, 3).astype(np.float32)
    feminine = random.uniform() < 0.5
    beard = 0.0 if feminine or random.uniform() > 2 * settings.beard_share else float(random.uniform(0.3, 1))
    hair = _pick(random, _HAIRS, _DARK_SHARES if darkness > 0.45 else _LIGHT_SHARES)
    rosy = _between(floats([(196, 112, 104), (170, 98, 88), (96, 52, 48)]), darkness)
    makeup = float(random.uniform(0.3, 1)) if feminine and random.uniform() < 0.45 else 0.0
    lip = 0.55 * rosy + 0.45 * skin + makeup * (_lipstick(random) - 0.6 * skin) * 0.6
    style = _hair_style(random, settings, feminine=feminine)
    num_units = len(UNIT_NUMBERS)
    irises = (_IRISES[:3], None) if darkness > 0.6 else (_IRISES, _IRIS_SHARES)
    lids = np.isin(UNIT_NUMBERS, (43, 45))  # everybody can close their eyes; at rest they are open
    parts_lips = np.isin(UNIT_NUMBERS, (9, 10, 22, 25, 26, 27))  # lips rest on each other
    gain = np.clip(random.normal(1, settings.gain_spread, (num_units, 1)), 0.75, 1.2)
    lean = np.clip(random.normal(0, settings.asymmetry_spread, (num_units, 1)), -0.2, 0.2)
    return Person(
        identity_K=_clipped_normal(random, num_identity_shapes, settings),
        skin=np.clip(skin, 0.02, 1),
        redness=float(random.uniform(0.2, 1)),
        lip=np.clip(lip, 0.05, 0.95).astype(np.float32),
        lip_fullness=float(random.uniform(0.9, 1.05)),
        iris=_pick(random, *irises),
        hair=hair,
        hair_style=style,
        hairline_cm=float(random.normal(0, 0.6) + (0.0 if feminine else random.choice([0, 0, 0.5, 1.5]))),
        hair_tilt=float(np.clip(random.normal(0, 0.14), -0.3, 0.3)),
        hair_recess_cm=float(random.uniform(-0.6, 0.6) if feminine else random.uniform(-0.3, 1.8)),
        hair_fringe_cm=float(random.uniform(0, 0.35)),
        hair_thickness_cm=float(random.uniform(0.8, 1.2)),
        hair_length_cm=float(random.uniform(6, 18)),
        covering=_muted(random),
        covering_cm=float(random.uniform(0.35, 2.2)),
        brim_cm=float(random.uniform(3.5, 6.0)) if random.uniform() < 0.45 else 0.0,
        brow_height_cm=float(np.clip(random.normal(0, 0.1), -0.2, 0.2)),
        brow_thickness_cm=float(random.uniform(0.42, 0.7) if feminine else random.uniform(0.55, 0.95)),
        brow_arch_cm=float(random.uniform(0.45, 0.85)),
        brow_density=float(random.uniform(0.55, 0.95)),
        lash_density=float(random.uniform(0.3, 0.7) + 0.3 * makeup),
        beard=beard,
        freckles=float(random.uniform(0.3, 1)) if random.uniform() < settings.freckles_share else 0.0,
        wrinkle_depth=float(random.uniform(0.55, 1.25)),
        age_lines=float(random.uniform(0, 0.5) ** 1.5),
        eye_makeup=makeup * float(random.uniform(0, 0.8)),
        clothes=_muted(random),
        neckline_cm=float(random.uniform(-14.5, -11)),
        glasses=bool(random.uniform() < settings.glasses_share),
        glasses_frame=(random.uniform(0.02, 0.35) * random.uniform(0.4, 1, 3)).astype(np.float32),
        glasses_shape=random.uniform([2.2, 1.5, 2.0, 0.1], [2.6, 2.2, 4.0, 0.2]).astype(np.float32),
        unit_gain_A2=floats(np.where(lids[:, None], 1, np.hstack([gain * (1 + lean), gain * (1 - lean)]))),
        resting_A=floats(np.where(lids | parts_lips, 0, random.normal(0, 0.035, num_units).clip(0, 0.1))),
        texture_seed=int(random.integers(2**31)),
    )


def _clipped_normal(random: np.random.Generator, count: int, settings: PeopleSettings) -> Floats:
    weights = random.normal(0, settings.identity_spread, count)
    return np.clip(weights, -settings.identity_bound, settings.identity_bound).astype(np.float32)


def _hair_style(random: np.random.Generator, settings: PeopleSettings, *, feminine: bool) -> str:
    if random.uniform() < settings.covering_share:
        return "scarf" if feminine and random.uniform() < 0.6 else "cap"
    shares = (0.01, 0.04, 0.15, 0.25, 0.48, 0.07) if feminine else (0.08, 0.2, 0.42, 0.18, 0.05, 0.07)
    return str(random.choice(HAIR_STYLES[:6], p=shares))


def _between(anchors_N3: Floats, position: float) -> Floats:
    at = np.linspace(0, 1, len(anchors_N3))
    mixed = [np.interp(position, at, anchors_N3[:, channel]) for channel in range(3)]
    return floats(mixed) / np.float32(255)


def _pick(random: np.random.Generator, colours_N3: Floats, shares: tuple[float, ...] | None) -> Floats:
    colour = colours_N3[random.choice(len(colours_N3), p=shares)] / 255
    return floats(np.clip(colour * random.uniform(0.85, 1.2), 0.02, 1))


def _muted(random: np.random.Generator) -> Floats:
    """The colour of a cloth: any brightness, seldom vivid."""
    grey, colour = random.uniform(0.05, 0.85), random.uniform(0.03, 0.85, 3)
    vivid = random.uniform(0.05, 0.7)
    return (grey * (1 - vivid) + colour * vivid).astype(np.float32)


def _lipstick(random: np.random.Generator) -> Floats:
    return _between(floats([(190, 60, 70), (150, 30, 45), (200, 110, 110)]), random.uniform(0, 1))
