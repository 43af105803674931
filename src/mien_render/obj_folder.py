"""ICT-FaceKit's folder of OBJ files, read once and packed into one .npz that loads in a second."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

NEUTRAL = "generic_neutral_mesh.obj"


class FaceModelError(ValueError):
    """A face model that cannot be read or does not fit together; the message names the file."""


@dataclass(frozen=True)
class _Mesh:
    vertices_V3: NDArray[np.float32]
    uv_U2: NDArray[np.float32]
    triangles_T3: NDArray[np.int32]
    triangles_uv_T3: NDArray[np.int32]
    triangle_material_T: NDArray[np.int16]
    material_names: tuple[str, ...]


def pack_obj_folder(folder: Path, cache_dir: Path) -> Path:
    """The packed form of `folder` in `cache_dir`; packed anew where names, sizes or times have changed."""
    neutral = folder / NEUTRAL
    if not neutral.is_file():
        raise FaceModelError(f"{folder}: no {NEUTRAL} in it; expected ICT-FaceKit's folder FaceXModel")
    files = sorted(folder.glob("*.obj"))
    packed = cache_dir / f"face-model-{_fingerprint(files)}.npz"
    if not packed.is_file():
        cache_dir.mkdir(parents=True, exist_ok=True)
        unfinished = packed.with_name(f".{packed.stem}.{os.getpid()}.npz")
        np.savez_compressed(unfinished, allow_pickle=False, **_pack(neutral, files))
        unfinished.replace(packed)
    return packed


def _pack(neutral_path: Path, files: list[Path]) -> dict[str, NDArray[np.generic]]:
    mesh = _read_mesh(neutral_path)
    identity = [file for file in files if file.stem.startswith("identity")]
    expression = [file for file in files if file not in identity and file != neutral_path]
    if not identity or not expression:
        raise FaceModelError(f"{neutral_path.parent}: {len(identity)} identity and {len(expression)} shapes")
    return {
        "neutral": mesh.vertices_V3,
        "uv": mesh.uv_U2,
        "triangles": mesh.triangles_T3,
        "triangles_uv": mesh.triangles_uv_T3,
        "triangle_material": mesh.triangle_material_T,
        "material_names": np.array(mesh.material_names),
        "identity": _offsets(identity, mesh.vertices_V3),
        "expression": _offsets(expression, mesh.vertices_V3),
        "expression_names": np.array([file.stem for file in expression]),
    }


def _offsets(files: list[Path], neutral_V3: NDArray[np.float32]) -> NDArray[np.float16]:
    shapes = []
    for file in files:
        vertices = _read_vertices(file)
        if vertices.shape != neutral_V3.shape:
            raise FaceModelError(f"{file}: {len(vertices)} vertices, the neutral mesh has {len(neutral_V3)}")
        shapes.append((vertices - neutral_V3).astype(np.float16))
    return np.stack(shapes)


def _read_vertices(path: Path) -> NDArray[np.float32]:
    lines = (line[2:] for line in path.read_text(encoding="utf-8").splitlines() if line.startswith("v "))
    try:
        return np.array([line.split()[:3] for line in lines], dtype=np.float32).reshape(-1, 3)
    except ValueError as error:
        raise FaceModelError(f"{path}: a line `v` is not three numbers: {error}") from error


def _read_mesh(path: Path) -> _Mesh:
    uv: list[list[str]] = []
    corners: list[tuple[tuple[int, int], ...]] = []
    materials: list[int] = []
    names: list[str] = []
    material = "none"
    for line in path.read_text(encoding="utf-8").splitlines():
        if line.startswith("vt "):
            uv.append(line.split()[1:3])
        elif line.startswith("usemtl "):
            material = line.split()[1]
        elif line.startswith("f "):
            if material not in names:
                names.append(material)
            for triangle in _fan(line, path):
                corners.append(triangle)
                materials.append(names.index(material))
    if not corners:
        raise FaceModelError(f"{path}: no faces")
    order = sorted(names)
    ranks = np.array([order.index(name) for name in names], dtype=np.int16)
    indices = np.array(corners, dtype=np.int32) - 1
    return _Mesh(
        vertices_V3=_read_vertices(path),
        uv_U2=np.array(uv, dtype=np.float32).reshape(-1, 2),
        triangles_T3=indices[:, :, 0].copy(),
        triangles_uv_T3=indices[:, :, 1].copy(),
        triangle_material_T=ranks[np.array(materials)],
        material_names=tuple(order),
    )


def _fan(line: str, path: Path) -> list[tuple[tuple[int, int], ...]]:
    """The triangles of one polygon line `f v/vt[/vn] ...`, as (vertex, uv) pairs counted from 1."""
    try:
        corners = [(int(parts[0]), int(parts[1])) for parts in (word.split("/") for word in line.split()[1:])]
    except (ValueError, IndexError) as error:
        raise FaceModelError(f"{path}: cannot read {line!r}; expected `f vertex/uv ...`") from error
    return [(corners[0], corners[at], corners[at + 1]) for at in range(1, len(corners) - 1)]


def _fingerprint(files: list[Path]) -> str:
    digest = hashlib.sha256()
    for file in files:
        status = file.stat()
        digest.update(f"{file.name} {status.st_size} {status.st_mtime_ns}\n".encode())
    return digest.hexdigest()[:16]
