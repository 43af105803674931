"""docs/pretrain.md marks where every setting of CLP comes from."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

from mien.methods.clp import ClpSettings

PAGE = Path(__file__).parents[2] / "docs" / "pretrain.md"
ROW = re.compile(r"^\| `(\w+)` \| (?:stated|inferred|chosen) \| ", re.MULTILINE)


def test_every_setting_is_marked_once_and_in_order():
    assert ROW.findall(PAGE.read_text()) == [field.name for field in dataclasses.fields(ClpSettings)]
