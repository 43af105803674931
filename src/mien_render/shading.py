"""The picture of a body: linear colour, coverage and the five points of the face."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from mien_render import anatomy
from mien_render.arrays import Floats, Ints, compiled, floats
from mien_render.body import Body, Moment, Posed, rotation_matrix
from mien_render.light import Light, illuminate
from mien_render.rasterise import View, shares, to_screen, view_triangles
from mien_render.surface import TILES

_FACE_SHARE = TILES["M_Face"].side  # of the atlas; the face's tile begins at its corner


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

    def positions(self, vertices_N3: Floats) -> Floats:
        """As the camera has them: it is at the origin and looks along -z."""
        return vertices_N3 - floats([*self.centre_xy_cm, self.distance_cm + 8.0])

    def pixels(self, vertices_N3: Floats, *, size_px: int) -> Floats:
        """Column and row (N, 2) on a picture of that size."""
        field = self.field_of_view_radians
        return to_screen(self.positions(vertices_N3), size_px=size_px, field_of_view_radians=field)[:, :2]


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
    head = rotation_matrix(moment.yaw_degrees, moment.pitch_degrees, moment.roll_degrees)
    light_V4 = illuminate(posed.normals_V3, body.gloss_V, body.stage.surface.shadows, light, head_33=head)
    shade_RR = body.stage.creases.shade(posed.crease_depth_2A, body.bare_RR, light, head_33=head)
    mesh = body.whole if posed.mouth_open else body.without_mouth
    view = view_triangles(
        camera.positions(posed.vertices_V3),
        mesh.triangles_T3,
        size_px=round(size_px * supersampling),
        field_of_view_radians=camera.field_of_view_radians,
    )
    fine_SS4 = np.zeros((*view.triangle_SS.shape, 4), dtype=np.float32)
    _shade(
        view.screen_N3,
        view.triangle_SS,
        mesh.triangles_T3,
        mesh.corners_T3,
        body.corner_atlas_C2,
        light_V4,
        body.atlas.for_picture(len(view.triangle_SS) / (2 * camera.half_height_cm)),
        shade_RR,
        floats(light.key_colour_3),
        fine_SS4,
    )
    _add_glints(fine_SS4, view, mesh.eye_T, body=body, head_33=head, light=light, camera=camera)
    picture_SS4 = cv2.resize(fine_SS4, (size_px, size_px), interpolation=cv2.INTER_AREA)
    return HeadPicture(
        colour_SS3=picture_SS4[..., :3],
        coverage_SS=picture_SS4[..., 3],
        points_5x2_px=five_points(body, posed, camera, size_px=size_px),
    )


def five_points(body: Body, posed: Posed, camera: Camera, *, size_px: int) -> Floats:
    """Eyes, nose tip and mouth corners (5, 2) in px of the picture, left as it is seen first."""
    at = {name: posed.vertices_V3[row] for name, row in body.stage.surface.landmark_vertices.items()}
    right = (at["outer_eye_R"] + at["inner_eye_R"]) / 2
    left = (at["outer_eye_L"] + at["inner_eye_L"]) / 2
    points = np.stack([right, left, at["nose_tip"], at["mouth_R"], at["mouth_L"]])
    return camera.pixels(points, size_px=size_px)


def _add_glints(
    fine_SS4: Floats,
    view: View,
    eye_T: NDArray[np.bool_],
    *,
    body: Body,
    head_33: Floats,
    light: Light,
    camera: Camera,
) -> None:
    """The light's reflection on the eyeballs, where they are seen."""
    fine_px = len(fine_SS4)
    pivot = floats(anatomy.NECK_PIVOT_CM)
    centres = np.stack([head_33 @ (eye.centre_3 - pivot) + pivot for eye in body.eyes])
    spots = centres + np.float32(anatomy.EYE_RADIUS_CM) * light.half_way_3
    radius_px = 0.7 * 0.13 * fine_px / (2 * camera.half_height_cm)
    for x, y in camera.pixels(spots, size_px=fine_px).tolist():
        _add_spot(fine_SS4, view.triangle_SS, eye_T, x, y, radius_px, floats(0.8 * light.key_colour_3))


