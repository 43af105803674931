"""Light on a body and the picture of it: linear colour, coverage and the five points of the face."""

from __future__ import annotations

import functools
from dataclasses import dataclass

import cv2
import numpy as np

from mien.render import anatomy
from mien.render.arrays import Floats, floats
from mien.render.body import Body, Moment, Posed, rotation_matrix
from mien.render.rasterise import FAR_CM, rasterise
from mien.render.surface import TILES

_UP = floats([0, 1, 0])


@dataclass(frozen=True)
class Light:
    """A key light, a fill light and a sky; directions point to the light, colours are linear."""

    key_direction_3: Floats
    key_colour_3: Floats
    fill_direction_3: Floats
    fill_colour_3: Floats
    sky_colour_3: Floats
    ground_colour_3: Floats


@dataclass(frozen=True)
class Camera:
    """Where the camera is: in front of `centre_xy_cm`, so far away, with so wide a lens."""

    distance_cm: float = 110.0
    half_height_cm: float = 16.0  # of what is seen at the head's distance
    centre_xy_cm: tuple[float, float] = (0.0, -0.5)

    @property
    def field_of_view_radians(self) -> float:
        """Full angle, vertical."""
        return float(2 * np.arctan(self.half_height_cm / self.distance_cm))


@dataclass(frozen=True)
class HeadPicture:
    """Linear colour times coverage (S, S, 3), coverage (S, S) and points in px: eyes, nose, mouth corners.

    The points run as they are seen: left eye in the picture first (the person's right).
    """

    colour_SS3: Floats
    coverage_SS: Floats
    points_5x2_px: Floats


def draw_head(
    body: Body, moment: Moment, light: Light, camera: Camera, *, size_px: int, supersampling: float = 1.5
) -> HeadPicture:
    """The head alone, without background, drawn `supersampling` times finer and averaged."""
    posed = body.pose(moment)
    camera_V3 = _camera_positions(posed.vertices_V3, camera)
    light_V3, gloss_V = _illuminate(body, posed.normals_V3, moment, light)
    camera_C3 = camera_V3.take(body.corner_vertex_C, axis=0)
    where_C3 = np.empty_like(camera_C3)
    where_C3[:, :2], where_C3[:, 2] = body.corner_atlas_C2, gloss_V.take(body.corner_vertex_C)
    draw = functools.partial(
        rasterise,
        camera_C3,
        body.corners_T3 if posed.mouth_open else body.corners_closed_T3,
        size_px=round(size_px * supersampling),
        field_of_view_radians=camera.field_of_view_radians,
    )
    where_SS3, depth_SS = draw(where_C3)
    lit_SS3, _ = draw(light_V3.take(body.corner_vertex_C, axis=0))
    colour_SS3 = _colour(body.atlas, where_SS3, lit_SS3, light)
    _add_glints(colour_SS3, where_SS3, body=body, moment=moment, light=light, camera=camera)
    covered_SS = (depth_SS < FAR_CM - 1).astype(np.float32)
    return HeadPicture(
        colour_SS3=cv2.resize(colour_SS3, (size_px, size_px), interpolation=cv2.INTER_AREA),
        coverage_SS=cv2.resize(covered_SS, (size_px, size_px), interpolation=cv2.INTER_AREA),
        points_5x2_px=five_points(body, posed, camera, size_px=size_px),
    )


