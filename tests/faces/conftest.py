"""Fixtures of planted people, for tests that name them as arguments."""

from __future__ import annotations

import pytest

from tests.faces.planted_people import Planted, PlantedFinder, follow, paint


@pytest.fixture
def planted():
    """The class Planted: planted(person, x, y, side, score)."""
    return Planted


@pytest.fixture
def follow_planted():
    """The function follow(frames, scenes=, lights=, seconds=, **settings) -> Story."""
    return follow


@pytest.fixture
def planted_finder():
    """A PlantedFinder whose `people` are to be set."""
    return PlantedFinder()


@pytest.fixture
def paint_planted():
    """The function paint(people, scene, light) -> image."""
    return paint