@compiled
def _shade(  # noqa: PLR0917 -- compiled: arrays only
    screen_V3: Floats,
    triangle_SS: Ints,
    triangles_T3: Ints,
    corners_T3: Ints,
    atlas_C2: Floats,
    light_V4: Floats,
    atlas: Floats,
    shade_RR: Floats,
    highlight_3: Floats,
    fine_SS4: Floats,
) -> None:
    """Albedo from the atlas times diffuse light, plus highlights of the key light's colour; coverage 1."""
    side, one = np.float32(atlas.shape[0]), np.float32(1)
    face = int(atlas.shape[0] * _FACE_SHARE)
    to_shade = np.float32(shade_RR.shape[0] / face)
    none, last, half = np.float32(0), np.float32(atlas.shape[0] - 1.001), np.float32(0.5)
    for row in range(triangle_SS.shape[0]):
        for column in range(triangle_SS.shape[1]):
            triangle = triangle_SS[row, column]
            if triangle < 0:
                continue
            a, b, c = triangles_T3[triangle, 0], triangles_T3[triangle, 1], triangles_T3[triangle, 2]
            of_a, of_b, of_c = shares(screen_V3, a, b, c, row, column)
            p, q, r = corners_T3[triangle, 0], corners_T3[triangle, 1], corners_T3[triangle, 2]
            u = (of_a * atlas_C2[p, 0] + of_b * atlas_C2[q, 0] + of_c * atlas_C2[r, 0]) * side - half
            v = (of_a * atlas_C2[p, 1] + of_b * atlas_C2[q, 1] + of_c * atlas_C2[r, 1]) * side - half
            u, v = min(max(u, none), last), min(max(v, none), last)
            left, top = int(u), int(v)
            shade = one
            if left < face and top < face:
                shade = shade_RR[int(v * to_shade), int(u * to_shade)]
            u, v = u - np.float32(left), v - np.float32(top)
            upper_left, upper_right, lower_left, lower_right = (
                (one - u) * (one - v),
                u * (one - v),
                (one - u) * v,
                u * v,
            )
            shine = of_a * light_V4[a, 3] + of_b * light_V4[b, 3] + of_c * light_V4[c, 3]
            for channel in range(3):
                albedo = (
                    upper_left * atlas[top, left, channel]
                    + upper_right * atlas[top, left + 1, channel]
                    + lower_left * atlas[top + 1, left, channel]
                    + lower_right * atlas[top + 1, left + 1, channel]
                )
                lit = of_a * light_V4[a, channel] + of_b * light_V4[b, channel] + of_c * light_V4[c, channel]
                fine_SS4[row, column, channel] = albedo * lit * shade + shine * highlight_3[channel]
            fine_SS4[row, column, 3] = one


@compiled
def _add_spot(  # noqa: PLR0917 -- compiled: arrays only
    fine_SS4: Floats,
    triangle_SS: Ints,
    eye_T: NDArray[np.bool_],
    x: float,
    y: float,
    radius_px: float,
    colour_3: Floats,
) -> None:
    """A Gaussian spot of light on what is eye."""
    size, reach = triangle_SS.shape[0], 4 * radius_px + 1
    for row in range(max(int(y - reach), 0), min(int(y + reach) + 1, size)):
        for column in range(max(int(x - reach), 0), min(int(x + reach) + 1, size)):
            triangle = triangle_SS[row, column]
            if triangle >= 0 and eye_T[triangle]:
                away = (row + 0.5 - y) ** 2 + (column + 0.5 - x) ** 2
                glint = np.exp(-away / (2 * radius_px * radius_px))
                for channel in range(3):
                    fine_SS4[row, column, channel] += glint * colour_3[channel]
