"""A file dropped into a package's folder is found; names are unique; a wrong name gets a hint."""

from __future__ import annotations

import sys

import pytest

from mien.registry import Registry


@pytest.fixture
def package(tmp_path, monkeypatch):
    folder = tmp_path / "dropbox_for_tests"
    folder.mkdir()
    (folder / "__init__.py").write_text(
        "from mien.registry import Registry\nTHINGS = Registry(__name__, kind='thing')\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    yield folder
    for module in [name for name in sys.modules if name.startswith("dropbox_for_tests")]:
        del sys.modules[module]


def _things():
    from dropbox_for_tests import THINGS

    return THINGS


def _drop(folder, file, name):
    text = (
        f"from dropbox_for_tests import THINGS\n@THINGS.register('{name}')\nclass {file.title()}:\n    pass\n"
    )
    (folder / f"{file}.py").write_text(text)


def test_a_dropped_file_is_found_even_after_the_first_look_up(package):
    _drop(package, "one", "first")
    assert _things().names() == ["first"]
    _drop(package, "two", "second")
    assert _things().names() == ["first", "second"]


def test_a_wrong_name_is_told_the_nearest(package):
    _drop(package, "one", "moco")
    with pytest.raises(ValueError, match=r"unknown thing 'mocco'; did you mean 'moco'\?"):
        _things().get("mocco")


def test_two_files_may_not_share_a_name(package):
    _drop(package, "one", "same")
    _drop(package, "two", "same")
    with pytest.raises(ValueError, match="registered twice"):
        _things().names()


def test_files_with_an_underscore_are_left_alone(package):
    _drop(package, "_hidden", "hidden")
    assert _things().names() == []


def test_an_empty_registry_says_so():
    with pytest.raises(ValueError, match="Known: none"):
        Registry("mien.commands.nothing_here".rpartition(".")[0], kind="ghost").get("x")
