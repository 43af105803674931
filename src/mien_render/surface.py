"""What drawing needs of a face model, worked out once: drawn parts, atlas, landmarks, soft shadows."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy.ndimage
from numpy.typing import NDArray

from mien_render import anatomy
from mien_render.arrays import Floats, Ints, floats
from mien_render.deform import vertex_normals
from mien_render.face_model import FaceModel
from mien_render.light import Shadows
from mien_render.rasterise import draw_flat, view_triangles

DRAWN_MATERIALS = ("M_Face", "M_BackHead", "M_ScleraLeft", "M_ScleraRight", "M_Teeth", "M_GumsTongue")

INSIDE_MOUTH = ("M_Teeth", "M_GumsTongue")
EYEBALLS = ("M_ScleraLeft", "M_ScleraRight")


@dataclass(frozen=True)
class Tile:
    """A square of the texture atlas, in fractions of the atlas' side from its top left corner."""

    left: float
    top: float
    side: float

    def place(self, uv_N2: Floats) -> Floats:
        """UVs (v up) of the tile's own square -> atlas coordinates (down)."""
        inside = np.clip(uv_N2, 0, 1)
        return np.stack(
            [self.left + inside[:, 0] * self.side, self.top + (1 - inside[:, 1]) * self.side], axis=1
        ).astype(np.float32)

    def region(self, atlas_px: int) -> tuple[slice, slice]:
        """Rows and columns of an atlas of that many pixels."""
        left, top, side = (round(value * atlas_px) for value in (self.left, self.top, self.side))
        return slice(top, top + side), slice(left, left + side)


TILES = {
    "M_Face": Tile(0.0, 0.0, 0.75),
    "M_BackHead": Tile(0.75, 0.0, 0.25),
    "M_ScleraLeft": Tile(0.75, 0.25, 0.25),
    "M_ScleraRight": Tile(0.75, 0.5, 0.25),
    "M_Teeth": Tile(0.0, 0.75, 0.25),
    "M_GumsTongue": Tile(0.25, 0.75, 0.25),
    "hair": Tile(0.5, 0.75, 0.125),
    "covering": Tile(0.625, 0.75, 0.125),
    "glasses": Tile(0.5, 0.875, 0.125),
}


@dataclass(frozen=True)
class Surface:
    """The drawn mesh: V vertices, C corners (a vertex with one place in the atlas), T triangles."""

    neutral_V3: Floats
    identity_KV3: Floats
    expression_EV3: Floats
    expression_number: dict[str, int]
    triangles_T3: Ints  # of vertices
    corners_T3: Ints  # of corners
    corner_vertex_C: Ints
    corner_atlas_C2: Floats
    material_T: NDArray[np.str_]
    material_V: NDArray[np.str_]
    normals_V3: Floats  # of the neutral face
    landmark_vertices: dict[str, int]
    shadows: Shadows

    @classmethod
    def of(cls, model: FaceModel) -> Surface:
        """Drawn materials only; the lashes, opaque cards in the model, are painted on the lids instead."""
        drawn = np.zeros(len(model.triangles_T3), dtype=bool)
        for name in DRAWN_MATERIALS:
            drawn |= model.material(name)
        used, triangles = np.unique(model.triangles_T3[drawn], return_inverse=True)
        triangles_T3 = triangles.reshape(-1, 3).astype(np.int32)
        material_T = np.array(model.material_names)[model.triangle_material_T[drawn]]
        corner_vertex, corner_atlas, corners_T3 = _corners(
            triangles_T3, model.triangles_uv_T3[drawn], model.uv_U2, material_T
        )
        neutral_V3 = model.neutral_V3[used]
        material_V = np.empty(len(used), dtype=material_T.dtype)
        material_V[triangles_T3.reshape(-1)] = material_T.repeat(3)
        directions = _hemisphere(42)
        return cls(
            neutral_V3=neutral_V3,
            identity_KV3=np.ascontiguousarray(model.identity_KV3[:, used], dtype=np.float32),
            expression_EV3=np.ascontiguousarray(model.expression_EV3[:, used], dtype=np.float32),
            expression_number=model.expression_number,
            triangles_T3=triangles_T3,
            corners_T3=corners_T3,
            corner_vertex_C=corner_vertex,
            corner_atlas_C2=corner_atlas,
            material_T=material_T,
            material_V=material_V,
            normals_V3=vertex_normals(neutral_V3, triangles_T3),
            landmark_vertices={
                name: int(np.searchsorted(used, model.nearest_vertex(point)))
                for name, point in _LANDMARKS.items()
            },
            shadows=Shadows.of(directions, _visibility(neutral_V3, triangles_T3, material_V, directions)),
        )

    def texel_positions(self, material: str, *, size_px: int) -> Floats:
        """Neutral position in cm of every texel of a material's tile: (size, size, 3).

        A texel that no triangle covers has the position of the nearest one that is covered.
        """
        tile = TILES[material]
        chosen = self.material_T == material
        offset = floats([tile.left, tile.top])
        uv = (self.corner_atlas_C2 - offset) / np.float32(tile.side)
        uv[:, 1] = 1 - uv[:, 1]
        low, high = self.neutral_V3.min(axis=0), self.neutral_V3.max(axis=0)
        scaled = ((self.neutral_V3 - low) / (high - low)).astype(np.float32)
        drawn, covered = draw_flat(uv, self.corners_T3[chosen], scaled[self.corner_vertex_C], size_px=size_px)
        nearest = scipy.ndimage.distance_transform_edt(~covered, return_distances=False, return_indices=True)
        at: Floats = (drawn * (high - low) + low)[tuple(nearest)]
        return at


