"""The morphable face: a neutral mesh, identity shapes and expression shapes, as one checked value.

Numbers and layout follow ICT-FaceKit's light model (Li et al., "Learning formation of physically-based face
attributes", CVPR 2020; MIT licence): centimetres, y up, z out of the face, the person's left at positive x.
"""

from __future__ import annotations

import hashlib
import zipfile
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from mien.io import kept_arrays
from mien_render.arrays import Floats, Ints, floats

Arrays: TypeAlias = dict[str, NDArray[Any]]

_ARRAYS = (
    *("neutral", "uv", "triangles", "triangles_uv", "triangle_material", "material_names"),
    *("identity", "expression", "expression_names"),
)

NEUTRAL = "generic_neutral_mesh.obj"


class FaceModelError(ValueError):
    """A face model that cannot be read or does not fit together; the message names the file."""


@dataclass(frozen=True)
class FaceModel:
    """A mesh of V vertices and T triangles with K identity and E expression offsets from neutral, in cm."""

    neutral_V3: Floats
    uv_U2: Floats
    triangles_T3: Ints
    triangles_uv_T3: Ints
    triangle_material_T: Ints
    material_names: tuple[str, ...]
    identity_KV3: NDArray[np.floating]
    expression_EV3: NDArray[np.floating]
    expression_names: tuple[str, ...]

    def __post_init__(self) -> None:
        num_vertices = len(self.neutral_V3)
        triangles = self.triangles_T3, self.triangles_uv_T3
        for name, shapes in (("identity", self.identity_KV3), ("expression", self.expression_EV3)):
            if shapes.ndim != 3 or shapes.shape[1:] != (num_vertices, 3):
                raise FaceModelError(f"{name} shapes are {shapes.shape}, expected (any, {num_vertices}, 3)")
        if len(self.expression_names) != len(self.expression_EV3):
            raise FaceModelError("there are not as many expression shapes as names of them")
        if triangles[0].shape != triangles[1].shape or triangles[0].shape[1:] != (3,):
            raise FaceModelError(f"triangles {triangles[0].shape}, their UVs {triangles[1].shape}: not alike")
        if triangles[0].max() >= num_vertices or triangles[1].max() >= len(self.uv_U2):
            raise FaceModelError("a triangle names a vertex that is not there")

    @cached_property
    def expression_number(self) -> dict[str, int]:
        """Name of an expression shape -> its row."""
        return {name: row for row, name in enumerate(self.expression_names)}

    def material(self, name: str) -> NDArray[np.bool_]:
        """Which triangles are of that material: (T,); all False where the model has no such material."""
        if name not in self.material_names:
            return np.zeros(len(self.triangles_T3), dtype=bool)
        chosen: NDArray[np.bool_] = self.triangle_material_T == self.material_names.index(name)
        return chosen

    def nearest_vertex(self, point_cm: tuple[float, float, float], *, material: str = "M_Face") -> int:
        """The vertex of that material that is nearest to a point of the neutral face."""
        vertices = np.unique(self.triangles_T3[self.material(material)])
        distances = np.linalg.norm(self.neutral_V3[vertices] - floats(point_cm), axis=1)
        return int(vertices[distances.argmin()])


def load_face_model(path: Path, *, cache_dir: Path | None = None) -> FaceModel:
    """The model from a packed .npz or from the folder of OBJ files (`FaceXModel`).

    A folder is read once and packed into `cache_dir` (default: `~/.cache/mien`). FaceModelError where the
    path is neither, or where arrays are missing or do not fit together.
    """
    if path.is_dir():
        arrays = _packed_folder(path, cache_dir or Path.home() / ".cache" / "mien")
    elif path.is_file():
        arrays = _read_packed(path)
    else:
        raise FaceModelError(
            f"{path}: no face model there. Give ICT-FaceKit's folder FaceXModel (from the public repository "
            "ICT-VGL/ICT-FaceKit) or a packed .npz of it"
        )
    missing = [name for name in _ARRAYS if name not in arrays]
    if missing:
        raise FaceModelError(f"{path}: not a packed face model, it lacks {', '.join(missing)}")
    return FaceModel(
        neutral_V3=arrays["neutral"].astype(np.float32),
        uv_U2=arrays["uv"].astype(np.float32),
        triangles_T3=arrays["triangles"].astype(np.int32),
        triangles_uv_T3=arrays["triangles_uv"].astype(np.int32),
        triangle_material_T=arrays["triangle_material"].astype(np.int32),
        material_names=tuple(str(name) for name in arrays["material_names"]),
        identity_KV3=arrays["identity"],
        expression_EV3=arrays["expression"],
        expression_names=tuple(str(name) for name in arrays["expression_names"]),
    )


