from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from mien_render.face_model import FaceModel, FaceModelError, load_face_model


def _write_obj(path: Path, model: FaceModel, vertices_V3: np.ndarray) -> None:
    lines = ["# a comment", *(f"v {x:.7f} {y:.7f} {z:.7f}" for x, y, z in vertices_V3)]
    lines += [f"vt {u:.7f} {v:.7f}" for u, v in model.uv_U2]
    for number, name in enumerate(model.material_names):
        lines.append(f"usemtl {name}")
        for at in np.flatnonzero(model.triangle_material_T == number):
            corners = zip(model.triangles_T3[at] + 1, model.triangles_uv_T3[at] + 1, strict=True)
            lines.append("f " + " ".join(f"{vertex}/{uv}/1" for vertex, uv in corners))
    path.write_text("\n".join(lines) + "\n")


@pytest.fixture
def obj_folder(written_folder: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(written_folder, tmp_path / "FaceXModel"))


@pytest.fixture(scope="module")
def written_folder(tiny_model: FaceModel, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("FaceXModel")
    _write_obj(folder / "generic_neutral_mesh.obj", tiny_model, tiny_model.neutral_V3)
    for number, shape in enumerate(tiny_model.identity_KV3):
        _write_obj(folder / f"identity{number:03d}.obj", tiny_model, tiny_model.neutral_V3 + shape)
    for name, shape in zip(tiny_model.expression_names, tiny_model.expression_EV3, strict=True):
        _write_obj(folder / f"{name}.obj", tiny_model, tiny_model.neutral_V3 + shape)
    return folder


def test_obj_folder_and_packed_file_hold_the_same_model(
    obj_folder: Path, tiny_model: FaceModel, tmp_path: Path
):
    read = load_face_model(obj_folder, cache_dir=tmp_path / "cache")
    rows = [read.expression_names.index(name) for name in tiny_model.expression_names]
    np.testing.assert_allclose(read.neutral_V3, tiny_model.neutral_V3, atol=1e-6)
    np.testing.assert_allclose(read.identity_KV3, tiny_model.identity_KV3, atol=1e-3)
    np.testing.assert_allclose(read.expression_EV3[rows], tiny_model.expression_EV3, atol=1e-3)
    for name in tiny_model.material_names:
        ours = {tuple(row) for row in tiny_model.triangles_T3[tiny_model.material(name)].tolist()}
        assert {tuple(row) for row in read.triangles_T3[read.material(name)].tolist()} == ours


def test_obj_folder_is_packed_once(obj_folder: Path, tmp_path: Path):
    load_face_model(obj_folder, cache_dir=tmp_path / "cache")
    (packed,) = (tmp_path / "cache").iterdir()
    written = packed.stat().st_mtime_ns
    load_face_model(obj_folder, cache_dir=tmp_path / "cache")
    assert [file.stat().st_mtime_ns for file in (tmp_path / "cache").iterdir()] == [written]


def test_a_quad_becomes_two_triangles(obj_folder: Path, tmp_path: Path):
    neutral = obj_folder / "generic_neutral_mesh.obj"
    before = load_face_model(obj_folder, cache_dir=tmp_path / "cache")
    neutral.write_text(neutral.read_text() + "f 1/1 2/2 3/3 4/4\n")
    after = load_face_model(obj_folder, cache_dir=tmp_path / "cache")
    assert after.triangles_T3[-2:].tolist() == [[0, 1, 2], [0, 2, 3]]
    assert len(after.triangles_T3) == len(before.triangles_T3) + 2


def test_folder_without_the_neutral_mesh_is_refused(tmp_path: Path):
    with pytest.raises(FaceModelError, match="generic_neutral_mesh"):
        load_face_model(tmp_path)


def test_shape_with_missing_vertices_is_named(obj_folder: Path, tmp_path: Path):
    (obj_folder / "identity001.obj").write_text("v 0 0 0\n")
    with pytest.raises(FaceModelError, match="identity001"):
        load_face_model(obj_folder, cache_dir=tmp_path / "cache")


@pytest.mark.parametrize("content", [b"", b"not a zip archive", b"PK\x03\x04 cut off"])
def test_a_file_that_is_no_model_is_refused(tmp_path: Path, content: bytes):
    path = tmp_path / "model.npz"
    path.write_bytes(content)
    with pytest.raises(FaceModelError, match=r"model\.npz"):
        load_face_model(path)


def test_missing_model_says_where_to_get_one(tmp_path: Path):
    with pytest.raises(FaceModelError, match="ICT-FaceKit"):
        load_face_model(tmp_path / "nothing.npz")


def test_full_model_has_what_is_drawn(full_model_path: Path):
    model = load_face_model(full_model_path)
    assert len(model.identity_KV3) == 100
    assert len(model.expression_names) == 57
    assert model.material("M_Face").sum() > 10_000