def _colour(atlas: Floats, where_SS3: Floats, lit_SS3: Floats, light: Light) -> Floats:
    """Albedo from the atlas times diffuse light, plus highlights of the key light's colour."""
    side = atlas.shape[0]
    to_texel = floats([[side, 0, 0, -0.5], [0, side, 0, -0.5]])
    to_highlight = np.zeros((3, 3), dtype=np.float32)
    to_highlight[:, 2] = light.key_colour_3
    texel_SS2 = cv2.transform(where_SS3, to_texel)
    albedo_SS3 = cv2.remap(atlas, texel_SS2, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    colour: Floats = cv2.add(cv2.multiply(albedo_SS3, lit_SS3), cv2.transform(where_SS3, to_highlight))
    return colour


def _illuminate(body: Body, normal_V3: Floats, moment: Moment, light: Light) -> tuple[Floats, Floats]:
    """Diffuse light (V, 3) and highlight strength (V,) of every vertex."""
    surface = body.stage.surface
    head = rotation_matrix(moment.yaw_degrees, moment.pitch_degrees, moment.roll_degrees)
    half = light.key_direction_3 + floats([0, 0, 1])
    towards_43 = np.stack([light.key_direction_3, light.fill_direction_3, half / np.linalg.norm(half), _UP])
    key_V, fill_V, shine_V, up_V = towards_43 @ normal_V3.T
    seen_3V = np.ones((3, len(normal_V3)), dtype=np.float32)
    seen_3V[:, : len(surface.neutral_V3)] = _seen(
        surface.light_directions_D3, surface.visibility_DV, towards_43[:2] @ head
    )
    wrap = np.float32(0.18)
    key_V = np.maximum((key_V + wrap) / (1 + wrap), 0) * seen_3V[0]
    fill_V = np.maximum((fill_V + wrap) / (1 + wrap), 0) * seen_3V[1]
    amounts_V4 = np.stack(
        [key_V, fill_V, (0.5 + 0.5 * up_V) * seen_3V[2], (0.5 - 0.5 * up_V) * seen_3V[2]], axis=1
    )
    colours_43 = np.stack(
        [light.key_colour_3, light.fill_colour_3, light.sky_colour_3, light.ground_colour_3]
    )
    square = np.maximum(shine_V, 0) ** 2
    fourth = square * square
    gloss_V: Floats = body.gloss_V * fourth * fourth * fourth * square * key_V
    return amounts_V4 @ colours_43, gloss_V


def _seen(directions_D3: Floats, visibility_DV: Floats, towards_N3: Floats) -> Floats:
    """Visibility (N + 1, V) from any directions, blended from those tried; last, the mean of all."""
    weights_ND = np.exp(22 * (towards_N3 @ directions_D3.T - 1)) + 1e-6
    weights_ND = np.concatenate([weights_ND, np.ones((1, len(directions_D3)))])
    weights_ND /= weights_ND.sum(axis=1, keepdims=True)
    seen: Floats = weights_ND.astype(np.float32) @ visibility_DV
    return seen


def _camera_positions(vertices_V3: Floats, camera: Camera) -> Floats:
    offset = floats([*camera.centre_xy_cm, camera.distance_cm + 8.0])
    return vertices_V3 - offset


def _to_pixels(camera_N3: Floats, camera: Camera, size_px: int) -> Floats:
    scale = size_px / 2 / np.tan(camera.field_of_view_radians / 2) / -camera_N3[:, 2]
    return np.stack(
        [size_px / 2 + camera_N3[:, 0] * scale, size_px / 2 - camera_N3[:, 1] * scale], axis=1
    ).astype(np.float32)


def five_points(body: Body, posed: Posed, camera: Camera, *, size_px: int) -> Floats:
    """Eyes, nose tip and mouth corners (5, 2) in px of the picture, left as it is seen first."""
    camera_V3 = _camera_positions(posed.vertices_V3, camera)
    vertex = body.stage.surface.landmark_vertices
    right = (camera_V3[vertex["outer_eye_R"]] + camera_V3[vertex["inner_eye_R"]]) / 2
    left = (camera_V3[vertex["outer_eye_L"]] + camera_V3[vertex["inner_eye_L"]]) / 2
    rest = [camera_V3[vertex[name]] for name in ("nose_tip", "mouth_R", "mouth_L")]
    return _to_pixels(np.stack([right, left, *rest]), camera, size_px)


def _add_glints(
    colour: Floats, where: Floats, *, body: Body, moment: Moment, light: Light, camera: Camera
) -> None:
    """The light's reflection on the eyeballs, where they are seen."""
    fine_px = colour.shape[0]
    half = light.key_direction_3 + floats([0, 0, 1])
    half /= np.linalg.norm(half)
    head = rotation_matrix(moment.yaw_degrees, moment.pitch_degrees, moment.roll_degrees)
    pivot = floats(anatomy.NECK_PIVOT_CM)
    tile = TILES["M_ScleraLeft"]
    eye_SS = (where[..., 0] > tile.left) & (where[..., 1] > tile.top) & (where[..., 1] < tile.top + 0.5)
    for eye in body.eyes:
        centre = (eye.centre_3 - pivot) @ head.T + pivot
        spot = centre + floats(anatomy.EYE_RADIUS_CM) * half
        (x, y), _ = _to_pixels(_camera_positions(np.stack([spot, spot]), camera), camera, fine_px)
        radius = 0.13 * fine_px / (2 * camera.half_height_cm)
        reach = int(np.ceil(3 * radius))
        top, left = max(int(y) - reach, 0), max(int(x) - reach, 0)
        rows, columns = slice(top, int(y) + reach + 1), slice(left, int(x) + reach + 1)
        if int(y) < 0 or int(x) < 0 or eye_SS[rows, columns].size == 0:
            continue
        down, across = np.mgrid[
            top : top + eye_SS[rows, columns].shape[0], left : left + eye_SS[rows, columns].shape[1]
        ]
        glint = np.exp(-(((down + 0.5 - y) ** 2 + (across + 0.5 - x) ** 2) / (2 * (radius * 0.7) ** 2)))
        colour[rows, columns] += (0.8 * glint * eye_SS[rows, columns])[..., None] * light.key_colour_3