def _read_packed(path: Path) -> Arrays:
    try:
        with np.load(path, allow_pickle=False) as arrays:
            return dict(arrays)
    except (zipfile.BadZipFile, EOFError, ValueError) as error:
        raise FaceModelError(f"{path}: not a packed face model (.npz): {error}") from error


def _packed_folder(folder: Path, cache_dir: Path) -> Arrays:
    """The arrays of `folder`, kept in `cache_dir`; packed anew where names, sizes or times have changed."""
    if not (folder / NEUTRAL).is_file():
        raise FaceModelError(f"{folder}: no {NEUTRAL} in it; expected ICT-FaceKit's folder FaceXModel")
    files = sorted(folder.glob("*.obj"))
    status = [f"{file.name} {file.stat().st_size} {file.stat().st_mtime_ns}\n" for file in files]
    packed = cache_dir / f"face-model-{hashlib.sha256(''.join(status).encode()).hexdigest()[:16]}.npz"
    return kept_arrays(packed, lambda: _pack(folder / NEUTRAL, files))


def _pack(neutral_path: Path, files: list[Path]) -> Arrays:
    mesh = _read_mesh(neutral_path)
    identity = [file for file in files if file.stem.startswith("identity")]
    expression = [file for file in files if file not in identity and file != neutral_path]
    if not identity or not expression:
        raise FaceModelError(f"{neutral_path.parent}: {len(identity)} identity and {len(expression)} shapes")
    return mesh | {
        "identity": np.stack([_offsets(file, mesh["neutral"]) for file in identity]),
        "expression": np.stack([_offsets(file, mesh["neutral"]) for file in expression]),
        "expression_names": np.array([file.stem for file in expression]),
    }


def _offsets(file: Path, neutral_V3: Floats) -> NDArray[np.float16]:
    vertices = _read_vertices(file.read_text(encoding="utf-8").splitlines(), file)
    if vertices.shape != neutral_V3.shape:
        raise FaceModelError(f"{file}: {len(vertices)} vertices, the neutral mesh has {len(neutral_V3)}")
    return (vertices - neutral_V3).astype(np.float16)


def _read_vertices(lines: list[str], path: Path) -> Floats:
    try:
        rows = [line.split()[1:4] for line in lines if line.startswith("v ")]
        return np.array(rows, dtype=np.float32).reshape(-1, 3)
    except ValueError as error:
        raise FaceModelError(f"{path}: a line `v` is not three numbers: {error}") from error


def _read_mesh(path: Path) -> Arrays:
    lines = path.read_text(encoding="utf-8").splitlines()
    corners: list[tuple[tuple[int, int], ...]] = []
    materials: list[str] = []
    material = "none"
    for line in lines:
        if line.startswith("usemtl "):
            material = line.split()[1]
        elif line.startswith("f "):
            triangles = _fan(line, path)
            corners += triangles
            materials += [material] * len(triangles)
    if not corners:
        raise FaceModelError(f"{path}: no faces")
    names, ranks = np.unique(materials, return_inverse=True)
    indices = np.array(corners, dtype=np.int32) - 1
    uv = [line.split()[1:3] for line in lines if line.startswith("vt ")]
    return {
        "neutral": _read_vertices(lines, path),
        "uv": np.array(uv, dtype=np.float32).reshape(-1, 2),
        "triangles": indices[:, :, 0].copy(),
        "triangles_uv": indices[:, :, 1].copy(),
        "triangle_material": ranks.astype(np.int16),
        "material_names": names,
    }


def _fan(line: str, path: Path) -> list[tuple[tuple[int, int], ...]]:
    """The triangles of one polygon line `f v/vt[/vn] ...`, as (vertex, uv) pairs counted from 1."""
    try:
        corners = [(int(parts[0]), int(parts[1])) for parts in (word.split("/") for word in line.split()[1:])]
    except (ValueError, IndexError) as error:
        raise FaceModelError(f"{path}: cannot read {line!r}; expected `f vertex/uv ...`") from error
    return [(corners[0], corners[at], corners[at + 1]) for at in range(1, len(corners) - 1)]
