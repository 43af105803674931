"""The public names of `mien`: lazy, visible to completion and type checkers, and documented."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

import mien

PAGE = Path(__file__).parents[1] / "docs" / "api.md"
LAZY = [name for name in mien.__all__ if name != "__version__"]


@pytest.mark.parametrize("name", LAZY)
def test_a_public_name_is_importable_and_listed(name):
    assert getattr(mien, name) is not None
    assert name in dir(mien)


def test_type_checkers_see_the_modules_that_are_imported_at_run_time():
    imports = [
        node
        for node in ast.walk(ast.parse(Path(mien.__file__).read_text()))
        if isinstance(node, ast.ImportFrom)
    ]
    seen = {alias.name: node.module for node in imports for alias in node.names}
    assert {name: seen.get(name) for name in LAZY} == mien._MODULES


def test_importing_mien_imports_neither_torch_nor_numpy():
    code = "import sys, mien; sys.exit(bool({'torch', 'numpy', 'pyarrow'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="module 'mien' has no attribute 'Detecter'"):
        mien.Detecter  # noqa: B018


def test_the_page_shows_every_public_name_and_no_other():
    shown = set(re.findall(r"\bmien\.(\w+)", PAGE.read_text()))
    assert shown == set(LAZY)


def test_the_examples_of_the_page_are_python():
    for code in re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL):
        compile(code, str(PAGE), "exec")
