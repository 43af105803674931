"""The vocabulary of the Facial Action Coding System: action units, their names, muscles, intensity letters.

Source: Ekman, Friesen & Hager, Facial Action Coding System (2002).
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class ActionUnit:
    """One action unit: its number, FACS name and the muscles that produce it."""

    number: int
    name: str
    muscles: str

    @property
    def column(self) -> str:
        """The column name in tables: `AU01`."""
        return f"AU{self.number:02d}"


ACTION_UNITS: dict[int, ActionUnit] = {
    unit.number: unit
    for unit in (
        ActionUnit(1, "inner brow raiser", "frontalis, pars medialis"),
        ActionUnit(2, "outer brow raiser", "frontalis, pars lateralis"),
        ActionUnit(4, "brow lowerer", "depressor glabellae, depressor supercilii, corrugator supercilii"),
        ActionUnit(5, "upper lid raiser", "levator palpebrae superioris"),
        ActionUnit(6, "cheek raiser", "orbicularis oculi, pars orbitalis"),
        ActionUnit(7, "lid tightener", "orbicularis oculi, pars palpebralis"),
        ActionUnit(9, "nose wrinkler", "levator labii superioris alaeque nasi"),
        ActionUnit(10, "upper lip raiser", "levator labii superioris"),
        ActionUnit(11, "nasolabial deepener", "zygomaticus minor"),
        ActionUnit(12, "lip corner puller", "zygomaticus major"),
        ActionUnit(13, "sharp lip puller", "levator anguli oris"),
        ActionUnit(14, "dimpler", "buccinator"),
        ActionUnit(15, "lip corner depressor", "depressor anguli oris"),
        ActionUnit(16, "lower lip depressor", "depressor labii inferioris"),
        ActionUnit(17, "chin raiser", "mentalis"),
        ActionUnit(18, "lip pucker", "incisivii labii superioris, incisivii labii inferioris"),
        ActionUnit(20, "lip stretcher", "risorius, platysma"),
        ActionUnit(22, "lip funneler", "orbicularis oris"),
        ActionUnit(23, "lip tightener", "orbicularis oris"),
        ActionUnit(24, "lip pressor", "orbicularis oris"),
        ActionUnit(
            25, "lips part", "depressor labii inferioris, or relaxation of mentalis or orbicularis oris"
        ),
        ActionUnit(26, "jaw drop", "masseter; temporalis and internal pterygoid relaxed"),
        ActionUnit(27, "mouth stretch", "pterygoids, digastric"),
        ActionUnit(28, "lip suck", "orbicularis oris"),
        ActionUnit(43, "eyes closed", "relaxation of levator palpebrae superioris"),
        ActionUnit(45, "blink", "relaxation of levator palpebrae superioris; orbicularis oculi"),
    )
}

INTENSITY_LETTERS = ("", "A", "B", "C", "D", "E")
"""Intensity 0 (absent) to 5 as FACS letters: trace, slight, marked, severe, maximum."""

NOT_CODED = 9
"""What FACS coders write where a face part could not be seen."""


def action_unit(number: int) -> ActionUnit:
    """The action unit of that FACS number; ValueError when FACS (as listed here) has none."""
    if number not in ACTION_UNITS:
        known = ", ".join(str(known) for known in ACTION_UNITS)
        raise ValueError(f"no action unit {number} is listed; known: {known}")
    return ACTION_UNITS[number]


_COLUMN = re.compile(r"au[\s_-]*0*(\d{1,2})(?:_([cr]))?", re.IGNORECASE)
_LIKE_A_COLUMN = re.compile(r"(?<![^\W\d_])(?:au|action[\W_]*unit)[\W_]*[lr]?[\W_]*\d", re.IGNORECASE)


def columns_by_unit(names: Iterable[str]) -> dict[tuple[int, str], str]:
    """Columns of action units by number and kind: "", or OpenFace's "c" (presence) and "r" (intensity).

    `AU01`, `AU1`, `au_1` and `AU 1` are one unit. ValueError for a name that looks like a unit and is none,
    and where two columns are the same.
    """
    found: dict[tuple[int, str], str] = {}
    for name in names:
        if _LIKE_A_COLUMN.search(unicodedata.normalize("NFKC", name)) is None:
            continue
        match = _COLUMN.fullmatch(name)
        if match is None:
            raise ValueError(
                f"column {name} looks like an action unit; expected AU01, AU1, au_1, AU01_c (presence) or "
                "AU01_r (intensity). Rename the column, or leave it out"
            )
        if int(match[1]) not in ACTION_UNITS:
            raise ValueError(
                f"column {name} is no action unit that mien knows. Rename the column, or leave it out"
            )
        key = int(match[1]), (match[2] or "").lower()
        if key in found:
            raise ValueError(f"{found[key]} and {name} are the same action unit")
        found[key] = name
    return found
