"""The morphable face: a neutral mesh, identity shapes and expression shapes, as one checked value.

Numbers and layout follow ICT-FaceKit's light model (Li et al., "Learning formation of physically-based face
attributes", CVPR 2020; MIT licence): centimetres, y up, z out of the face, the person's left at positive x.
"""

from __future__ import annotations

import zipfile
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mien_render.arrays import Floats, Ints, floats
from mien_render.obj_folder import FaceModelError, pack_obj_folder

_ARRAYS = (
    "neutral",
    "uv",
    "triangles",
    "triangles_uv",
    "triangle_material",
    "material_names",
    "identity",
    "expression",
    "expression_names",
)


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
        for name, shapes in (("identity", self.identity_KV3), ("expression", self.expression_EV3)):
            if shapes.ndim != 3 or shapes.shape[1:] != (num_vertices, 3):
                raise FaceModelError(f"{name} shapes are {shapes.shape}, expected (any, {num_vertices}, 3)")
        if len(self.expression_names) != len(self.expression_EV3):
            raise FaceModelError(
                f"{len(self.expression_names)} names for {len(self.expression_EV3)} expression shapes"
            )
        if self.triangles_T3.shape != self.triangles_uv_T3.shape or self.triangles_T3.shape[1:] != (3,):
            raise FaceModelError(
                f"triangles {self.triangles_T3.shape} and their UVs {self.triangles_uv_T3.shape} differ"
            )
        if self.triangles_T3.max() >= num_vertices or self.triangles_uv_T3.max() >= len(self.uv_U2):
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
        path = pack_obj_folder(path, cache_dir or Path.home() / ".cache" / "mien")
    if not path.is_file():
        raise FaceModelError(
            f"{path}: no face model there. Give ICT-FaceKit's folder FaceXModel (from the public repository "
            "ICT-VGL/ICT-FaceKit) or a packed .npz of it"
        )
    return _read_packed(path)


def _read_packed(path: Path) -> FaceModel:
    try:
        with np.load(path, allow_pickle=False) as arrays:
            missing = [name for name in _ARRAYS if name not in arrays]
            if missing:
                raise FaceModelError(f"{path}: not a packed face model, it lacks {', '.join(missing)}")
            values = {name: arrays[name] for name in _ARRAYS}
    except (zipfile.BadZipFile, EOFError, ValueError) as error:
        if isinstance(error, FaceModelError):
            raise
        raise FaceModelError(f"{path}: not a packed face model (.npz): {error}") from error
    return FaceModel(
        neutral_V3=values["neutral"].astype(np.float32),
        uv_U2=values["uv"].astype(np.float32),
        triangles_T3=values["triangles"].astype(np.int32),
        triangles_uv_T3=values["triangles_uv"].astype(np.int32),
        triangle_material_T=values["triangle_material"].astype(np.int32),
        material_names=tuple(str(name) for name in values["material_names"]),
        identity_KV3=values["identity"],
        expression_EV3=values["expression"],
        expression_names=tuple(str(name) for name in values["expression_names"]),
    )
