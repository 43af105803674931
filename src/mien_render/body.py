"""One person's mesh and how it moves: identity and attire at rest; action units, gaze, pose at a moment."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy.spatial
from numpy.typing import NDArray

from mien_render import anatomy, attire
from mien_render.actions import UNIT_NUMBERS, excursion, lips_kept_together, shape_matrix, shape_weights
from mien_render.anatomy import blob, smoothstep
from mien_render.arrays import Floats, Ints, floats
from mien_render.deform import Shapes, turned, vertex_normals
from mien_render.folds import Creases, bulge_height
from mien_render.paint import Painter
from mien_render.person import Person
from mien_render.surface import EYEBALLS, INSIDE_MOUTH, Surface

REST_MOUTH_CLOSE = 0.035  # the model's neutral lips stand a millimetre apart
AGE_LINES = (1, 6, 12)  # units whose folds a face keeps over the years
MAX_LID_GAZE_DEGREES = 30.0  # where the lids have followed the gaze as far as the model's shapes go


_OPENS_MOUTH = ("jawOpen", "mouthLowerDown", "mouthUpperUp", "mouthFunnel", "noseSneer", "mouthShrugUpper")


@dataclass(frozen=True)
class Mesh:
    """T triangles: their vertices, their corners (vertices with a place in the atlas), which are eye."""

    triangles_T3: Ints
    corners_T3: Ints
    eye_T: NDArray[np.bool_]

    def without(self, hidden_T: NDArray[np.bool_]) -> Mesh:
        """The mesh of the other triangles."""
        kept = ~hidden_T
        return Mesh(self.triangles_T3[kept], self.corners_T3[kept], self.eye_T[kept])


@dataclass(frozen=True)
class Posed:
    """A body at one moment: positions in cm, unit normals, depth of creases; whether teeth can be seen."""

    vertices_V3: Floats
    normals_V3: Floats
    crease_depth_2A: Floats
    mouth_open: bool


@dataclass(frozen=True)
class Moment:
    """What a face does at one instant: intensities 0-5 of every unit (A, left and right), pose, gaze.

    Yaw is positive to the person's left, pitch positive downwards, roll positive towards their left shoulder;
    gaze is relative to the head. Degrees.
    """

    intensity_A2: Floats
    yaw_degrees: float = 0.0
    pitch_degrees: float = 0.0
    roll_degrees: float = 0.0
    gaze_yaw_degrees: float = 0.0
    gaze_pitch_degrees: float = 0.0


def neutral_moment() -> Moment:
    """Nothing moves."""
    return Moment(np.zeros((len(UNIT_NUMBERS), 2), dtype=np.float32))


class Stage:
    """What all people of one model share: surface, painter, gains, folds; made once a process."""

    def __init__(self, surface: Surface, *, atlas_px: int = 768) -> None:
        self.surface = surface
        self.painter = Painter(surface, atlas_px=atlas_px)
        self.gains_2AE = shape_matrix(surface.expression_number)
        left = smoothstep(-0.6, 0.6, surface.neutral_V3[:, 0])
        face = (surface.material_V == "M_Face").astype(np.float32)
        folds_AV = np.stack([bulge_height(unit, surface.neutral_V3) * face for unit in UNIT_NUMBERS])
        folds_2AV = np.concatenate([folds_AV * left, folds_AV * (1 - left)])
        self.folds = Shapes.of([fold_V[:, None] * surface.normals_V3 for fold_V in folds_2AV])
        age = sum(0.6 * folds_AV[UNIT_NUMBERS.index(unit)] for unit in AGE_LINES)
        self.age_lines_V = np.asarray(age, dtype=np.float32)
        self.creases = Creases(self.painter.coarse_face_RR3, UNIT_NUMBERS)
        self.shapes = Shapes.of(list(surface.expression_EV3))
        self.mouth_opening = [
            number for name, number in surface.expression_number.items() if name.startswith(_OPENS_MOUTH)
        ]


class Body:
    """The mesh of one person: V vertices (the model's, then the parts'), C corners, T triangles."""

    def __init__(self, stage: Stage, person: Person) -> None:
        surface = stage.surface
        self.person, self.stage = person, stage
        weights_K = person.identity_K[: len(surface.identity_KV3)]
        shaped = surface.neutral_V3 + np.tensordot(weights_K, surface.identity_KV3, axes=1)
        shaped += REST_MOUTH_CLOSE * surface.expression_EV3[surface.expression_number["mouthClose"]]
        parts = attire.parts(person)
        self._stack(parts)
        self._rest_P3 = np.concatenate([self._dressed(shaped), _follow(parts, surface.neutral_V3, shaped)])
        self.atlas = stage.painter.paint(person)
        self.bare_RR = stage.painter.bare_face(person)
        self._age_2A = floats(np.tile(np.isin(UNIT_NUMBERS, AGE_LINES), 2) * 0.6 * person.age_lines)
        self.eyes = [_Eye(surface, shaped, name) for name in EYEBALLS]
        for eye in self.eyes:
            eye.sink(self._rest_P3)
        self.gloss_V = _gloss(surface.material_V, surface.neutral_V3, self.num_vertices)
        self._folds = stage.folds.scaled(self._fold_depth_V)
        shapes = stage.gains_2AE.reshape(2, -1, stage.gains_2AE.shape[1]).sum(axis=0)
        self._resting_E = (person.resting_A @ shapes).astype(np.float32)

    def pose(self, moment: Moment) -> Posed:
        """Where every vertex is and faces at a moment; the camera is at +z, the head turns at the neck."""
        surface, person = self.stage.surface, self.person
        intensity_A2 = moment.intensity_A2 * person.unit_gain_A2
        weights_E = shape_weights(intensity_A2, self.stage.gains_2AE) + self._resting_E
        weights_E[surface.expression_number["mouthClose"]] += lips_kept_together(intensity_A2)
        self._lids_follow(weights_E, moment)
        at = self._rest_P3.copy()
        self.stage.shapes.move(at, weights_E)
        share_2A = excursion(intensity_A2).T.reshape(-1)
        self._folds.move(at, share_2A)
        for eye in self.eyes:
            eye.turn(at, moment.gaze_yaw_degrees, moment.gaze_pitch_degrees)
        head = rotation_matrix(moment.yaw_degrees, moment.pitch_degrees, moment.roll_degrees)
        normals = vertex_normals(at, self.whole.triangles_T3)
        pivot = floats(anatomy.NECK_PIVOT_CM)
        return Posed(
            vertices_V3=turned(at, head, self._head_share_V, pivot),
            normals_V3=turned(normals, head, self._head_share_V, np.zeros_like(pivot)),
            crease_depth_2A=share_2A * np.float32(person.wrinkle_depth) + self._age_2A,
            mouth_open=float(weights_E[self.stage.mouth_opening].sum()) > 0.06,
        )

    def _dressed(self, shaped_V3: Floats) -> Floats:
        surface = self.stage.surface
        height = attire.hair_height(surface.neutral_V3, self.person, surface.material_V)
        bare_V = floats(1 - np.clip(height / 0.15, 0, 1))  # no fold is seen under hair
        self._fold_depth_V = bare_V * np.float32(self.person.wrinkle_depth)
        height = height + self.person.age_lines * self.stage.age_lines_V * bare_V
        dressed: Floats = shaped_V3 + height[:, None] * surface.normals_V3
        hem_V = smoothstep(-16.0, -19.3, surface.neutral_V3[:, 1])  # the torso goes on below the picture
        dressed[:, 1] -= 14 * hem_V
        dressed[:, [0, 2]] *= 1 + 0.25 * hem_V[:, None]
        return floats(dressed)

    def _lids_follow(self, weights_E: Floats, moment: Moment) -> None:
        number = self.stage.surface.expression_number
        yaw = np.clip(moment.gaze_yaw_degrees / MAX_LID_GAZE_DEGREES, -1, 1)
        pitch = np.clip(moment.gaze_pitch_degrees / MAX_LID_GAZE_DEGREES, -1, 1)
        for side, outward in (("L", yaw), ("R", -yaw)):
            weights_E[number[f"eyeLookOut_{side}"]] += max(outward, 0)
            weights_E[number[f"eyeLookIn_{side}"]] += max(-outward, 0)
            weights_E[number[f"eyeLookDown_{side}"]] += max(pitch, 0)
            weights_E[number[f"eyeLookUp_{side}"]] += max(-pitch, 0)
            blink = number[f"eyeBlink_{side}"]
            weights_E[blink] = min(weights_E[blink], 1.02 - 0.4 * max(pitch, 0))

    def _stack(self, parts: list[attire.Part]) -> None:
        surface = self.stage.surface
        triangles, corners, atlas = [surface.triangles_T3], [surface.corners_T3], [surface.corner_atlas_C2]
        vertices, num_corners = len(surface.neutral_V3), len(surface.corner_atlas_C2)
        for part in parts:
            triangles.append(part.triangles_T3 + np.int32(vertices))
            corners.append(part.triangles_T3 + np.int32(num_corners))
            atlas.append(part.atlas_V2)
            vertices += len(part.vertices_V3)
            num_corners += len(part.vertices_V3)
        self.num_vertices = vertices
        material_T = np.full(sum(map(len, triangles)), "", dtype=surface.material_T.dtype)
        material_T[: len(surface.material_T)] = surface.material_T
        self.whole = Mesh(np.concatenate(triangles), np.concatenate(corners), np.isin(material_T, EYEBALLS))
        self.without_mouth = self.whole.without(np.isin(material_T, INSIDE_MOUTH))
        self.corner_atlas_C2 = np.concatenate(atlas)
        neutral = np.concatenate([surface.neutral_V3, *(part.vertices_V3 for part in parts)])
        self._head_share_V = smoothstep(-17.5, -10.0, neutral[:, 1])


class _Eye:
    """An eyeball that turns about its centre."""

    def __init__(self, surface: Surface, shaped_V3: Floats, material: str) -> None:
        side = 1.0 if material == "M_ScleraLeft" else -1.0
        self._vertices = np.flatnonzero(surface.material_V == material)
        centre = floats(anatomy.EYE_CENTRE_CM) * floats([side, 1, 1])
        moved = (shaped_V3 - surface.neutral_V3)[self._vertices].mean(axis=0)
        self.centre_3 = (centre + moved).astype(np.float32)

    def sink(self, at_V3: Floats) -> None:
        """Make the ball a little smaller, so that closed lids cover all of it."""
        at_V3[self._vertices] = self.centre_3 + np.float32(0.972) * (at_V3[self._vertices] - self.centre_3)

    def turn(self, at_V3: Floats, yaw_degrees: float, pitch_degrees: float) -> None:
        rotation = rotation_matrix(yaw_degrees, pitch_degrees, 0)
        chosen = at_V3[self._vertices] - self.centre_3
        at_V3[self._vertices] = chosen @ rotation.T + self.centre_3


def rotation_matrix(yaw_degrees: float, pitch_degrees: float, roll_degrees: float) -> Floats:
    """Roll, then pitch, then yaw, as a matrix that acts on columns; signs as in Moment."""
    yaw, pitch, roll = np.radians([yaw_degrees, pitch_degrees, -roll_degrees])
    about_y = [[np.cos(yaw), 0, np.sin(yaw)], [0, 1, 0], [-np.sin(yaw), 0, np.cos(yaw)]]
    about_x = [[1, 0, 0], [0, np.cos(pitch), -np.sin(pitch)], [0, np.sin(pitch), np.cos(pitch)]]
    about_z = [[np.cos(roll), -np.sin(roll), 0], [np.sin(roll), np.cos(roll), 0], [0, 0, 1]]
    matrix: Floats = (np.array(about_y) @ np.array(about_x) @ np.array(about_z)).astype(np.float32)
    return matrix


def _follow(parts: list[attire.Part], neutral_V3: Floats, shaped_V3: Floats) -> Floats:
    """Parts moved as the 40 nearest vertices of the head are moved by the identity."""
    if not parts:
        return np.zeros((0, 3), dtype=np.float32)
    points = np.concatenate([part.vertices_V3 for part in parts])
    _, nearest = scipy.spatial.cKDTree(neutral_V3).query(points, k=min(40, len(neutral_V3)))
    moved: Floats = points + (shaped_V3 - neutral_V3)[nearest].mean(axis=1)
    return moved.astype(np.float32)


def _gloss(material_V: NDArray[np.str_], neutral_V3: Floats, num_vertices: int) -> Floats:
    """How strongly a vertex shines: skin a little more on nose and forehead, lips and teeth more."""
    shine = np.full(num_vertices, 0.06, dtype=np.float32)
    on_surface = np.full(len(neutral_V3), 0.05, dtype=np.float32)
    on_surface += 0.05 * blob(neutral_V3, 0, 0.5, 1.0, 2.0) + 0.04 * blob(neutral_V3, 0, 8, 3, 1.5)
    on_surface += 0.12 * anatomy.lip_mask(neutral_V3, fullness=1.0)
    on_surface[np.isin(material_V, EYEBALLS)] = 0
    on_surface[material_V == "M_BackHead"] = 0.02
    on_surface *= 1 - smoothstep(-9, -12, neutral_V3[:, 1])
    shine[: len(neutral_V3)] = on_surface
    return shine
