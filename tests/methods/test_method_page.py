"""docs/method.md names every setting of CLP with its default and where it comes from."""

from __future__ import annotations

import dataclasses
import json
import re
from pathlib import Path

from mien.methods.clp import ClpSettings

PAGE = Path(__file__).parents[2] / "docs" / "method.md"
ROW = re.compile(r"^\| `(\w+)` \| ([^|]+) \| (stated|inferred|chosen) \| ", re.MULTILINE)


def as_written(value):
    return "none" if value is None else json.dumps(value)


def test_every_setting_is_listed_with_its_default_and_its_mark():
    listed = [(name, default.strip()) for name, default, _ in ROW.findall(PAGE.read_text())]
    expected = [(field.name, as_written(field.default)) for field in dataclasses.fields(ClpSettings)]
    assert listed == expected