def _mirrored(point: tuple[float, float, float]) -> tuple[float, float, float]:
    return (-point[0], point[1], point[2])


_LANDMARKS = {
    "outer_eye_L": anatomy.EYE_CORNERS_CM[0],
    "inner_eye_L": anatomy.EYE_CORNERS_CM[1],
    "outer_eye_R": _mirrored(anatomy.EYE_CORNERS_CM[0]),
    "inner_eye_R": _mirrored(anatomy.EYE_CORNERS_CM[1]),
    "nose_tip": anatomy.NOSE_TIP_CM,
    "mouth_L": anatomy.MOUTH_CORNER_CM,
    "mouth_R": _mirrored(anatomy.MOUTH_CORNER_CM),
}


def _corners(
    triangles_T3: Ints, triangles_uv_T3: Ints, uv_U2: Floats, material_T: NDArray[np.str_]
) -> tuple[Ints, Floats, Ints]:
    names, material = np.unique(material_T, return_inverse=True)
    keys = np.stack(
        [triangles_T3.reshape(-1), triangles_uv_T3.reshape(-1), material.astype(np.int32).repeat(3)], axis=1
    )
    corners_C3, inverse = np.unique(keys, axis=0, return_inverse=True)
    uv_C2 = uv_U2[corners_C3[:, 1]]
    uv_C2 = uv_C2 - np.floor(np.minimum(uv_C2, np.nextafter(np.ceil(uv_C2), -1)))
    atlas = np.empty((len(corners_C3), 2), dtype=np.float32)
    for number, name in enumerate(names):
        chosen = corners_C3[:, 2] == number
        atlas[chosen] = TILES[str(name)].place(uv_C2[chosen].astype(np.float32))
    return (corners_C3[:, 0].astype(np.int32), atlas, inverse.reshape(-1, 3).astype(np.int32))


def _hemisphere(count: int) -> Floats:
    """Directions spread over the front and the sides of the head, by the golden angle; (count, 3), unit."""
    index = np.arange(count) + 0.5
    z = 1 - 1.5 * index / count  # from straight ahead to 30 degrees behind
    angle = index * np.pi * (3 - np.sqrt(5))
    radius = np.sqrt(1 - z**2)
    return np.stack([radius * np.cos(angle), radius * np.sin(angle), z], axis=1).astype(np.float32)


def _visibility(
    neutral_V3: Floats, triangles_T3: Ints, material_V: NDArray[np.str_], directions_D3: Floats
) -> Floats:
    """How far each vertex is seen from each direction, by depth maps of the neutral face."""
    inside = np.isin(material_V, INSIDE_MOUTH)
    solid = triangles_T3[~inside[triangles_T3[:, 0]]]
    rows = [_seen_from(neutral_V3, solid, direction) for direction in directions_D3]
    visibility_DV = np.stack(rows)
    depth_V = np.interp(neutral_V3[:, 2], [6.0, 10.5], [0.03, 1.0])
    visibility_DV[:, inside] = (np.where(material_V == "M_Teeth", 0.5, 0.25) * depth_V)[inside]
    return visibility_DV.astype(np.float32)


def _seen_from(vertices_V3: Floats, triangles_T3: Ints, direction_3: Floats, *, size_px: int = 192) -> Floats:
    distance, half_height = 250.0, 24.0
    forward = -direction_3
    right = np.cross(forward, [0.0, 1.0, 0.0] if abs(direction_3[1]) < 0.95 else [0.0, 0.0, 1.0])
    right /= np.linalg.norm(right)
    axes = np.stack([right, np.cross(right, forward), -forward]).astype(np.float32)
    camera = floats((vertices_V3 - floats(anatomy.HEAD_CENTRE_CM)) @ axes.T)
    camera[:, 2] -= distance
    view = view_triangles(
        camera, triangles_T3, size_px=size_px, field_of_view_radians=2 * np.arctan(half_height / distance)
    )
    depth = view.depth_SS
    column, row = np.clip(view.screen_N3[:, :2].astype(int), 1, size_px - 2).T
    hidden = [
        -camera[:, 2] - depth[row + down, column + along] > 0.45
        for down in (-1, 0, 1)
        for along in (-1, 0, 1)
    ]
    return floats(1 - np.mean(hidden, axis=0))
