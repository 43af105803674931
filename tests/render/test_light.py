from __future__ import annotations

import builtins

import numpy as np
import pytest

from mien_render.arrays import CompilerMissingError, compiled
from mien_render.light import Light, Shadows, illuminate

NONE, WHITE = np.zeros(3, dtype=np.float32), np.ones(3, dtype=np.float32)
AHEAD = np.array([0, 0, 1], dtype=np.float32)
SIDE = np.array([1, 0, 0], dtype=np.float32)
NO_TURN = np.eye(3, dtype=np.float32)


def _shadows() -> Shadows:
    """Vertex 0 is seen from everywhere, vertex 1 from the front only."""
    directions = np.random.default_rng(1).normal(size=(30, 3)).astype(np.float32)
    directions[0], directions[1] = AHEAD, SIDE
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    seen = np.stack([np.ones(30), directions[:, 2] > 0.8], axis=1).astype(np.float32)
    return Shadows.of(directions, seen)


def test_a_vertex_that_the_light_cannot_see_is_dark():
    normals = np.stack([SIDE, SIDE])
    light = Light(SIDE, WHITE, SIDE, NONE, NONE, NONE)
    lit = illuminate(normals, np.zeros(2, dtype=np.float32), _shadows(), light, head_33=NO_TURN)
    assert lit[0, :3].min() > 0.9
    assert lit[1, :3].max() < 0.2


def test_shadows_turn_with_the_head():
    """A head that looks where the light comes from has it in front."""
    towards_the_side = np.array([[0, 0, 1], [0, 1, 0], [-1, 0, 0]], dtype=np.float32)
    normals = np.stack([SIDE, SIDE])
    light = Light(SIDE, WHITE, SIDE, NONE, NONE, NONE)
    lit = illuminate(normals, np.zeros(2, dtype=np.float32), _shadows(), light, head_33=towards_the_side)
    assert lit[1, :3].min() > 0.5


def test_two_lights_add_up():
    normals = np.stack([AHEAD, AHEAD])
    gloss = np.zeros(2, dtype=np.float32)
    key = Light(AHEAD, WHITE, AHEAD, NONE, NONE, NONE)
    fill = Light(AHEAD, NONE, AHEAD, WHITE, NONE, NONE)
    both = Light(AHEAD, WHITE, AHEAD, WHITE, NONE, NONE)
    apart = sum(illuminate(normals, gloss, _shadows(), light, head_33=NO_TURN) for light in (key, fill))
    np.testing.assert_allclose(
        illuminate(normals, gloss, _shadows(), both, head_33=NO_TURN), apart, rtol=1e-5
    )


def test_without_a_compiler_it_is_said_what_to_install(monkeypatch: pytest.MonkeyPatch):
    real = builtins.__import__

    def refuse(name: str, *rest: object) -> object:
        if name == "numba":
            raise ModuleNotFoundError(name)
        return real(name, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(builtins, "__import__", refuse)
    with pytest.raises(CompilerMissingError, match=r"mien\[render\]"):
        compiled(lambda: None)
