"""Light on the vertices of a body: a key light, a fill light and a sky, with soft shadows of the head."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mien_render.arrays import Floats, Ints, compiled, floats

WRAP = 0.18  # how far light creeps round an edge, as it does in skin
TRIED_DIRECTIONS = 8  # of the nearest directions whose shadows are blended


@dataclass(frozen=True)
class Light:
    """A key light, a fill light and a sky; directions point to the light, colours are linear."""

    key_direction_3: Floats
    key_colour_3: Floats
    fill_direction_3: Floats
    fill_colour_3: Floats
    sky_colour_3: Floats
    ground_colour_3: Floats

    @property
    def half_way_3(self) -> Floats:
        """Between the key light and the camera: a surface that faces there shines."""
        half = self.key_direction_3 + floats([0, 0, 1])
        return floats(half / np.linalg.norm(half))


@dataclass(frozen=True)
class Shadows:
    """How far each of V vertices is seen from D directions of the resting head, 0 to 1."""

    directions_D3: Floats
    visibility_DV: Floats
    openness_V: Floats  # mean over all directions

    @classmethod
    def of(cls, directions_D3: Floats, visibility_DV: Floats) -> Shadows:
        """With the mean worked out."""
        return cls(directions_D3, visibility_DV, visibility_DV.mean(axis=0))

    def seen_from(self, towards_3: Floats) -> Floats:
        """Visibility (V,) from any direction, blended from the nearest that were tried."""
        closeness_D = self.directions_D3 @ towards_3
        nearest_K = np.argsort(-closeness_D, kind="stable")[:TRIED_DIRECTIONS].astype(np.int32)
        weights_K = np.exp(22 * (closeness_D[nearest_K] - closeness_D[nearest_K[0]]))
        seen_V = np.zeros(self.visibility_DV.shape[1], dtype=np.float32)
        _blend(self.visibility_DV, nearest_K, floats(weights_K / weights_K.sum()), seen_V)
        return seen_V


def illuminate(
    normal_V3: Floats, gloss_V: Floats, shadows: Shadows, light: Light, *, head_33: Floats
) -> Floats:
    """Diffuse light (red, green, blue) and strength of the highlight of every vertex: (V, 4).

    The first vertices are those of `shadows`; what comes after them (hair, glasses) has no shadow.
    """
    key_V = shadows.seen_from(light.key_direction_3 @ head_33)
    fill_V = shadows.seen_from(light.fill_direction_3 @ head_33)
    directions_33 = np.stack([light.key_direction_3, light.fill_direction_3, light.half_way_3])
    colours_43 = np.stack(
        [light.key_colour_3, light.fill_colour_3, light.sky_colour_3, light.ground_colour_3]
    )
    light_V4 = np.empty((len(normal_V3), 4), dtype=np.float32)
    _light_vertices(
        normal_V3,
        gloss_V,
        key_V,
        fill_V,
        shadows.openness_V,
        floats(directions_33),
        floats(colours_43),
        light_V4,
    )
    return light_V4


@compiled
def _blend(visibility_DV: Floats, nearest_K: Ints, weights_K: Floats, seen_V: Floats) -> None:
    for at in range(nearest_K.shape[0]):
        row, weight = nearest_K[at], weights_K[at]
        for vertex in range(seen_V.shape[0]):
            seen_V[vertex] += weight * visibility_DV[row, vertex]


@compiled
def _light_vertices(  # noqa: PLR0917 -- compiled: arrays only
    normal_V3: Floats,
    gloss_V: Floats,
    key_V: Floats,
    fill_V: Floats,
    openness_V: Floats,
    directions_33: Floats,
    colours_43: Floats,
    light_V4: Floats,
) -> None:
    one, none, half, wrap = np.float32(1), np.float32(0), np.float32(0.5), np.float32(WRAP)
    num_shadowed = key_V.shape[0]
    for vertex in range(normal_V3.shape[0]):
        x, y, z = normal_V3[vertex, 0], normal_V3[vertex, 1], normal_V3[vertex, 2]
        key = directions_33[0, 0] * x + directions_33[0, 1] * y + directions_33[0, 2] * z
        fill = directions_33[1, 0] * x + directions_33[1, 1] * y + directions_33[1, 2] * z
        shine = directions_33[2, 0] * x + directions_33[2, 1] * y + directions_33[2, 2] * z
        key = max((key + wrap) / (one + wrap), none)
        fill = max((fill + wrap) / (one + wrap), none)
        openness = one
        if vertex < num_shadowed:
            key *= key_V[vertex]
            fill *= fill_V[vertex]
            openness = openness_V[vertex]
        sky, ground = (half + half * y) * openness, (half - half * y) * openness
        for channel in range(3):
            light_V4[vertex, channel] = (
                key * colours_43[0, channel]
                + fill * colours_43[1, channel]
                + sky * colours_43[2, channel]
                + ground * colours_43[3, channel]
            )
        square = max(shine, none) ** 2
        fourth = square * square
        light_V4[vertex, 3] = gloss_V[vertex] * fourth * fourth * fourth * square * key
