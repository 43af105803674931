"""A face model of our own, some hundred vertices that lie where ICT-FaceKit's do; the full one if given."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from mien_render import anatomy
from mien_render.actions import RENDERED_UNITS
from mien_render.body import Stage
from mien_render.face_model import FaceModel, load_face_model
from mien_render.surface import Surface

GAZE_SHAPES = tuple(f"eyeLook{way}" for way in ("Up", "Down", "In", "Out"))


@pytest.fixture(scope="session")
def tiny_model() -> FaceModel:
    return _tiny_model()


@pytest.fixture(scope="session")
def tiny_stage(tiny_model: FaceModel) -> Stage:
    return Stage(Surface.of(tiny_model), atlas_px=128)


@pytest.fixture(scope="session")
def tiny_model_path(tiny_model: FaceModel, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("model") / "tiny.npz"
    np.savez(
        path,
        neutral=tiny_model.neutral_V3,
        uv=tiny_model.uv_U2,
        triangles=tiny_model.triangles_T3,
        triangles_uv=tiny_model.triangles_uv_T3,
        triangle_material=tiny_model.triangle_material_T,
        material_names=np.array(tiny_model.material_names),
        identity=tiny_model.identity_KV3,
        expression=tiny_model.expression_EV3,
        expression_names=np.array(tiny_model.expression_names),
    )
    return path


@pytest.fixture(scope="session")
def full_model_path() -> Path:
    stated = os.environ.get("MIEN_ICT_FACEKIT")
    if not stated:
        pytest.skip("MIEN_ICT_FACEKIT does not point to ICT-FaceKit's model")
    return Path(stated)


@pytest.fixture(scope="session")
def full_stage(full_model_path: Path) -> Stage:
    return Stage(Surface.of(load_face_model(full_model_path)))


def _tiny_model() -> FaceModel:
    patches = {
        "M_BackHead": _dome(radii=(8.5, 13.0, -10.0), centre=(0, -1, 2), cells=10),
        "M_Face": _dome(radii=(8.5, 13.0, 10.0), centre=(0, -1, 2), cells=24),
        "M_ScleraLeft": _eye(1.0),
        "M_ScleraRight": _eye(-1.0),
        "M_Teeth": _dome(radii=(2.0, 1.0, 1.0), centre=(0, -3.5, 8), cells=3),
    }
    vertices, uvs, triangles, materials = [], [], [], []
    count = 0
    for number, (points, uv, cells) in enumerate(patches.values()):
        vertices.append(points)
        uvs.append(uv + (1 if number == 0 else 0))
        triangles.append(cells + count)
        materials.append(np.full(len(cells), number, dtype=np.int32))
        count += len(points)
    neutral = np.concatenate(vertices).astype(np.float32)
    names, expression = _expressions(neutral)
    random = np.random.default_rng(3)
    identity = random.normal(0, 0.1, (4, 1, 3)) * np.sin(neutral / 5 + random.normal(size=(4, 1, 3)))
    return FaceModel(
        neutral_V3=neutral,
        uv_U2=np.concatenate(uvs).astype(np.float32),
        triangles_T3=np.concatenate(triangles).astype(np.int32),
        triangles_uv_T3=np.concatenate(triangles).astype(np.int32),
        triangle_material_T=np.concatenate(materials),
        material_names=tuple(patches),
        identity_KV3=identity.astype(np.float32),
        expression_EV3=expression,
        expression_names=names,
    )


def _dome(
    *, radii: tuple[float, float, float], centre: tuple[float, float, float], cells: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Half an ellipsoid over a square of UVs; the sign of the third radius says whether it faces +z or -z."""
    v, u = np.meshgrid(np.linspace(0.02, 0.98, cells + 1), np.linspace(0.02, 0.98, cells + 1), indexing="ij")
    a, b = (u - 0.5) * np.pi, (v - 0.5) * np.pi
    unit = np.stack([np.sin(a) * np.cos(b), np.sin(b), np.cos(a) * np.cos(b)], axis=-1)
    points = (unit * np.array(radii) + np.array(centre)).reshape(-1, 3)
    corner = np.arange((cells + 1) ** 2).reshape(cells + 1, cells + 1)
    p, q, r, s = (
        part.reshape(-1) for part in (corner[:-1, :-1], corner[:-1, 1:], corner[1:, :-1], corner[1:, 1:])
    )
    triangles = np.concatenate([np.stack([p, q, r], 1), np.stack([r, q, s], 1)])
    if radii[2] < 0:
        triangles = triangles[:, ::-1]
    return points, np.stack([u, v], axis=-1).reshape(-1, 2), triangles


def _eye(side: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    x, y, z = anatomy.EYE_CENTRE_CM
    return _dome(radii=(1.5, 1.5, 4.5), centre=(side * x, y, z), cells=8)


def _expressions(neutral_V3: np.ndarray) -> tuple[tuple[str, ...], np.ndarray]:
    """A soft bump for every shape: brows at the brows, the mouth at the mouth, sides on their sides."""
    sided = {name for rendering in RENDERED_UNITS.values() for name in rendering.sided} | set(GAZE_SHAPES)
    whole = {name for rendering in RENDERED_UNITS.values() for name in rendering.whole} | {"mouthClose"}
    whole = {name for name in whole if not name.endswith(("_L", "_R"))}
    names = sorted(f"{name}_{side}" for name in sided for side in "LR") + sorted(whole)
    height = {"brow": 5.5, "eye": 3.6, "cheek": 1.5, "nose": 0.5}
    shapes = []
    for name in names:
        y = next((at for start, at in height.items() if name.startswith(start)), -3.5)
        x = {"_L": 3.0, "_R": -3.0}.get(name[-2:], 0.0)
        distance = np.linalg.norm(neutral_V3 - np.array([x, y, 10.0]), axis=1)
        shapes.append(np.exp(-((distance / 2.0) ** 2))[:, None] * np.array([0.0, -0.5, 0.3]))
    return tuple(names), np.stack(shapes).astype(np.float32)
